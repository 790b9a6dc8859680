import { groups } from "../live.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { byName } from "../parts/format.ts";
import { pathTo } from "../routes.ts";
import { say } from "../words.ts";
import "./room-tabs.css";

/** From room to room. @param room the one that is shown; undefined: all of them */
export function RoomTabs({ room }: { room?: string }) {
  const names = [...groups.value.keys()].toSorted(byName);
  return (
    <nav class="room-tabs" aria-label={say("rooms.title")}>
      <a href={pathTo({ view: "rooms" })} aria-current={room === undefined ? "page" : undefined}>
        {say("rooms.all")}
      </a>
      {names.map((name) => (
        <a
          key={name}
          href={pathTo({ view: "room", room: name })}
          aria-current={room === name ? "page" : undefined}
        >
          <ForeignText text={name} limit={32} />
        </a>
      ))}
    </nav>
  );
}

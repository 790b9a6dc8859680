import type { LogEvent } from "../event-choice.ts";
import { pathTo } from "../routes.ts";
import { keyOf, say } from "../words.ts";
import { ForeignText } from "./foreign-text.tsx";
import { Table } from "./table.tsx";
import { time } from "./text.ts";
import "./event-list.css";

/** @param isOfOneMachine its name is left out */
export function EventList({
  events,
  isOfOneMachine = false,
}: {
  events: readonly LogEvent[];
  isOfOneMachine?: boolean;
}) {
  return (
    <Table
      caption={say("events.title")}
      items={events}
      keyOf={({ seq }) => String(seq)}
      empty={say("events.none")}
      columns={[
        { title: say("events.at"), cell: ({ at }) => <time dateTime={at}>{time(at)}</time> },
        { title: say("events.level"), cell: ({ level }) => <LevelMark level={level} /> },
        { title: say("events.type"), cell: ({ type }) => <code>{type}</code>, isWide: true },
        ...(isOfOneMachine
          ? []
          : [
              {
                title: say("events.machine"),
                cell: ({ machine }: LogEvent) =>
                  machine !== null && (
                    <a href={pathTo({ view: "machine", machine })}>
                      <ForeignText text={machine} limit={32} />
                    </a>
                  ),
              },
            ]),
        { title: say("events.message"), cell: ({ message }) => <ForeignText text={message} limit={400} /> },
        {
          title: say("events.actor"),
          cell: ({ actor }) => actor !== null && <ForeignText text={actor} limit={32} />,
          isWide: true,
        },
      ]}
    />
  );
}

/** Form and word beside the colour: a dot, a triangle, an octagon. */
function LevelMark({ level }: { level: LogEvent["level"] }) {
  const shape = {
    info: "M8 5a3 3 0 1 0 0 6 3 3 0 1 0 0-6Z",
    warning: "M8 1 15.5 15H.5Z",
    alarm: "M5 1h6l4 4v6l-4 4H5l-4-4V5Z",
  }[level];
  return (
    <span class={`level is-${level}`}>
      <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
        <path d={shape} fill="currentColor" />
      </svg>
      {say(keyOf("level", level))}
    </span>
  );
}

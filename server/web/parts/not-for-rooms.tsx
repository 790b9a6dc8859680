import { session } from "../session.ts";
import { say } from "../words.ts";
import { ForeignText } from "./foreign-text.tsx";

/** In place of a view of the whole server, for a token of some rooms: the server would refuse all that it asks. */
export function NotForRooms({ title }: { title: string }) {
  const reader = session.value;
  const rooms = typeof reader === "object" ? (reader.rooms ?? []) : [];
  return (
    <>
      <h1>{title}</h1>
      <p>
        {say("page.notForRooms")} <ForeignText text={rooms.join(", ")} limit={300} />
      </p>
    </>
  );
}

import { say } from "../words.ts";

export function RoomsView() {
  return <h1>{say("rooms.title")}</h1>;
}

import { say } from "../words.ts";

export function EventsView() {
  return <h1>{say("events.title")}</h1>;
}

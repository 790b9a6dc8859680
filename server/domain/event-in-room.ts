import type { Event } from "./event.ts";

/** An event of a room's machine for whoever sees that room alone: without what names machines of other rooms. */
export function eventInRoom(event: Event): Event {
  if (event.type === "machine.uuid-shared")
    return {
      ...event,
      message: "another machine says the same UUID of itself: machines are told apart by their MACs",
      data: { uuid: event.data["uuid"] },
    };
  if (event.type === "mac.contradicted") {
    const { neighbour: _neighbour, ...data } = event.data;
    return {
      ...event,
      message: event.message.replace(/ and belongs to \S+$/, " and is another one's"),
      data,
    };
  }
  // Of a change that was taken back, which may have been of more machines.
  const { change: _change, ...data } = event.data;
  return { ...event, data };
}

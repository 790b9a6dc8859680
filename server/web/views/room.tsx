import { say } from "../words.ts";

export function RoomView({ room }: { room: string }) {
  return <h1>{say("room.seat", { seat: room })}</h1>;
}

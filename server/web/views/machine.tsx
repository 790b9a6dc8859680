import { say } from "../words.ts";

export function MachineView({ machine }: { machine: string }) {
  return <h1>{say("machine.title", { name: machine })}</h1>;
}

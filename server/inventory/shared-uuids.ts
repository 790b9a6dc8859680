import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { MachineRepository } from "../store/machines.ts";

export interface SharedUuidsDeps {
  readonly record: RecordEvent;
  readonly machines: Pick<MachineRepository, "all">;
}

/** So many are remembered as told; a machine that says another UUID at each boot must not fill the log. */
const rememberedTold = 1000;

/** Machines whose boards have one UUID: a maker that gave all of a batch the same. A MAC tells them apart, a UUID never does. */
export function createSharedUuids({ record, machines }: SharedUuidsDeps) {
  const told = new Set<string>();

  function sharersOf({ id, uuid }: Machine): Machine[] {
    return uuid === undefined ? [] : machines.all().filter((other) => other.uuid === uuid && other.id !== id);
  }

  return {
    sharersOf,

    /** Once for each machine. */
    tell(machine: Machine): void {
      if (told.has(machine.id) || told.size >= rememberedTold) return;
      const sharers = sharersOf(machine);
      if (sharers.length === 0) return;
      told.add(machine.id);
      const names = sharers.slice(0, 4).map(({ name }) => name);
      record({
        type: "machine.uuid-shared",
        level: "warning",
        machineId: machine.id,
        message: `${machine.name} says the same UUID of itself as ${names.join(", ")}${sharers.length > 4 ? ` and ${sharers.length - 4} more` : ""}: machines are told apart by their MACs`,
        data: { uuid: machine.uuid, machines: sharers.slice(0, 20).map(({ name }) => name) },
      });
    },
  };
}

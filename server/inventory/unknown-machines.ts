import type { Clock, EpochMs } from "../domain/capabilities.ts";
import { type Machine, nameFromMac } from "../domain/machine.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { MachineRepository } from "../store/machines.ts";

/** Machines that nobody accepted; more are not recorded, so that random MACs do not fill the disk. */
const maximumUnaccepted = 2000;
/** One of them that was silent for longer makes room for a newcomer, so that random MACs do not lock real machines out for good, ms. */
const makesRoomAfterMs = 3_600_000;
/** A search among all of them that found none is not repeated before this: random MACs come thousands a second, ms. */
const searchesRoomEveryMs = 1000;

export interface UnknownMachinesDeps {
  readonly clock: Clock;
  readonly machines: Pick<MachineRepository, "unaccepted">;
  readonly assignments: Pick<AssignmentRepository, "find">;
}

/** How many machines that nobody accepted are kept, and which of them makes room for a newcomer. */
export function createUnknownMachines({ clock, machines, assignments }: UnknownMachinesDeps) {
  /** No search for one that may be removed was of use before, on the wall clock. */
  let noneBefore: EpochMs = 0;

  /** @param meeting newcomers that are on their way to the store */
  function hasRoom(meeting: number): boolean {
    // Those that are on their way to the store are not among the unaccepted yet.
    return machines.unaccepted().size + meeting < maximumUnaccepted;
  }

  /** The one that was silent for longest, if that is long enough. */
  function findReplaceable(leaving: ReadonlySet<string>): Machine | undefined {
    const now = clock.now();
    if (now < noneBefore) return undefined;
    let oldest: Machine | undefined;
    for (const machine of machines.unaccepted().values()) {
      if (lastSign(machine) >= now - makesRoomAfterMs || !isOnlyMet(machine) || leaving.has(machine.id))
        continue;
      if (!oldest || lastSign(machine) < lastSign(oldest)) oldest = machine;
    }
    if (!oldest) noneBefore = now + searchesRoomEveryMs;
    return oldest;
  }

  /** Nobody has given it anything: what is removed of it comes back when it is met again. */
  function isOnlyMet({ id, name, macs: [mac], group, seat, address, labels, ...rest }: Machine): boolean {
    const subject = { kind: "machine", machineId: id } as const;
    return (
      mac !== undefined &&
      name === nameFromMac(mac) &&
      (group ?? seat ?? address ?? rest.localBoot ?? rest.driver ?? rest.ramCheck) === undefined &&
      Object.keys(labels).length === 0 &&
      !assignments.find(subject, "always") &&
      !assignments.find(subject, "once")
    );
  }

  return { hasRoom, findReplaceable };
}

function lastSign({ lastSeenAt, createdAt }: Machine): EpochMs {
  return lastSeenAt ?? createdAt;
}

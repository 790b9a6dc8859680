import { HostKeyRefused, HostKeyUnknown } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { SshHostKey } from "../domain/power-settings.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { PowerSettingsService } from "./power-settings.ts";
import type { SshTarget } from "./ssh.ts";

export interface SshTargetsDeps {
  readonly record: RecordEvent;
  readonly settings: Pick<PowerSettingsService, "of">;
  readonly hostKeyOf: (machineId: string) => SshHostKey | undefined;
  /** Where it was last seen. */
  readonly addressOf: (machine: Machine) => Ipv4 | undefined;
}

/** Where each machine is reached by SSH, and by which key it is known. */
export function createSshTargets({ record, settings, hostKeyOf, addressOf }: SshTargetsDeps) {
  /** @throws HostKeyUnknown */
  function targetOf(machine: Machine): SshTarget {
    const own = settings.of(machine);
    const chosen = own?.method === "ssh" ? own : undefined;
    const known = hostKeyOf(machine.id);
    if (!known) throw HostKeyUnknown({ machine: machine.name });
    return {
      machine: machine.name,
      address: chosen?.address ?? addressOf(machine) ?? known.address,
      port: chosen?.port ?? 22,
      user: chosen?.user ?? known.user,
      hostKey: known.hostKey,
    };
  }

  return {
    isKnown: (machine: Machine): boolean => hostKeyOf(machine.id) !== undefined,
    /** What its role let the server do, when it told its key. */
    commandsOf: (machine: Machine) => hostKeyOf(machine.id)?.commands ?? "orders",
    /** A key that is not the machine's own is told as an alarm, whatever comes of it. @throws HostKeyUnknown, and what `run` throws */
    async reach<T>(machine: Machine, run: (target: SshTarget) => Promise<T>): Promise<T> {
      try {
        return await run(targetOf(machine));
      } catch (error) {
        if (HostKeyRefused.is(error))
          record({
            type: "machine.host-key",
            level: "alarm",
            machineId: machine.id,
            message: error.message,
            data: { address: error.details["address"], reason: "other key" },
          });
        throw error;
      }
    },
  };
}
export type SshTargets = ReturnType<typeof createSshTargets>;

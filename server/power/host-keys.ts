import type { Clock } from "../domain/capabilities.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { isPowerAddress, isPowerUser, parseHostKey } from "../domain/power-settings.ts";
import type { SshCommands } from "../domain/role.ts";
import type { PowerRepository } from "../store/power.ts";

export interface HostKeysDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly store: Pick<PowerRepository, "saveHostKey">;
}

/** Whose callback it was, as its claim says. */
export interface HostKeyReport {
  readonly machine: Pick<Machine, "id" | "name">;
  readonly bootId: string;
  readonly address: string;
  /** Whom its role gives the keys; undefined: root. */
  readonly user: string | undefined;
  /** What its role lets the server's key do; undefined: its orders. */
  readonly commands?: SshCommands | undefined;
  /** As the machine sent it. */
  readonly text: string;
}

/** Pins the SSH host keys that machines tell by their callbacks: the first of each boot counts. */
export function createHostKeys({ clock, record, store }: HostKeysDeps) {
  return {
    /** Resolves when it is on the disk. What is no key is left out: a machine without SSH has none to tell. */
    async note(report: HostKeyReport): Promise<void> {
      const { machine, bootId, address, user = "root", commands = "orders", text } = report;
      const hostKey = parseHostKey(text);
      if (hostKey === undefined || !isPowerAddress(address) || !isPowerUser(user)) return;
      const counting = await store.saveHostKey(machine.id, {
        bootId,
        hostKey,
        address,
        user,
        commands,
        toldAt: clock.now(),
      });
      if (counting.hostKey === hostKey) return;
      record({
        type: "machine.host-key",
        level: "alarm",
        machineId: machine.id,
        bootId,
        message: `${machine.name} told a second SSH host key in the same boot; the first one counts`,
        data: { address, reason: "second key" },
      });
    },
  };
}
export type HostKeys = ReturnType<typeof createHostKeys>;

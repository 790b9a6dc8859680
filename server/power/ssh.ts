import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { HostKeyRefused, MachineUnreachable, SshRefused } from "../domain/error-catalogue.ts";
import { sshCommands } from "./authorized-key.ts";
import type { OwnKey } from "./own-key.ts";
import { TimeIsUp, within } from "./pause.ts";
import { lastWord } from "./run-program.ts";
import { runOverSsh, type SshEnd } from "./ssh-session.ts";

export interface SshTarget {
  readonly machine: string;
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** As in known_hosts, without a name. */
  readonly hostKey: string;
}

export interface SshDeps {
  readonly clock: Clock;
  readonly key: Pick<OwnKey, "privateKey">;
  /** For connection and command together. */
  readonly limitMs?: DurationMs;
  /** For the connection up to the login. */
  readonly loginLimitMs?: DurationMs;
  /** What a host may send for one order. */
  readonly receivedBytes?: number;
}

/** A machine that is there answers in a second; one that is not must not keep a room waiting. */
const usualLimitMs = 15_000;
const usualLoginLimitMs = 8_000;
/** A login and a line or two; a host that sends more than this is not one of ours. */
const usualReceivedBytes = 256 * 1024;
const keptBytes = 16 * 1024;

/** Orders over SSH: one of three fixed commands, to a host with exactly the key that the machine told. */
export function createSsh(deps: SshDeps) {
  const { clock, key, limitMs = usualLimitMs, loginLimitMs = usualLoginLimitMs } = deps;
  const { receivedBytes = usualReceivedBytes } = deps;
  /** @throws MachineUnreachable, HostKeyRefused, SshRefused */
  return async (
    target: SshTarget,
    order: keyof typeof sshCommands,
    signal: AbortSignal,
  ): Promise<"done" | "failed"> => {
    const { machine, address } = target;
    const call = {
      ...target,
      keptBytes,
      receivedBytes,
      loginLimitMs,
      privateKey: await key.privateKey(),
      command: sshCommands[order],
    };
    try {
      return judge(await within(clock, limitMs, signal, (signal) => runOverSsh(call, signal)), target, order);
    } catch (error) {
      if (error instanceof TimeIsUp) throw MachineUnreachable({ machine, address, reason: error.message });
      throw error;
    }
  };
}
export type Ssh = ReturnType<typeof createSsh>;

function judge(
  end: SshEnd,
  { machine, address, user }: SshTarget,
  order: keyof typeof sshCommands,
): "done" | "failed" {
  if (end.kind === "exit") {
    if (end.code === 0) return "done";
    // `systemctl is-system-running` fails on a system that is up and not well; 126 is what our line in authorized_keys refuses with.
    if (order === "status" && end.code !== 126) return "failed";
    const reason = lastWord(end.stderr, `its command ended with ${end.code}`);
    throw SshRefused({ machine, user, reason });
  }
  // The system took the order, and the connection went down with it.
  if (end.kind === "cut" && order !== "status") return "done";
  const reason = lastWord(end.problem, "the connection was closed");
  if (end.kind === "other-host") throw HostKeyRefused({ machine, address });
  if (end.kind === "refused") throw SshRefused({ machine, user, reason });
  throw MachineUnreachable({ machine, address, reason });
}

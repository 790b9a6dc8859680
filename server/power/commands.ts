import type { Clock, DurationMs } from "../domain/capabilities.ts";
import {
  CommandCut,
  CommandNotAllowed,
  HostKeyRefused,
  MachineUnreachable,
  SshRefused,
} from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { OwnKey } from "./own-key.ts";
import { TimeIsUp, within } from "./pause.ts";
import { lastWord } from "./run-program.ts";
import { createSlots } from "../domain/slots.ts";
import type { SshTarget } from "./ssh.ts";
import { runOverSsh, type SshEnd, type SshOutput } from "./ssh-session.ts";
import type { SshTargets } from "./ssh-targets.ts";

export interface CommandsDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly key: Pick<OwnKey, "privateKey">;
  readonly targets: SshTargets;
}

export interface CommandOrder {
  /** For the shell of the account that the role names. */
  readonly command: string;
  readonly limitMs: DurationMs;
  readonly actor: string | undefined;
}

export interface CommandOutcome extends SshOutput {
  readonly code: number;
}

/** Machines at the same time: apart from orders to switch machines, which commands must not keep waiting. */
const atOnce = 16;
const loginLimitMs = 8_000;
const bounds = { keptBytes: 16 * 1024, receivedBytes: 4 * 1024 * 1024 };

/** Commands of administrators on machines whose role allows them; each is an event, without its words. */
export function createCommands({ clock, record, key, targets }: CommandsDeps) {
  const slots = createSlots({ atOnce });

  async function give(target: SshTarget, { command, limitMs }: CommandOrder, signal: AbortSignal) {
    const call = { ...target, ...bounds, loginLimitMs, privateKey: await key.privateKey(), command };
    try {
      return judge(await within(clock, limitMs, signal, (signal) => runOverSsh(call, signal)), target);
    } catch (error) {
      if (!(error instanceof TimeIsUp)) throw error;
      throw CommandCut({ machine: target.machine, reason: error.message });
    }
  }

  return {
    /** @throws CommandNotAllowed, HostKeyUnknown, HostKeyRefused, MachineUnreachable, SshRefused, CommandCut, or the signal's reason */
    run: (machine: Machine, order: CommandOrder, signal: AbortSignal): Promise<CommandOutcome> =>
      slots.run(signal, async () => {
        const told = { program: programOf(order.command), characters: order.command.length };
        const what = `${machine.name}: ${told.program} (a command of ${told.characters} characters)`;
        const event = { type: "machine.command", machineId: machine.id, actor: order.actor } as const;
        try {
          const outcome = await targets.reach(machine, (target) => {
            if (targets.commandsOf(machine) !== "any") throw CommandNotAllowed({ machine: machine.name });
            return give(target, order, signal);
          });
          const { code } = outcome;
          record({ ...event, message: `${what} ended with ${code}`, data: { ...told, exitCode: code } });
          return outcome;
        } catch (error) {
          const code = error instanceof RollcallError ? error.code : "CANCELLED";
          const message = `${what} did not run to its end: ${code}`;
          record({ ...event, level: "warning", message, data: { ...told, code } });
          throw error;
        }
      }),
  };
}
export type Commands = ReturnType<typeof createCommands>;

/** The first word, where it is plainly the name of a program: the rest may be anybody's secret. */
function programOf(command: string): string {
  const [word = ""] = command.trimStart().split(/\s/, 1);
  return /^[A-Za-z0-9_./+-]{1,64}$/.test(word) ? word : "(not shown)";
}

function judge(end: SshEnd, { machine, address, user }: SshTarget): CommandOutcome {
  if (end.kind === "exit") return end;
  const reason = lastWord(end.problem, "the connection was closed");
  if (end.kind === "cut") throw CommandCut({ machine, reason });
  if (end.kind === "other-host") throw HostKeyRefused({ machine, address });
  if (end.kind === "refused") throw SshRefused({ machine, user, reason });
  throw MachineUnreachable({ machine, address, reason });
}

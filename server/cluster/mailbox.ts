import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { Instruction } from "../domain/cluster-node.ts";

interface Box {
  instruction: Instruction | undefined;
  /** It asked for an instruction that this process does not have: the server was started anew since. */
  isMissing: boolean;
  heardAtMs: number;
  readonly waiting: Set<() => void>;
}

/** Agents of one machine that wait at once: a connection that broke on their side may hang for a while. */
const waitingPerMachine = 4;

/**
 * The instructions under way, in memory alone: they hold secrets. What the server forgets by its own end is made anew when the agent asks.
 */
export function createMailbox(clock: Clock) {
  const boxes = new Map<string, Box>();
  let isReleased = false;
  function boxOf(machineId: string): Box {
    let box = boxes.get(machineId);
    if (!box) {
      // Silence is counted from here on: what it said before this process, nobody knows.
      box = { instruction: undefined, isMissing: false, heardAtMs: clock.monotonicMs(), waiting: new Set() };
      boxes.set(machineId, box);
    }
    return box;
  }

  return {
    put(machineId: string, instruction: Instruction): void {
      const box = boxOf(machineId);
      box.instruction = instruction;
      box.isMissing = false;
      for (const wake of box.waiting) wake();
    },

    /** The agent's newest instruction; undefined: there is none that it has not done within the time. */
    async take(
      machineId: string,
      { done, sequence, waitMs }: { done: number; sequence: number; waitMs: DurationMs },
    ): Promise<Instruction | undefined> {
      const box = boxOf(machineId);
      box.heardAtMs = clock.monotonicMs();
      const newer = () => (box.instruction && box.instruction.sequence > done ? box.instruction : undefined);
      if (!newer() && sequence > done && !box.instruction) box.isMissing = true;
      if (newer() || waitMs <= 0 || isReleased || box.waiting.size >= waitingPerMachine) return newer();
      await new Promise<void>((resolve) => {
        const cancel = clock.after(waitMs, () => wake());
        const wake = () => {
          cancel();
          box.waiting.delete(wake);
          resolve();
        };
        box.waiting.add(wake);
      });
      box.heardAtMs = clock.monotonicMs();
      return boxes.get(machineId) === box ? newer() : undefined;
    },

    of: (machineId: string): Instruction | undefined => boxes.get(machineId)?.instruction,
    isMissing: (machineId: string): boolean => boxes.get(machineId)?.isMissing ?? false,
    /** How long its agent has said nothing, ms. */
    silenceMs: (machineId: string): DurationMs => clock.monotonicMs() - boxOf(machineId).heardAtMs,
    heard(machineId: string): void {
      boxOf(machineId).heardAtMs = clock.monotonicMs();
    },
    /** A new boot: nothing that was meant for the last one is for it. */
    forget(machineId: string): void {
      const box = boxes.get(machineId);
      boxes.delete(machineId);
      for (const wake of box?.waiting ?? []) wake();
    },
    /** At the end of the server: nobody is kept waiting. */
    release(): void {
      isReleased = true;
      for (const machineId of boxes.keys()) this.forget(machineId);
    },
  };
}
export type Mailbox = ReturnType<typeof createMailbox>;

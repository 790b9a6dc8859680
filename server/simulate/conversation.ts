import type { DurationMs } from "../domain/capabilities.ts";
import type { DhcpMessage } from "../dhcp/wire/message.ts";
import { clientMessage, type RequestFields } from "./dhcp-messages.ts";
import type { DhcpHabits } from "./profiles.ts";
import type { DhcpChannel } from "./segment.ts";
import type { Phase, Station } from "./station.ts";

export type Hear = (message: DhcpMessage | undefined) => void;

export interface Conversation<Answer> {
  readonly phase: Phase;
  readonly habits: DhcpHabits;
  /** Wait after each time that the message is sent; there are as many tries as waits. */
  readonly waits: readonly DurationMs[];
  open(hear: Hear): DhcpChannel;
  /** @param secs seconds since the first try, as the header's `secs` has them */
  message(secs: number): RequestFields;
  /** Looks at a reply; an answer ends the conversation. */
  take(reply: DhcpMessage): Answer | undefined;
  /** Looks at what came so far when a wait is over. */
  atWaitEnd?(): Answer | undefined;
  /** Looks once at what came so far, at this time. */
  readonly late?: { readonly afterMs: DurationMs; take(): Answer | undefined };
}

/** Sends, waits, sends again, until there is an answer or all waits are over. */
export function converse<Answer>(
  { machine, timeline, line, record }: Station,
  conversation: Conversation<Answer>,
): Promise<Answer | undefined> {
  const { phase, waits, habits } = conversation;
  return new Promise((resolve) => {
    let tries = 0;
    let waitedMs = 0;
    let isOver = false;
    let isLate = false;
    let cancel = (): void => {};
    let cancelLate = (): void => {};
    const channel = conversation.open((reply) => {
      if (isOver || !reply) return;
      const answer = conversation.take(reply) ?? (isLate ? conversation.late?.take() : undefined);
      if (answer !== undefined) end(answer);
    });

    function end(answer: Answer | undefined): void {
      isOver = true;
      cancel();
      cancelLate();
      channel.close();
      resolve(answer);
    }

    function next(): void {
      const wait = waits[tries++];
      if (wait === undefined) return end(undefined);
      if (tries > 1) record.repeated(phase);
      const message = clientMessage(machine, habits, conversation.message(Math.floor(waitedMs / 1000)));
      line.carry(() => isOver || channel.send(message));
      cancel = timeline.after(wait, () => {
        waitedMs += wait;
        const answer = conversation.atWaitEnd?.();
        if (answer === undefined) next();
        else end(answer);
      });
    }

    const { late } = conversation;
    if (late)
      cancelLate = timeline.after(late.afterMs, () => {
        isLate = true;
        const answer = late.take();
        if (answer !== undefined) end(answer);
      });
    next();
  });
}

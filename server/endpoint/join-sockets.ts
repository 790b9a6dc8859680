import { connect, type Socket } from "node:net";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { Backend } from "./backend-health.ts";

/** Of silence, before the kernel asks whether the other end is still there: a watch may say nothing for hours, and a dead machine too. */
const keepAliveMs = 15_000;

/** @returns undefined when nobody takes the connection in time, or the client has gone meanwhile */
export function connectTo(
  { address, port }: Backend,
  {
    clock,
    limitMs,
    client,
  }: { readonly clock: Clock; readonly limitMs: DurationMs; readonly client: Socket },
): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true });
    const done = (result: Socket | undefined) => {
      cancel();
      client.off("close", giveUp);
      socket.off("connect", succeed);
      if (!result) socket.destroy();
      resolve(result);
    };
    const succeed = () => done(socket);
    const giveUp = () => done(undefined);
    const cancel = clock.after(limitMs, giveUp);
    socket.on("error", giveUp);
    socket.once("connect", succeed);
    client.once("close", giveUp);
  });
}

/**
 * Carries octets both ways until both ends are done: the end of one is told to the other, which may go on; an end that breaks breaks the other too (a reset, which nobody takes for an end). What one
 * does not take is not read from the other.
 */
export function joinSockets(
  client: Socket,
  upstream: Socket,
  {
    clock,
    halfClosedMs,
    onEnd,
  }: { readonly clock: Clock; readonly halfClosedMs: DurationMs; readonly onEnd: () => void },
): void {
  let cancel: (() => void) | undefined;
  let closed = 0;
  const pair = [
    [client, upstream],
    [upstream, client],
  ] as const;
  for (const [one, other] of pair) {
    one.setKeepAlive(true, keepAliveMs);
    one.on("error", () => {});
    one.once("end", () => {
      cancel ??= clock.after(halfClosedMs, () => {
        client.resetAndDestroy();
        upstream.resetAndDestroy();
      });
    });
    one.once("close", (hadError) => {
      // What it said before it was done still goes out.
      if (hadError || !one.readableEnded) other.resetAndDestroy();
      else other.destroySoon();
      if (++closed < 2) return;
      cancel?.();
      onEnd();
    });
    one.pipe(other);
  }
}

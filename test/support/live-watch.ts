import { request } from "undici";
import type { LiveMessages, MachineLive } from "../../server/http/api/live-messages.ts";

export type LiveMessage = {
  readonly [name in keyof LiveMessages]: { readonly event: name; readonly data: LiveMessages[name] };
}[keyof LiveMessages];

/** Opens `GET /api/v1/live` on a socket of its own and keeps what it is told. */
export async function watchLive(
  t: { teardown(fn: () => void): unknown },
  { url }: { readonly url: string },
  token: string,
) {
  const { body, statusCode, headers } = await request(`${url}/api/v1/live`, {
    headers: { accept: "text/event-stream", authorization: `Bearer ${token}` },
  });
  const told: LiveMessage[] = [];
  /** As a dashboard keeps them, by name. */
  const machines = new Map<string, MachineLive>();
  const waiting = new Set<() => void>();
  let text = "";
  let isOver = false;
  const wake = () => [...waiting].forEach((look) => look());
  const reading = (async () => {
    let pending = "";
    for await (const chunk of body) {
      text += String(chunk);
      const parts = (pending + String(chunk)).split("\n\n");
      pending = parts.pop() ?? "";
      for (const part of parts) take(part);
      wake();
    }
  })()
    .catch(() => undefined)
    .finally(() => {
      isOver = true;
      wake();
    });
  t.teardown(() => void body.on("error", () => undefined).destroy());

  function take(part: string): void {
    const event = /^event: (.*)$/m.exec(part)?.[1];
    const data = /^data: (.*)$/m.exec(part)?.[1];
    if (event === undefined || data === undefined) return;
    const message = { event, data: JSON.parse(data) as unknown } as LiveMessage;
    told.push(message);
    if (message.event === "snapshot") for (const one of message.data.machines) machines.set(one.name, one);
    if (message.event !== "machines") return;
    for (const one of message.data.changed) machines.set(one.name, one);
    for (const id of message.data.removed)
      for (const [name, one] of machines) if (one.id === id) machines.delete(name);
  }

  /** Resolves as soon as `fits`, looked at anew with each part of the stream; fails when the stream ends before. */
  function until(fits: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!fits() && !isOver) return;
        waiting.delete(look);
        if (fits()) resolve();
        else reject(new Error(`the stream ended before:\n${text.slice(-2000)}`));
      };
      waiting.add(look);
      look();
    });
  }

  const watcher = {
    status: statusCode,
    headers,
    told,
    machines,
    until,
    /** All that came, as it came. */
    text: () => text,
    /** Resolves when the server has ended the stream. */
    ended: reading,
    messages: <Name extends keyof LiveMessages>(name: Name): LiveMessages[Name][] =>
      told.flatMap(({ event, data }) => (event === name ? [data as LiveMessages[Name]] : [])),
  };
  if (statusCode === 200) await until(() => told.some(({ event }) => event === "snapshot"));
  return watcher;
}
export type LiveWatcher = Awaited<ReturnType<typeof watchLive>>;

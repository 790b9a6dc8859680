import { useEffect, useState } from "preact/hooks";
import { eventTypes } from "../domain/event.ts";
import type { EventChoice, LogEvent } from "./event-choice.ts";

/** As many are kept and shown; the oldest go. */
const mostEvents = 500;
/** News are drawn together, ms: a room that boots makes hundreds a second. */
const gatherMs = 150;
const retryMs = 3000;
/** Each step of each boot: the machine's timeline has them. */
const untold = "boot.step";

/**
 * The newest events of a choice, newest first, and those that come while the view is open. The stream is closed while nobody sees the page,
 * for a browser opens six connections to a server at most.
 * @param newest how many of those before now
 */
export function useEvents(choice: EventChoice, newest = 200): readonly LogEvent[] | undefined {
  const [events, setEvents] = useState<readonly LogEvent[]>();
  const key = JSON.stringify([choice, newest]);
  useEffect(() => {
    let source: EventSource | undefined;
    let retry: ReturnType<typeof setTimeout> | undefined;
    let drawing: ReturnType<typeof setTimeout> | undefined;
    let lastSeq: number | undefined;
    let gathered: LogEvent[] = [];
    setEvents(undefined);

    function draw(): void {
      drawing = undefined;
      const fresh = gathered.reverse();
      gathered = [];
      setEvents((before = []) => [...fresh, ...before].slice(0, mostEvents));
    }

    function take({ data }: MessageEvent<string>): void {
      const event = JSON.parse(data) as LogEvent;
      // What was told before the connection was lost may come once more.
      if (lastSeq !== undefined && event.seq <= lastSeq) return;
      lastSeq = event.seq;
      gathered.push(event);
      drawing ??= setTimeout(draw, gatherMs);
    }

    function open(): void {
      if (document.hidden || source) return;
      const stream = new EventSource(addressOf(choice, newest, lastSeq));
      source = stream;
      for (const type of Object.keys(eventTypes)) if (type !== untold) stream.addEventListener(type, take);
      stream.addEventListener("open", () => {
        drawing ??= setTimeout(draw, gatherMs);
      });
      stream.addEventListener("error", () => {
        close();
        retry = setTimeout(open, retryMs);
      });
    }

    function close(): void {
      source?.close();
      source = undefined;
      clearTimeout(retry);
    }

    const follow = () => (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", follow);
    open();
    return () => {
      document.removeEventListener("visibilitychange", follow);
      close();
      clearTimeout(drawing);
    };
  }, [key]);
  return events;
}

function addressOf(
  { type, machine, actor, from }: EventChoice,
  newest: number,
  since: number | undefined,
): string {
  const query = new URLSearchParams({ limit: String(newest) });
  for (const [name, value] of Object.entries({ type, machine, actor, from }))
    if (value !== undefined && value !== "") query.set(name, value);
  if (since !== undefined) query.set("since", String(since));
  return `/api/v1/events?${query.toString()}`;
}

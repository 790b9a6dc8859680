import { computed, signal } from "@preact/signals";
import type { LiveMessages } from "../http/api/live-messages.ts";
import {
  afterGroups,
  afterMachines,
  afterOperations,
  afterSnapshot,
  type LiveState,
  nothingLive,
} from "./live-state.ts";
import { askSession } from "./session.ts";

/** What the server tells as it happens: one stream for the whole page, its news as signals. */

const state = signal<LiveState>(nothingLive);
/** By id. */
export const machines = computed(() => state.value.machines);
/** By name. */
export const groups = computed(() => state.value.groups);
/** By id: those under way, and those that ended while the page was open. */
export const operations = computed(() => state.value.operations);

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live" }
  /** Since then, ms of the browser's clock. */
  | { readonly state: "lost"; readonly since: number };
export const connection = signal<Connection>({ state: "connecting" });

/** Of the server's clock, ms: what its times are to be compared with. A component that reads it is drawn anew every second. */
export const now = computed(() => browserNow.value + state.value.clockAheadMs);
const browserNow = signal(Date.now());
setInterval(() => {
  if (!document.hidden) browserNow.value = Date.now();
}, 1000);

/** Waits between attempts, ms; the last of them again and again. */
const retriesMs = [500, 1000, 2000, 5000];
/** The server tells something every 15 s at least: after so long without anything nobody is there any more, whatever the browser thinks, ms. */
const deafAfterMs = 45_000;
/** A tab that nobody looks at lets its stream go after this, ms: browsers have six connections to a server for all tabs together. */
const restAfterMs = 30_000;

/** @returns ends it */
export function watchLive(): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let isOver = false;
  let isResting = false;
  let heardAt = 0;

  function open(): void {
    // Whoever asked for the session before may have been told to rest meanwhile.
    if (isOver || isResting || source) return;
    const stream = new EventSource("/api/v1/live");
    source = stream;
    heardAt = Date.now();
    function on<Name extends keyof LiveMessages>(
      name: Name,
      change: (before: LiveState, message: LiveMessages[Name]) => LiveState,
    ): void {
      stream.addEventListener(name, (event: MessageEvent<string>) => {
        heardAt = Date.now();
        state.value = change(state.peek(), JSON.parse(event.data) as LiveMessages[Name]);
      });
    }
    on("snapshot", (before, message) => {
      attempts = 0;
      connection.value = { state: "live" };
      return afterSnapshot(before, message, Date.now());
    });
    on("machines", afterMachines);
    on("groups", afterGroups);
    on("operations", afterOperations);
    on("beat", (before) => before);
    stream.addEventListener("error", lost);
  }

  /** Our own waits: a browser's are its own affair, and it gives up for good where the answer is no stream. */
  function lost(): void {
    source?.close();
    source = undefined;
    if (isOver || isResting) return;
    if (connection.peek().state !== "lost") connection.value = { state: "lost", since: Date.now() };
    const wait = retriesMs[Math.min(attempts++, retriesMs.length - 1)] ?? 0;
    // A session that ended is no lost connection: it is asked for first.
    timer = setTimeout(() => void askSession().then(open, stillLost), wait);
  }
  /** Unless the page was looked at again meanwhile, and has opened another one. */
  function stillLost(): void {
    if (!source) lost();
  }
  const listening = setInterval(() => {
    if (source && Date.now() - heardAt > deafAfterMs) lost();
  }, 5000);

  function stop(): void {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  }

  let resting: ReturnType<typeof setTimeout> | undefined;
  function onVisibility(): void {
    clearTimeout(resting);
    if (document.hidden)
      resting = setTimeout(() => {
        isResting = true;
        stop();
      }, restAfterMs);
    else if (isResting) {
      isResting = false;
      // What is shown is as old as it was.
      if (connection.peek().state !== "lost") connection.value = { state: "connecting" };
      open();
    }
  }

  document.addEventListener("visibilitychange", onVisibility);
  open();
  return () => {
    isOver = true;
    document.removeEventListener("visibilitychange", onVisibility);
    clearTimeout(resting);
    clearInterval(listening);
    stop();
    state.value = nothingLive;
    connection.value = { state: "connecting" };
  };
}

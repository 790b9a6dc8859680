import type { Database } from "better-sqlite3";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { Event, EventLevel, EventType, NewEvent } from "../domain/event.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  seq: number;
  at_ms: number;
  type: EventType;
  level: EventLevel;
  machine_id: string | null;
  boot_id: string | null;
  actor: string | null;
  message: string;
  data: string;
}

function fromRow(row: Row): Event {
  return {
    seq: row.seq,
    at: row.at_ms,
    type: row.type,
    level: row.level,
    machineId: row.machine_id ?? undefined,
    bootId: row.boot_id ?? undefined,
    actor: row.actor ?? undefined,
    message: row.message,
    data: JSON.parse(row.data) as Record<string, unknown>,
  };
}

export interface EventFilter {
  /** Only events after this one. */
  readonly since?: number;
  readonly machineId?: string;
  /** Type, or its beginning: `machine` finds `machine.phase`. */
  readonly type?: string;
  readonly actor?: string;
  /** Only events from this time on. */
  readonly fromMs?: number;
  /** Only events of these machines, and those that are of a room itself (`data.group`). */
  readonly within?: { readonly machineIds: readonly string[]; readonly rooms: readonly string[] };
  readonly limit: number;
  /** The newest ones, still in order of time. */
  readonly newest?: boolean;
}

/** How many events are kept, the newest ones: about half a gigabyte, and years of a room that nobody attacks. */
const keptEvents = 1_000_000;
/** After so many new events up to twice as many old ones go, so that no commit takes long and a log that is too long becomes shorter. */
const trimEvery = 500;

/** The append-only event log, readable live. Only its oldest end is ever cut off, beyond `kept` events. */
export function createEventLog(db: Database, queue: CommitQueue, clock: Clock, kept = keptEvents) {
  const insert = db.prepare(
    "INSERT INTO events (at_ms, type, level, machine_id, boot_id, actor, message, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const where = (ofMachine: string) =>
    `FROM events WHERE seq > @since AND ${ofMachine} AND (@type IS NULL OR type = @type OR substr(type, 1, length(@type) + 1) = @type || '.') AND (@actor IS NULL OR actor = @actor) AND (@fromMs IS NULL OR at_ms >= @fromMs) AND (@machineIds IS NULL OR machine_id IN (SELECT value FROM json_each(@machineIds)) OR (machine_id IS NULL AND json_extract(data, '$.group') IN (SELECT value FROM json_each(@rooms))))`;
  const selects = (ofMachine: string) => ({
    first: db.prepare(`SELECT * ${where(ofMachine)} ORDER BY seq LIMIT @limit`),
    newest: db.prepare(
      `SELECT * FROM (SELECT * ${where(ofMachine)} ORDER BY seq DESC LIMIT @limit) ORDER BY seq`,
    ),
  });
  // SQLite plans before it knows the values: one statement for both would read the whole log for one machine's events.
  const ofAll = selects("@machineId IS NULL");
  const ofOne = selects("machine_id = @machineId");
  const trim = db.prepare(
    "DELETE FROM events WHERE seq <= @cutoff AND seq < (SELECT min(seq) FROM events) + @atOnce",
  );
  const listeners = new Set<(event: Event) => void>();

  let lastSeq = (db.prepare("SELECT coalesce(max(seq), 0) AS seq FROM events").get() as { seq: number }).seq;

  /** Events that are appended and not stored yet. */
  let arriving = 0;
  let barrier: Promise<void> | undefined;

  return {
    /** Tells the listeners something that is not worth a row, e.g. each step of a boot. */
    announce(event: NewEvent): void {
      const told: Event = {
        ...event,
        seq: lastSeq,
        at: clock.now(),
        level: event.level ?? "info",
        machineId: event.machineId,
        bootId: event.bootId,
        actor: event.actor,
        data: event.data ?? {},
      };
      for (const listener of listeners) listener(told);
    },
    /** Appends; listeners hear of it once it is stored. */
    async append(event: NewEvent): Promise<Event> {
      arriving++;
      const storing = queue.runLater(() => {
        const at = clock.now();
        const level = event.level ?? "info";
        const { lastInsertRowid } = insert.run(
          at,
          event.type,
          level,
          event.machineId ?? null,
          event.bootId ?? null,
          event.actor ?? null,
          event.message,
          JSON.stringify(event.data ?? {}),
        );
        const seq = Number(lastInsertRowid);
        if (seq % trimEvery === 0) trim.run({ cutoff: seq - kept, atOnce: 2 * trimEvery });
        return {
          seq,
          at,
          type: event.type,
          level,
          machineId: event.machineId,
          bootId: event.bootId,
          actor: event.actor,
          message: event.message,
          data: event.data ?? {},
        };
      });
      const stored = await storing.finally(() => arriving--);
      lastSeq = stored.seq;
      for (const listener of listeners) listener(stored);
      return stored;
    },
    /**
     * Resolves when all that was appended before can be listed, so that what an answer has told of is in the log for whoever asks next;
     * or after the time, ms: a disk that is full or stands still hides no older events.
     */
    async settled(limitMs: DurationMs = 1000): Promise<void> {
      if (arriving === 0) return;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(limitMs, resolve);
        const done = () => {
          cancel();
          resolve();
        };
        // One for all that ask, or readers would fill the queue while a disk stands still.
        barrier ??= queue.run(() => void (barrier = undefined)).catch(() => void (barrier = undefined));
        void barrier.then(done);
      });
    },
    list({ since = 0, machineId, type, actor, fromMs, within, limit, newest = false }: EventFilter): Event[] {
      const values = {
        since,
        machineId: machineId ?? null,
        type: type ?? null,
        actor: actor ?? null,
        fromMs: fromMs ?? null,
        machineIds: within ? JSON.stringify(within.machineIds) : null,
        rooms: within ? JSON.stringify(within.rooms) : null,
        limit,
      };
      const select = machineId === undefined ? ofAll : ofOne;
      return ((newest ? select.newest : select.first).all(values) as Row[]).map(fromRow);
    },
    subscribe(listener: (event: Event) => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
export type EventLog = ReturnType<typeof createEventLog>;

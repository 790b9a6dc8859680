/** How the event log is asked: for each combination of filters a statement that follows an index. */
import type { Database, Statement } from "better-sqlite3";

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

const groupOfEvent = "json_extract(data, '$.group')";
const machinesOfRooms = "SELECT value FROM json_each(@machineIds)";
const rooms = "SELECT value FROM json_each(@rooms)";
/** The types that a word means, from index entry to index entry; `/` is the next character after the dot. */
const typesMeant = `WITH RECURSIVE met(value) AS (
    SELECT (SELECT min(type) FROM events WHERE type >= @type)
    UNION ALL
    SELECT (SELECT min(type) FROM events WHERE type > met.value) FROM met WHERE met.value < @type || '/'
  ) SELECT value FROM met WHERE value = @type OR (value > @type || '.' AND value < @type || '/')`;

/** The `+` keeps it from looking at the events one after the other from the first on. */
export const firstEventFrom = "SELECT min(+seq) AS seq FROM events WHERE at_ms >= @fromMs";

type Shape = Readonly<Record<"machineId" | "type" | "actor" | "fromMs" | "within" | "newest", boolean>>;

/**
 * The statement for what is asked. Where several values may be meant (the types of a word, the machines of rooms) each is asked for its
 * own first or newest events and the best of these are taken: in one go they would come in no order, and all of them be sorted.
 */
export function eventQuery({ machineId, type, actor, fromMs, within, newest }: Shape): string {
  const order = newest ? "DESC" : "ASC";
  const isOne = machineId || actor;
  const byRoom = within && !isOne;
  const byType = type && !isOne && !within;
  const conditions = [
    "seq > @since",
    ...(machineId ? ["machine_id = @machineId"] : []),
    ...(actor ? ["actor = @actor"] : []),
    ...(fromMs ? ["seq >= @fromSeq", "at_ms >= @fromMs"] : []),
    ...(type && !byType ? ["(+type = @type OR substr(type, 1, length(@type) + 1) = @type || '.')"] : []),
    ...(within && !byRoom
      ? [`(+machine_id IN (${machinesOfRooms}) OR (machine_id IS NULL AND +${groupOfEvent} IN (${rooms})))`]
      : []),
  ].join(" AND ");
  /** The best events of each value: those of `values` in a column that has an index. */
  const ofEach = (values: string, condition: string) =>
    `SELECT found.seq FROM (${values}) AS one CROSS JOIN events AS found
     WHERE found.seq IN (SELECT seq FROM events WHERE ${condition} = one.value AND ${conditions} ORDER BY seq ${order} LIMIT @limit)`;
  const best = (candidates: string) =>
    `SELECT * FROM events WHERE seq IN (${candidates}) ORDER BY seq ${order} LIMIT @limit`;
  const found = byRoom
    ? best(
        `${ofEach(machinesOfRooms, "machine_id")} UNION ALL ${ofEach(rooms, `machine_id IS NULL AND ${groupOfEvent}`)}`,
      )
    : byType
      ? best(ofEach(typesMeant, "type"))
      : `SELECT * FROM events WHERE ${conditions} ORDER BY seq ${order} LIMIT @limit`;
  return newest ? `SELECT * FROM (${found}) ORDER BY seq` : found;
}

/** Answers what is asked; a statement is made when it is asked for first. */
export function createEventQueries<Row>(db: Database): (filter: EventFilter) => Row[] {
  const statements = new Map<string, Statement>();
  const firstFrom = db.prepare(firstEventFrom);

  return ({ since = 0, machineId, type, actor, fromMs, within, limit, newest = false }) => {
    const sql = eventQuery({
      machineId: machineId !== undefined,
      type: type !== undefined,
      actor: actor !== undefined,
      fromMs: fromMs !== undefined,
      within: within !== undefined,
      newest,
    });
    const statement = statements.get(sql) ?? db.prepare(sql);
    statements.set(sql, statement);
    const first =
      fromMs === undefined
        ? undefined
        : (firstFrom.get({ fromMs }) as { seq: number | null } | undefined)?.seq;
    // Nothing is that new.
    if (first === null) return [];
    return statement.all({
      since,
      limit,
      ...(machineId === undefined ? {} : { machineId }),
      ...(type === undefined ? {} : { type }),
      ...(actor === undefined ? {} : { actor }),
      ...(fromMs === undefined ? {} : { fromMs, fromSeq: first }),
      ...(within
        ? { machineIds: JSON.stringify(within.machineIds), rooms: JSON.stringify(within.rooms) }
        : {}),
    }) as Row[];
  };
}

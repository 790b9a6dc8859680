import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t, { type Test } from "tap";
import { systemClock } from "../server/platform/clock.ts";
import { CommitQueue } from "../server/store/commit-queue.ts";
import { createEventLog } from "../server/store/events.ts";
import { migrate } from "../server/store/migrate.ts";
import { openStore, type Store } from "../server/store/open-store.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { seededRandom } from "./support/lossy-udp.ts";
import {
  addressOf,
  contentOf,
  fillUp,
  macOf,
  sampleAssignment,
  sampleClaim,
  sampleImage,
  sampleLease,
  sampleMachine,
  sampleTime,
  smallDisk,
  temporaryDirectory,
  sampleGroup,
} from "./support/samples.ts";

function migrations(t: Test, files: Record<string, string>): string {
  const directory = temporaryDirectory(t);
  for (const [name, sql] of Object.entries(files)) writeFileSync(join(directory, name), sql);
  return directory;
}

t.test(
  "an event that was told of is in the log for whoever asks next, and a dead disk hides no older ones",
  async (t) => {
    const clock = new ManualClock(sampleTime);
    const { events, close } = openStore(":memory:", clock);
    void events.append({ type: "machine.edited", message: "one" });
    t.same(events.list({ limit: 10 }), []);
    await events.settled();
    t.match(events.list({ limit: 10 }), [{ message: "one" }]);
    const db = new Sqlite(":memory:");
    migrate(db, join(import.meta.dirname, "../db/migrations"));
    const never = () => new Promise<never>(() => {});
    const stuck = createEventLog(
      db,
      Object.assign(new CommitQueue(db), { run: never, runLater: never }),
      clock,
    );
    void stuck.append({ type: "machine.edited", message: "two" });
    const waited = stuck.settled();
    clock.advanceMs(1000);
    await waited;
    close();
  },
);

t.test("migrations", async (t) => {
  const two = {
    "0001_first.sql": "CREATE TABLE one (a INTEGER) STRICT;",
    "0002_second.sql": "ALTER TABLE one ADD COLUMN b TEXT;",
  };
  t.test("run in the order of their numbers, each once", async (t) => {
    const db = new Sqlite(":memory:");
    const directory = migrations(t, two);
    migrate(db, directory);
    migrate(db, directory);
    t.same(db.prepare("SELECT version, name FROM migrations").all(), [
      { version: 1, name: "0001_first.sql" },
      { version: 2, name: "0002_second.sql" },
    ]);
    db.exec("INSERT INTO one (a, b) VALUES (1, 'text')");
  });
  t.test("an applied one that was changed afterwards stops the start", async (t) => {
    const db = new Sqlite(":memory:");
    const directory = migrations(t, two);
    migrate(db, directory);
    writeFileSync(join(directory, "0001_first.sql"), `${two["0001_first.sql"]} -- a word more`);
    t.throws(() => migrate(db, directory), {
      code: "DATABASE_REFUSED",
      message: /0001_first\.sql was changed after it had been applied/,
    });
  });
  t.test("a database of a newer version stops the start, and is not touched", async (t) => {
    const db = new Sqlite(":memory:");
    migrate(db, migrations(t, two));
    const older = migrations(t, { "0001_first.sql": two["0001_first.sql"] });
    t.throws(() => migrate(db, older), /schema 2 and this program knows 1.*newer version/);
    t.equal(db.prepare("SELECT count(*) AS n FROM migrations").pluck().get(), 2);
  });
  t.test("a number that is left out stops the start", async (t) => {
    const directory = migrations(t, { "0002_second.sql": "SELECT 1;" });
    t.throws(() => migrate(new Sqlite(":memory:"), directory), /should have the number 1/);
  });
  t.test("one that fails half-way leaves nothing of itself", async (t) => {
    const db = new Sqlite(":memory:");
    const directory = migrations(t, {
      "0001_first.sql": "CREATE TABLE one (a INTEGER); CREATE TABLE one (a);",
    });
    t.throws(() => migrate(db, directory), /already exists/);
    t.same(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'one'").all(), []);
    t.same(db.prepare("SELECT * FROM migrations").all(), []);
  });
  t.test("ours make STRICT tables only", async (t) => {
    const db = new Sqlite(":memory:");
    migrate(db, join(import.meta.dirname, "../db/migrations"));
    const loose = db.prepare(
      "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0",
    );
    t.same(
      loose
        .pluck()
        .all()
        .filter((name) => !String(name).startsWith("sqlite_")),
      [],
    );
  });
});

t.test("the commit queue", async (t) => {
  function open(t: Test) {
    const statements: string[] = [];
    const db = new Sqlite(join(temporaryDirectory(t), "queue.db"), {
      verbose: (sql) => statements.push(String(sql)),
    });
    t.teardown(() => db.close());
    db.exec("CREATE TABLE things (name TEXT PRIMARY KEY) STRICT");
    const insert = db.prepare("INSERT INTO things (name) VALUES (?)");
    const queue = new CommitQueue(db);
    const memory = new Set<string>();
    const add = (name: string) =>
      queue.run(({ onRollback }) => {
        memory.add(name);
        onRollback(() => memory.delete(name));
        insert.run(name);
        return name;
      });
    const names = () => db.prepare("SELECT name FROM things ORDER BY name").pluck().all();
    const commits = () => statements.filter((sql) => sql === "COMMIT").length;
    return { db, queue, memory, add, names, commits };
  }

  t.test("what comes in one turn of the event loop shares one commit", async (t) => {
    const { add, names, commits } = open(t);
    const added = await Promise.all(Array.from({ length: 50 }, (_, index) => add(`thing ${100 + index}`)));
    t.equal(added.length, 50);
    t.equal(commits(), 1);
    t.equal(names().length, 50);
  });
  t.test("nothing is acknowledged before its commit", async (t) => {
    const { add, commits } = open(t);
    const commitsThen = add("a").then(() => commits());
    t.equal(commits(), 0);
    t.equal(await commitsThen, 1);
  });
  t.test("one piece of work that fails is rolled back alone, with what it changed in memory", async (t) => {
    const { add, queue, names, memory, commits } = open(t);
    await add("b");
    const outcomes = await Promise.allSettled([
      add("a"),
      add("b"),
      add("c"),
      queue.run(({ onRollback }) => {
        memory.add("d");
        onRollback(() => memory.delete("d"));
        throw new Error("changed its mind");
      }),
    ]);
    t.same(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "rejected"],
    );
    t.match(outcomes[3], { reason: { message: "changed its mind" } });
    t.same(names(), ["a", "b", "c"]);
    t.same([...memory].sort(), ["a", "c"], "b was added before: its undo took it from the set");
    t.equal(commits(), 2);
  });
  t.test("leases and claims run without savepoints; where one throws, it alone is rolled back", async (t) => {
    const { db, queue, names, memory, commits } = open(t);
    const runs: string[] = [];
    const add = (name: string) =>
      queue.runAlone(({ onRollback }) => {
        runs.push(name);
        t.notOk(memory.has(name), "what the first run changed in memory was taken back before the second");
        memory.add(name);
        onRollback(() => memory.delete(name));
        db.prepare("INSERT INTO things VALUES (?)").run(name);
        if (name === "bad") throw new Error("changed its mind");
      });
    await Promise.all([add("a"), add("b")]);
    t.same(runs, ["a", "b"], "once each");
    const outcomes = await Promise.allSettled([add("c"), add("bad"), add("d")]);
    t.same(runs.slice(2), ["c", "bad", "c", "bad", "d"], "in their order, and again from the first one");
    t.same(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    t.match(outcomes[1], { reason: { message: "changed its mind" } });
    t.same(names(), ["a", "b", "c", "d"]);
    t.same([...memory].sort(), ["a", "b", "c", "d"]);
    t.equal(commits(), 2);
  });
  t.test("a commit that fails rejects all of its group, newest change undone first", async (t) => {
    const { db, queue, names } = open(t);
    db.exec("CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT");
    db.exec("CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED) STRICT");
    db.pragma("foreign_keys = ON");
    const undone: number[] = [];
    const outcomes = await Promise.allSettled([
      queue.run(({ onRollback }) => {
        db.exec("INSERT INTO things VALUES ('a')");
        onRollback(() => undone.push(1));
        onRollback(() => undone.push(2));
      }),
      queue.run(({ onRollback }) => {
        db.exec("INSERT INTO children VALUES (7)");
        onRollback(() => undone.push(3));
      }),
    ]);
    for (const outcome of outcomes)
      t.match(outcome, { status: "rejected", reason: { code: "STORE_FAILED" } });
    t.same(undone, [3, 2, 1]);
    t.same(names(), []);
    t.notOk(db.inTransaction);
    await queue.run(() => db.exec("INSERT INTO things VALUES ('later')"));
    t.same(names(), ["later"]);
  });
  t.test("what is pending at the end is written, what comes later is refused", async (t) => {
    const { add, queue, names } = open(t);
    const last = add("last");
    queue.close();
    await last;
    t.same(names(), ["last"]);
    await t.rejects(add("too late"), { code: "STORE_FAILED" });
  });
});

t.test("a store makes its directory, which nobody else can look into", async (t) => {
  const directory = join(temporaryDirectory(t), "not/there/yet");
  openStore(join(directory, "rollcall.db"), systemClock).close();
  t.equal(statSync(directory).mode & 0o777, 0o700);
});

t.test("on a full disk", async (t) => {
  const directory = smallDisk(t, 2);
  const store = openStore(join(directory, "rollcall.db"), systemClock);
  t.teardown(() => store.close());
  const { machines, groups, assignments, leases, tokens, images, events, claims } = store;
  await machines.add(sampleMachine(1, { name: "s1" }));
  const ballast = join(directory, "ballast");
  const { bavail, bsize } = statfsSync(directory);
  writeFileSync(ballast, Buffer.alloc((bavail - 150) * bsize));

  let number = 1;
  /** One write of each kind, all in one commit. */
  const writeAll = () => {
    number++;
    const text = "x".repeat(200);
    return Promise.allSettled([
      machines.add(sampleMachine(number, { seat: text })),
      machines.update("m_1", (s1) => ({
        ...s1,
        name: `s${number}`,
        macs: [macOf(1), macOf(10_000 + number)],
      })),
      groups.save(sampleGroup(`g${number}`, text, 1)),
      assignments.saveAll([sampleAssignment("m_1", { id: `as_${number}`, assignedBy: text })]),
      leases.save(sampleLease(1, { address: addressOf(number), hostname: text })),
      claims.mint(sampleClaim("m_1", { hash: `hash ${number}`, expiresAt: Date.now() + 60_000 })),
      tokens.add({
        id: `t_${number}`,
        name: `token-${number}`,
        scope: "viewer",
        hash: text + number,
        createdAt: 1,
        expiresAt: undefined,
      }),
      images.save(sampleImage(`version-${number}`)),
      events.append({ type: "machine.edited", message: text }),
    ]);
  };

  t.test("writes are refused as STORE_FAILED, and the machine hears what to do", async (t) => {
    let outcomes = await writeAll();
    while (outcomes.every(({ status }) => status === "fulfilled")) outcomes = await writeAll();
    for (const outcome of outcomes)
      t.match(outcome, { status: "rejected", reason: { code: "STORE_FAILED", httpStatus: 503 } });
    t.ok(number > 3, "some writes went through before");
    fillUp(ballast);
    // The write-ahead log may have room left inside for a few small writes.
    await t.rejects(
      async () => {
        for (;;) await store.probe();
      },
      { code: "STORE_FAILED" },
    );
  });
  t.test("what was refused is not in memory, what was acknowledged still is", async (t) => {
    t.equal(machines.find(`m_${number}`), undefined);
    t.equal(machines.get("m_1").name, `s${number - 1}`);
    t.equal(machines.findByMac(macOf(10_000 + number)), undefined);
    t.equal(machines.findByMac(macOf(10_000 + number - 1))?.id, "m_1");
    t.equal(leases.findByMac(macOf(1))?.address, addressOf(number - 1));
    t.equal(claims.find(`hash ${number}`), undefined);
    t.ok(claims.find(`hash ${number - 1}`));
    t.equal(images.findCurrent("debian-node")?.version, `version-${number - 1}`);
  });
  t.test("it goes on by itself when there is space again, and nothing was lost on the way", async (t) => {
    rmSync(ballast);
    await store.probe();
    for (const outcome of await writeAll()) t.match(outcome, { status: "fulfilled" });
    const again = openStore(join(directory, "rollcall.db"), systemClock);
    t.teardown(() => again.close());
    t.same(contentOf(again), contentOf(store));
    t.ok(again.claims.find(`hash ${number}`));
    t.equal(again.events.list({ limit: 1000 }).length, number - 2, "each acknowledged event once");
  });
});

/** Writes of test/support/store-writer.ts that were acknowledged: `what number` -> value. */
type Acknowledged = Map<string, string>;

/** Lets the writer work until it told `lines` acknowledgements, then kills it with no warning. */
async function writeAndKill(path: string, from: number, lines: number, known: Acknowledged): Promise<void> {
  const writer = join(import.meta.dirname, "support/store-writer.ts");
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", writer, path, String(from)],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let told = 0;
  let partial = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const complete = (partial + chunk).split("\n");
    partial = complete.pop() ?? "";
    for (const line of complete) {
      const [what, number, value = ""] = line.split(" ");
      known.set(`${what} ${number}`, value);
      if (++told === lines) child.kill("SIGKILL");
    }
  });
  const [, signal] = (await once(child, "close")) as [number | null, string | null];
  if (signal !== "SIGKILL") throw new Error(`the writer ended by itself after ${told} lines`);
}

/** What the store has where something was acknowledged. */
function storedValue(store: Store, what: string, number: number, value: string): string | number | undefined {
  const machineId = `m_${number}`;
  switch (what) {
    case "machine":
      return store.machines.find(machineId)?.id;
    case "change":
      return store.machines.find(machineId)?.ramBytes;
    case "assignment": {
      const found = store.assignments.find({ kind: "machine", machineId }, "always");
      return found?.target.kind === "role" ? String(found.target.params["number"]) : undefined;
    }
    case "claim":
      return store.claims.find(value)?.hash;
    case "token":
      return store.tokens.findByHash(value)?.hash;
    case "event":
      return store.events.list({ since: Number(value) - 1, limit: 1 })[0]?.message === `number ${number}`
        ? value
        : undefined;
    case "lease":
      return store.leases.findByMac(macOf(number))?.expiresAt;
    default:
      throw new Error(`the writer told of ${what}`);
  }
}

t.test("kill -9 at any moment loses nothing that was acknowledged", async (t) => {
  const seed = Date.now() & 0xffff;
  const random = seededRandom(seed);
  t.comment(`seed ${seed}`);
  await Promise.all([7, 8].map((kills) => killAgainAndAgain(t, kills, () => 1 + Math.floor(random() * 250))));
});

async function killAgainAndAgain(t: Test, kills: number, linesUntilKill: () => number): Promise<void> {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const known: Acknowledged = new Map();
  for (let kill = 0; kill < kills; kill++) {
    await writeAndKill(path, 1 + kill * 10_000, linesUntilKill(), known);
    const store = openStore(path, systemClock);
    const lost = [...known].filter(([key, value]) => {
      const [what = "", number] = key.split(" ");
      const stored = storedValue(store, what, Number(number), value);
      // These two count up: a later value was written and killed before it could be told.
      return what === "lease" || what === "change" ? !(Number(stored) >= Number(value)) : stored !== value;
    });
    store.close();
    t.same(lost, [], `after kill ${kill + 1} all ${known.size} acknowledged writes are there`);
  }
  const db = new Sqlite(path, { readonly: true });
  t.equal(db.pragma("integrity_check", { simple: true }), "ok");
  db.close();
}

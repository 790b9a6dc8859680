import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t, { type Test } from "tap";
import { CommitQueue, type Durability, type Transaction } from "../server/store/commit-queue.ts";
import { openStore } from "../server/store/open-store.ts";
import { systemClock } from "../server/platform/clock.ts";
import { createProbe } from "../server/store/probe.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { sampleMachine } from "./support/samples.ts";

function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-wal-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A disk that is done when the test says so. */
function slowDisk() {
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  let syncedNow = 0;
  const durability: Durability = {
    sync: () => new Promise((resolve, reject) => waiting.push({ resolve, reject })),
    syncNow: () => void syncedNow++,
  };
  return {
    durability,
    get underWay() {
      return waiting.length;
    },
    get syncedNow() {
      return syncedNow;
    },
    finish: () => waiting.shift()?.resolve(),
    fail: () => waiting.shift()?.reject(new Error("EIO: i/o error, fdatasync")),
  };
}

function open(t: Test) {
  const commits: string[] = [];
  const db = new Sqlite(join(temporaryDirectory(t), "queue.db"), {
    verbose: (sql) => sql === "COMMIT" && commits.push(String(sql)),
  });
  t.teardown(() => db.close());
  db.exec("CREATE TABLE things (name TEXT PRIMARY KEY) STRICT");
  const insert = db.prepare("INSERT INTO things (name) VALUES (?)");
  const disk = slowDisk();
  const queue = new CommitQueue(db, disk.durability);
  const told: string[] = [];
  const memory = new Set<string>();
  const work =
    (name: string) =>
    ({ onRollback }: Transaction) => {
      insert.run(name);
      memory.add(name);
      onRollback(() => memory.delete(name));
    };
  const note = (name: string, done: Promise<unknown>) =>
    void done.then(
      () => told.push(name),
      (error: Error) => told.push(`${name}: ${error.message}`),
    );
  return {
    db,
    queue,
    disk,
    told,
    commits,
    memory,
    run: (name: string) => note(name, queue.run(work(name))),
    runLater: (name: string) => note(name, queue.runLater(work(name))),
    runAlone: (name: string) => note(name, queue.runAlone(work(name))),
    names: () => db.prepare("SELECT name FROM things ORDER BY name").pluck().all(),
  };
}

/** Waits until something is so: an event of the event loop brings it about. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

t.test(
  "nothing is told before it is on the disk, and what comes meanwhile shares the next sync",
  async (t) => {
    const { run, disk, told, commits, names } = open(t);
    run("a");
    await until(() => disk.underWay === 1);
    t.same(names(), ["a"], "it is committed");
    t.same(told, []);
    run("b");
    run("c");
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(commits.length, 1, "nothing is committed while the disk is busy");
    disk.finish();
    await until(() => disk.underWay === 1);
    t.same(told, ["a"]);
    t.equal(commits.length, 2);
    disk.finish();
    await until(() => told.length === 3);
    t.same(told, ["a", "b", "c"]);
  },
);

t.test("what nobody waits for comes with the next commit of all, in its order", async (t) => {
  const { runLater, run, disk, told, commits } = open(t);
  runLater("event");
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(commits.length, 0);
  run("urgent");
  await until(() => disk.underWay === 1);
  disk.finish();
  await until(() => told.length === 2);
  t.same(told, ["event", "urgent"]);
  t.equal(commits.length, 1);
});

t.test("what nobody waits for is committed by itself after a moment", async (t) => {
  const { runLater, disk, told } = open(t);
  runLater("event");
  await until(() => disk.underWay === 1);
  disk.finish();
  await until(() => told.length === 1);
});

t.test("rows that need nothing else leave the rest behind", async (t) => {
  const { runLater, runAlone, disk, names, queue } = open(t);
  runLater("event");
  runAlone("lease");
  await until(() => disk.underWay === 1);
  t.same(names(), ["lease"]);
  queue.flush();
  t.same(names(), ["event", "lease"], "whoever asks may have all written down");
});

t.test("after a disk that failed nothing more is promised", async (t) => {
  const { run, disk, told, queue, memory } = open(t);
  run("a");
  await until(() => disk.underWay === 1);
  t.same([...memory], ["a"]);
  run("b");
  disk.fail();
  await until(() => told.length === 2);
  t.match(told[0], /^a: .*the disk failed.*EIO/);
  t.match(told[1], /^b: .*the disk failed/);
  t.same([...memory], [], "memory tells of nothing that may not be there after the restart");
  await t.rejects(
    queue.run(() => undefined),
    { code: "STORE_FAILED" },
  );
});

t.test("the end waits for the disk", async (t) => {
  const { run, queue, disk, told } = open(t);
  run("last");
  queue.close();
  t.equal(disk.syncedNow, 1);
  await until(() => told.length === 1);
  t.same(told, ["last"]);
});

t.test("what was under way at the end and failed is not told as done", async (t) => {
  const { run, queue, disk, told } = open(t);
  run("a");
  await until(() => disk.underWay === 1);
  queue.close();
  disk.fail();
  await until(() => told.length === 1);
  t.match(told[0], /^a: .*the disk failed.*EIO/);
});

t.test("what waits for a disk that stands still is bounded, and it goes on when the disk does", async (t) => {
  const { queue, run, disk, told } = open(t);
  run("first");
  await until(() => disk.underWay === 1);
  const nothing = () => undefined;
  let refused = 0;
  const asked = Array.from({ length: 60_000 }, (_, index) =>
    (index % 2 === 0 ? queue.runLater(nothing) : queue.runAlone(nothing)).catch(() => {
      refused++;
    }),
  );
  queue.flush();
  await Promise.resolve();
  run("too much");
  await until(() => told.length === 1);
  t.match(told, [/^too much: .*the disk stands still/]);
  disk.finish();
  await until(() => disk.underWay === 1);
  disk.finish();
  await Promise.all(asked);
  t.equal(refused, 10_001);
  run("afterwards");
  await until(() => disk.underWay === 1);
  disk.finish();
  await until(() => told.includes("afterwards"));
});

t.test("the store's own log is synced: what it told is read by another opening", async (t) => {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const store = openStore(path, systemClock);
  await store.machines.add(sampleMachine(1, { name: "s1" }));
  const other = new Sqlite(path, { readonly: true });
  t.equal(other.prepare("SELECT name FROM machines").pluck().get(), "s1");
  other.close();
  store.close();
  const again = openStore(path, systemClock);
  t.equal(again.machines.get("s1").name, "s1");
  again.close();
});

t.test("a machine's phase is there at once and written with the next commit", async (t) => {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const store = openStore(path, systemClock);
  await store.machines.add(sampleMachine(1, { name: "s1" }));
  const { id } = store.machines.get("s1");
  const first = store.machines.updateNow(id, (machine) => ({ ...machine, phase: "netbooting" }));
  const second = store.machines.updateNow(id, (machine) => ({ ...machine, phase: "booting" }));
  t.equal(store.machines.get("s1").phase, "booting");
  t.equal(first, second, "two changes are one row's writing");
  await first;
  store.close();
  const again = openStore(path, systemClock);
  t.equal(again.machines.get("s1").phase, "booting");
  again.close();
});

t.test(
  "whoever asks whether the store can be written is told so while the disk stands still, and adds nothing to it",
  async (t) => {
    const { queue, disk } = open(t);
    const clock = new ManualClock();
    let writes = 0;
    const probe = createProbe(() => queue.run(() => void writes++), clock);
    for (let round = 0; round < 3; round++) {
      const asked = probe();
      clock.advanceMs(2000);
      await t.rejects(asked, { code: "STORE_FAILED", message: /the disk has not answered for 2 seconds/ });
    }
    await until(() => disk.underWay === 1);
    t.equal(writes, 1);
    const asked = probe();
    disk.finish();
    await t.resolves(asked, "the disk goes on");
    const again = probe();
    await until(() => disk.underWay === 1);
    disk.fail();
    await t.rejects(again, { code: "STORE_FAILED", message: /EIO/ });
    clock.advanceMs(2000);
  },
);

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import t, { type Test } from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import { createEtcdGateway, type EtcdGateway } from "../../server/etcd/gateway.ts";
import { readLogLine } from "../../server/etcd/log-line.ts";
import { saveSnapshot, snapshotProblem } from "../../server/etcd/snapshot-file.ts";
import { createSnapshotKeeper } from "../../server/etcd/snapshots.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { freePort, labAddress, labCredentials, labGateway } from "../support/etcd-lab.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { temporaryDirectory } from "../support/samples.ts";

const database = Buffer.alloc(1024, 7);
const whole = Buffer.concat([database, createHash("sha256").update(database).digest()]);
const line = (octets: Buffer) => `${JSON.stringify({ result: { blob: octets.toString("base64") } })}\n`;

/** What the gateway sends, in chunks that know nothing of lines. */
async function* answer(text: string, chunk = 100): AsyncGenerator<Buffer> {
  const octets = Buffer.from(text);
  for (let at = 0; at < octets.length; at += chunk) yield octets.subarray(at, at + chunk);
}

t.test("a snapshot is whole or not there", async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, "s.db");
  const pieces = [whole.subarray(0, 700), whole.subarray(700, 1030), whole.subarray(1030)];
  for (const chunk of [1, 33, 5000])
    t.match(await saveSnapshot(answer(pieces.map(line).join(""), chunk), file), { bytes: whole.length });
  t.same(readFileSync(file), whole);
  t.equal(await snapshotProblem(file), undefined);

  const bad = Buffer.from(whole);
  bad[5] = 8;
  const faults: readonly (readonly [string, string, RegExp])[] = [
    ["nothing came", "", /ends in the middle/],
    ["the end is missing", line(whole.subarray(0, 1024)), /ends in the middle/],
    ["a bit is wrong", line(bad), /SHA-256/],
    ["etcd breaks off", `${line(whole)}${JSON.stringify({ error: { message: "no space" } })}\n`, /no space/],
    ["it is no JSON", "<html>\n", /JSON/],
  ];
  for (const [what, text, problem] of faults) {
    const other = join(directory, "other.db");
    await t.rejects(
      saveSnapshot(answer(text), other),
      { code: "ETCD_SNAPSHOT_BROKEN", message: problem },
      what,
    );
  }
  t.same(readdirSync(directory), ["s.db"], "nothing half-done is left");
  writeFileSync(file, bad);
  t.match(await snapshotProblem(file), /SHA-256/);
  t.match(await snapshotProblem(join(directory, "none.db")), /ENOENT/);
});

t.test("the newest few snapshots stay, and one that is damaged is not taken for the newest", async (t) => {
  const directory = join(temporaryDirectory(t), "snapshots");
  const clock = new ManualClock();
  const events: NewEvent[] = [];
  let isUp = true;
  let taken = () => {};
  const gateway = {
    async snapshot(file: string) {
      taken();
      if (!isUp) throw new Error("no route");
      return saveSnapshot(answer(line(whole)), file);
    },
  } as EtcdGateway;
  let source: { gateway: EtcdGateway; generation: number } | undefined = { gateway, generation: 2 };
  const keeper = createSnapshotKeeper({
    directory,
    everyMs: 60_000,
    keep: 3,
    source: async () => source,
    clock,
    log: silentLog,
    record: (event) => void events.push(event),
  });
  await t.rejects(keeper.newest(), { code: "ETCD_SNAPSHOT_MISSING" });
  for (let at = 0; at < 5; at++) {
    clock.advanceMs(1000);
    await keeper.take();
  }
  const files = await keeper.list();
  t.equal(files.length, 3);
  t.match(files[0], { takenAt: clock.now(), generation: 2, bytes: whole.length });
  t.equal((await keeper.newest()).file, files[0]?.file);
  writeFileSync(files[0]?.file ?? "", whole.subarray(1));
  t.equal((await keeper.newest()).file, files[1]?.file);

  const next = () => new Promise<void>((resolve) => (taken = resolve));
  keeper.start();
  const one = next();
  clock.advanceMs(60_000);
  await one;
  await keeper.take();
  isUp = false;
  while (clock.pendingTimers === 0) await new Promise(setImmediate);
  const two = next();
  clock.advanceMs(60_000);
  await two;
  while (clock.pendingTimers === 0) await new Promise(setImmediate);
  t.match(events, [{ type: "etcd.snapshot-failed", message: /no route/ }]);
  t.equal((await keeper.list()).length, 3, "a failure takes nothing away");
  source = undefined;
  t.equal(await keeper.take(), undefined, "nobody to take one from");
  await keeper.stop();
  t.equal(clock.pendingTimers, 0);
});

/** Whose snapshots are all the same, and whole. */
const source = {
  gateway: { snapshot: (file: string) => saveSnapshot(answer(line(whole)), file) } as EtcdGateway,
  generation: 2,
};
/** A directory with files in it, and the keeper of a server that is started when its clock says some time. */
function snapshotsIn(t: Test, names: readonly string[], keep: number) {
  const directory = temporaryDirectory(t);
  for (const name of names) writeFileSync(join(directory, name), whole);
  const keeperAt = (time: number) =>
    createSnapshotKeeper({
      directory,
      everyMs: 60_000,
      keep,
      source: async () => source,
      clock: new ManualClock(time),
      log: silentLog,
      record() {},
    });
  return { directory, keeperAt };
}

t.test("which snapshot is the newest does not go by the clock", async (t) => {
  const old = ["etcd-20990101T000000.000Z-g1.db", "etcd-20261121T155249.123Z-g2.db"];
  const { keeperAt } = snapshotsIn(t, old, 3);
  t.equal(
    basename((await keeperAt(0).newest()).file),
    old[1],
    "without a number: by generation, then by the clock",
  );
  const first = await keeperAt(Date.UTC(2030, 0, 1)).take();
  t.equal((await keeperAt(0).newest()).file, first?.file, "a number is newer than none");
  const keeper = keeperAt(Date.UTC(1970, 0, 1));
  const second = await keeper.take();
  t.equal((await keeper.newest()).file, second?.file, "taken later, by a clock that says earlier");
  const third = await keeper.take();
  t.same(
    (await keeper.list()).map(({ file }) => file),
    [third?.file, second?.file, first?.file],
    "the oldest went, whatever their names say",
  );
  t.equal(basename(third?.file ?? ""), "etcd-00000003-19700101T000000.000Z-g2.db");
});

t.test("the snapshot just taken stays, whatever else is there", async (t) => {
  const others = ["etcd-20990101T000000.000Z-g9.db", "etcd-99999999-20990101T000000.000Z-g9.db"];
  const { directory, keeperAt } = snapshotsIn(t, others, 1);
  const keeper = keeperAt(0);
  const taken = await Promise.all([keeper.take(), keeper.take(), keeper.take(source)]);
  t.equal(taken[0]?.file, taken[1]?.file, "who asks while one is taken gets that one");
  t.same(readdirSync(directory), [basename(taken[2]?.file ?? "")]);
});

t.test("every call has a time limit", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const [port, closed] = [freePort(), freePort()];
  const mute = createServer((socket) => t.teardown(() => socket.destroy()));
  mute.listen(port, labAddress);
  await once(mute, "listening");
  t.teardown(() => mute.close());
  const impatient = createEtcdGateway({
    endpoint: `https://${labAddress}:${port}`,
    authorityPem: authority.certificatePem,
    credentials: labCredentials(authority),
    limitMs: 50,
  });
  await t.rejects(impatient.status(), { code: "ETCD_UNREACHABLE", message: /no answer in time/ });
  t.equal(await impatient.isHealthy(), false);
  await t.rejects(labGateway(authority, `https://${labAddress}:${closed}`).members(), {
    code: "ETCD_UNREACHABLE",
    message: /ECONNREFUSED/,
  });
});

t.test("etcd's fatal lines are told from the others", (t) => {
  t.same(readLogLine('{"level":"info","msg":"ready"}'), { isFatal: false, message: "ready" });
  t.same(readLogLine('{"level":"fatal","msg":"discovery failed","error":"listen tcp: in use"}'), {
    isFatal: true,
    message: "discovery failed: listen tcp: in use",
  });
  t.match(readLogLine('{"level":"panic","msg":"tocommit"}'), { isFatal: true });
  t.match(readLogLine("panic: freepages: failed"), { isFatal: true });
  t.match(readLogLine('{"level":'), { isFatal: false, message: '{"level":' });
  t.equal(readLogLine("x".repeat(9999)).message.length, 500);
  t.end();
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import t from "tap";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import {
  etcdctl,
  freePort,
  labAddress,
  labCredentials,
  labGateway,
  labSupervisor,
} from "../support/etcd-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** The server's own etcd, on Debian's real one. */

/** One that has ended, and that nobody has asked for yet, has no command line (proc(5)). */
const isAlive = (pid: number) => {
  const file = `/proc/${pid}/cmdline`;
  return existsSync(file) && readFileSync(file, "utf8") !== "";
};
const pidIn = (directory: string) => Number(readFileSync(join(directory, "etcd.pid"), "utf8"));

t.test("etcd is started, healthy, and comes back with its data when it dies", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { supervisor, events, next } = labSupervisor(t, authority, directory);
  await supervisor.start();
  t.match(supervisor.state, { kind: "healthy" });
  const first = pidIn(directory);
  const ctl = await etcdctl(authority, join(directory, "ctl"), supervisor.endpoint);
  await ctl("put", "key", "kept");
  t.match(await supervisor.gateway.status(), { version: /^3\./, isLearner: false });
  t.match(await supervisor.gateway.members(), [{ name: "rollcall", isLearner: false, id: /^[0-9]+$/ }]);
  t.same(await supervisor.gateway.alarms(), []);

  const back = next("etcd.started");
  process.kill(first, "SIGKILL");
  await back;
  t.not(pidIn(directory), first, "another process");
  t.match(await ctl("get", "key"), /kept/, "with the data");
  t.match(
    events.map(({ type }) => type),
    ["etcd.started", "etcd.ended", "etcd.started"],
  );
  const second = pidIn(directory);
  await supervisor.stop();
  t.same(supervisor.state, { kind: "stopped" });
  t.notOk(isAlive(second), "it ends with the server");

  for (const name of readdirSync(join(directory, "tls")))
    t.equal(statSync(join(directory, "tls", name)).mode & 0o777, 0o600, `${name} is for us alone`);
  t.equal(statSync(directory).mode & 0o777, 0o700);
});

t.test("nobody gets in without a certificate of etcd's authority", async (t) => {
  const { etcd: authority, agent } = await sampleAuthorities(t);
  const { supervisor } = labSupervisor(t, authority, join(temporaryDirectory(t), "etcd"));
  await supervisor.start();
  const ask = (client: { cert?: string; key?: string }) =>
    new Promise<string>((resolve) => {
      const sent = request(
        `${supervisor.endpoint}/v3/kv/range`,
        { method: "POST", ca: authority.certificatePem, agent: false, ...client },
        (answer) => resolve(`status ${answer.resume().statusCode}`),
      );
      sent.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      sent.end("{}");
    });
  const shown = async (by: typeof authority) => {
    const { certificatePem, privateKeyPem } = await labCredentials(by)();
    return ask({ cert: certificatePem, key: privateKeyPem });
  };
  t.match(await ask({}), /SSL|ECONNRESET|EPIPE/, "none");
  t.match(await shown(agent), /SSL|ECONNRESET|EPIPE/, "one of another authority");
  t.match(await shown(authority), /status 400/, "its own: an empty key is etcd's to refuse");
  await t.rejects(labGateway(agent, supervisor.endpoint).status(), { code: "ETCD_UNREACHABLE" });
});

t.test("two on one machine do not collide", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const both = [1, 2].map((n) => labSupervisor(t, authority, join(temporaryDirectory(t), `etcd${n}`)));
  await Promise.all(both.map(({ supervisor }) => supervisor.start()));
  t.match(
    both.map(({ supervisor }) => supervisor.state),
    [{ kind: "healthy" }, { kind: "healthy" }],
  );
});

t.test("what does not run says why", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = () => join(temporaryDirectory(t), "etcd");
  const missing = labSupervisor(t, authority, directory(), { program: "etcd-that-is-not-there" });
  await t.rejects(missing.supervisor.start(), {
    code: "ETCD_NOT_FOUND",
    advice: /apt install etcd-server/,
  });
  t.same(missing.supervisor.state, { kind: "stopped" });

  await t.rejects(labSupervisor(t, authority, directory(), { program: "/bin/false" }).supervisor.start(), {
    code: "ETCD_FAILED",
    message: /ended with code 1/,
  });

  const port = freePort();
  const other = createServer();
  other.listen(port, labAddress);
  await once(other, "listening");
  t.teardown(() => other.close());
  const refused = labSupervisor(t, authority, directory(), { port });
  await t.rejects(refused.supervisor.start(), {
    code: "ETCD_FAILED",
    message: /address already in use/,
  });
  t.same(refused.events, [], "it was never there, so it is not started again");

  const program = join(temporaryDirectory(t), "mute");
  writeFileSync(program, "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n", { mode: 0o755 });
  const place = directory();
  const mute = labSupervisor(t, authority, place, { program, timings: { startMs: 300, stopMs: 100 } });
  await t.rejects(mute.supervisor.start(), { code: "ETCD_FAILED", message: /not healthy after 300 ms/ });
  t.notOk(isAlive(pidIn(place)), "it is not waited for for ever, and ended though it does not want to");
});

t.test("the etcd of a server that was killed is ended, and its data go on", async (t) => {
  const dataDirectory = temporaryDirectory(t);
  const life = { now: Date.now(), keyAlgorithm: "ECDSA-P256" } as const;
  const { etcd: authority } = await openClusterAuthorities({ dataDirectory }, life);
  const directory = join(dataDirectory, "etcd");
  const port = freePort();
  const script = resolve(import.meta.dirname, "../support/etcd-server-process.ts");
  const words = [script, dataDirectory, directory, labAddress, String(port)];
  const killed = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  await once(killed.stdout, "data");
  const orphan = pidIn(directory);
  const { supervisor } = labSupervisor(t, authority, directory, { port });
  const ctl = await etcdctl(authority, join(directory, "ctl"), supervisor.endpoint);
  await ctl("put", "key", "kept");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  t.ok(isAlive(orphan), "etcd outlives a server that is killed");
  await supervisor.start();
  t.notOk(isAlive(orphan), "until the next one starts");
  t.not(pidIn(directory), orphan);
  t.match(await ctl("get", "key"), /kept/);

  await supervisor.stop();
  const stranger = spawn("sleep", ["60"]);
  t.teardown(() => stranger.kill());
  writeFileSync(join(directory, "etcd.pid"), `${stranger.pid}\n`);
  await supervisor.start();
  t.equal(stranger.exitCode ?? stranger.signalCode, null, "another process with that number is let alone");
  t.match(supervisor.state, { kind: "healthy" });
});

t.test("each generation has data of its own, and the one before is a way back", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { supervisor, events } = labSupervisor(t, authority, directory);
  await supervisor.start();
  t.equal(await supervisor.generation(), 1);
  const ctl = await etcdctl(authority, join(directory, "ctl"), supervisor.endpoint);
  await ctl("put", "lesson", "first");
  const before = await supervisor.gateway.status();
  const snapshot = join(directory, "s.db");
  t.match(await supervisor.gateway.snapshot(snapshot), { file: snapshot, bytes: Number });
  t.match(await ctl("snapshot", "status", snapshot), /^[0-9a-f]+, /, "etcd's own client reads it");
  t.equal(statSync(snapshot).mode & 0o777, 0o600, "a snapshot has every Secret of the cluster in it");

  await supervisor.wipe(2);
  t.match(supervisor.state, { kind: "healthy" }, "it runs again");
  t.equal(await ctl("get", "lesson"), "", "empty");
  t.not((await supervisor.gateway.status()).clusterId, before.clusterId, "another cluster to every member");
  await ctl("put", "lesson", "second");
  await supervisor.markInitialized();
  await supervisor.wipe(2);
  t.match(await ctl("get", "lesson"), /second/, "the same generation again changes nothing");
  await t.rejects(supervisor.wipe(1), { code: "ETCD_GENERATION_REFUSED" });
  t.match(supervisor.state, { kind: "healthy" }, "a refusal leaves it running");

  await supervisor.restore(snapshot, 3);
  t.match(await ctl("get", "lesson"), /first/, "the snapshot's data");
  t.not((await supervisor.gateway.status()).clusterId, before.clusterId);
  t.equal(await supervisor.goBack(), 2);
  t.match(await ctl("get", "lesson"), /second/, "and back");
  t.same(
    readdirSync(directory).filter((name) => name.startsWith("data-")),
    ["data-2", "data-3"],
    "no more than two are kept",
  );

  const bytes = readFileSync(snapshot);
  bytes[100] = (bytes[100] ?? 0) ^ 1;
  writeFileSync(snapshot, bytes);
  await t.rejects(supervisor.restore(snapshot, 4), { code: "ETCD_SNAPSHOT_BROKEN" });
  t.match(await ctl("get", "lesson"), /second/, "a snapshot that is not whole changes nothing");
  t.same(
    events.filter(({ type }) => type === "etcd.generation").map(({ data }) => data?.["generation"]),
    [2, 3, 2],
  );
  mkdirSync(join(directory, "data-4.new"));
  await supervisor.wipe(4);
  t.equal(await supervisor.generation(), 4, "what was cut short is made anew");
});

import { once } from "node:events";
import { connect } from "node:net";
import t from "tap";
import type { Phase } from "../../server/domain/machine.ts";
import type { PowerOutcome } from "../../server/domain/power.ts";
import { loopbackOf, plain, startServer, type TestServer } from "../support/http-fixture.ts";
import { type LiveWatcher, watchLive } from "../support/live-watch.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { quickLimits } from "../support/power-lab.ts";
import { sampleMachine } from "../support/samples.ts";

async function tokenOf(server: TestServer, name: string, more: object = {}): Promise<string> {
  const { json, text } = await server.api("POST", "/tokens", { name, scope: "viewer", ...more });
  if (!json["token"]) throw new Error(text);
  return plain(json["token"]);
}
const phaseOf = (server: TestServer, name: string, phase: Phase) =>
  server.store.machines.updateNow(server.store.machines.get(name).id, (before) => ({ ...before, phase }));

t.test("the live stream", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1", { group: "lab225", seat: "A1" });
  await server.add(2, "s2", { group: "lab225" });
  await server.add(9, "far9", { group: "cellar" });
  await server.api("PATCH", "/groups/lab225", { plan: { seats: [["A1", null, "A2"]] } });
  const watch = (token = server.adminToken) => watchLive(t, server, token);

  t.test("begins with all that a dashboard shows", async (t) => {
    const { headers, told } = await watch();
    t.equal(headers["content-type"], "text/event-stream");
    t.match(told[0], {
      event: "snapshot",
      data: {
        at: /^20..-/,
        machines: [
          { name: "s1", group: "lab225", seat: "A1", phase: "accepted", role: "discover", progress: null },
          { name: "s2", seat: null, problem: null, boot: null },
          { name: "far9" },
        ],
        groups: [
          { name: "lab225", plan: { seats: [["A1", null, "A2"]] }, role: null, exam: null },
          { name: "cellar", plan: null },
        ],
        operations: [],
      },
    });
  });

  t.test("tells every watcher of a change of phase, and of nothing else", async (t) => {
    const watchers = await Promise.all([watch(), watch(), watch(await tokenOf(server, "vera"))]);
    await phaseOf(server, "s1", "netbooting");
    for (const { until, machines, messages } of watchers) {
      await until(() => machines.get("s1")?.phase === "netbooting");
      t.same(
        messages("machines").flatMap(({ changed }) => changed.map(({ name }) => name)),
        ["s1"],
      );
    }
  });

  t.test("tells of a boot's steps, a role of the group, an exam and who is gone", async (t) => {
    const { until, machines, messages } = await watch();
    await server.assign("s1", "rescue");
    await server.script(1);
    await until(() => machines.get("s1")?.boot?.lastStep === "script");
    t.match(machines.get("s1"), {
      phase: "netbooting",
      role: "rescue",
      runs: "rescue",
      currentAddress: "127.0.1.1",
    });
    await server.api("PUT", "/groups/lab225/role", { role: "worker" });
    await until(() => machines.get("s2")?.role === "worker");
    await server.api("POST", "/exams", { room: "lab225", role: "local" });
    await until(() => machines.get("s1")?.roleSource === "exam");
    t.match(messages("groups").at(-1), {
      changed: [{ name: "lab225", role: "worker", exam: { role: "local" } }],
    });
    await server.api("DELETE", "/exams/lab225");
    await until(() => machines.get("s1")?.role === "rescue");
    await server.add(3, "s3");
    await until(() => machines.has("s3"));
    await server.api("DELETE", "/machines/s3");
    await until(() => !machines.has("s3"));
    t.equal(messages("machines").at(-1)?.removed.length, 1);
  });

  t.test("is JSON for whoever asks for no event stream", async (t) => {
    const { status, headers, json } = await server.api("GET", "/live");
    t.equal(status, 200);
    t.match(headers["content-type"], /^application\/json/);
    t.match(json, { machines: [{ name: "s1" }, { name: "s2" }, { name: "far9" }], operations: [] });
  });
});

t.test("a token of a room watches that room and nothing else", async (t) => {
  const ordered = Promise.withResolvers<PowerOutcome>();
  const power = {
    act: () => ordered.promise,
    status: () => Promise.resolve({ method: "wol", state: "off" } as const),
  };
  const operationLimits = { ...quickLimits, lookMs: 600_000 };
  const server = await startServer(t, { orders: { power, operationLimits } });
  await server.add(1, "s1", { group: "lab225" });
  await server.add(2, "s2", { group: "lab225" });
  await server.add(9, "far9", { group: "cellar" });
  const idOf = (name: string) => server.store.machines.get(name).id;
  const token = await tokenOf(server, "vera", { rooms: ["lab225"] });
  const all = await watchLive(t, server, server.adminToken);
  const room = await watchLive(t, server, token);
  const begin = async (machines: string) =>
    plain((await server.api("POST", "/power", { machines, action: "on" })).json["id"]);
  const toldOf = ({ messages }: LiveWatcher, id: string) =>
    messages("operations").flatMap(({ changed }) => changed.filter((one) => one.id === id));

  t.same([...room.machines.keys()], ["s1", "s2"]);
  t.match(room.told[0], { data: { groups: [{ name: "lab225" }] } });
  const far = await begin("far9");
  await all.until(() => toldOf(all, far).length > 0);
  await phaseOf(server, "far9", "booting");
  await server.api("PATCH", "/groups/cellar", { description: "below" });
  await server.api("POST", "/groups", { name: "attic" });
  await all.until(() => all.text().includes("attic") && all.machines.get("far9")?.phase === "booting");

  const own = await begin("s1");
  await room.until(() => toldOf(room, own).length > 0);
  const begun = { kind: "power", action: "on", actor: "admin", state: "running", done: 0, total: 1 };
  t.match(toldOf(room, own)[0], begun);
  const leaving = await begin("s2");
  await room.until(() => toldOf(room, leaving).length > 0);
  await server.api("PATCH", "/machines/s2", { group: "cellar" });
  await room.until(() => !room.machines.has("s2"));
  t.same(room.messages("machines").at(-1), { changed: [], removed: [idOf("s2")] });
  await room.until(() => room.messages("operations").some(({ removed }) => removed.includes(leaving)));
  ordered.resolve({ method: "wol", state: "on" });
  await room.until(() => toldOf(room, own).at(-1)?.state === "done");
  t.match(toldOf(room, own).at(-1), { done: 1, failed: 0, total: 1, endedAt: /^20/ });
  await all.until(() => toldOf(all, leaving).at(-1)?.state === "done");
  await server.api("DELETE", "/machines/far9");
  await all.until(() => !all.machines.has("far9"));
  await server.api("PATCH", "/machines/s2", { group: "lab225" });
  await room.until(() => room.machines.has("s2"));
  for (const secret of ["far9", "attic", far, "below"]) t.notOk(room.text().includes(secret), secret);
  t.equal(toldOf(room, leaving).at(-1)?.state, "running", "nor how the work on a machine of elsewhere ended");
  const { text } = await server.api("GET", "/live", undefined, token);
  t.notMatch(text, /cellar|attic/);

  await server.api("DELETE", "/tokens/vera");
  await room.ended;
  t.notMatch(room.text(), /token/, "a revoked token ends the stream without a word");
  await phaseOf(server, "s1", "ready");
  await all.until(() => all.machines.get("s1")?.phase === "ready");
});

/** A room of machines in the store of a server whose clock stands still. */
async function fullRoom(t: Parameters<typeof startServer>[0], size: number) {
  const clock = new ManualClock();
  const server = await startServer(t, { clock });
  const machines = Array.from({ length: size }, (_, index) =>
    sampleMachine(index + 1, { name: `s${index + 1}`, group: "lab225" }),
  );
  await server.store.machines.saveAll(() => machines);
  const changeAll = (lastSeenAt: number) => {
    for (const { id } of machines)
      void server.store.machines.updateNow(id, (before) => ({ ...before, lastSeenAt }));
  };
  return { clock, server, changeAll };
}

t.test(
  "300 machines that change all the time are one message a look, the same for all watchers",
  async (t) => {
    const { clock, server, changeAll } = await fullRoom(t, 300);
    const watchers = await Promise.all([1, 2, 3].map(() => watchLive(t, server, server.adminToken)));
    for (let change = 1; change <= 5; change++) changeAll(change * 1000);
    clock.advanceMs(250);
    for (const { until, messages } of watchers) {
      await until(() => messages("machines").length > 0);
      t.equal(messages("machines")[0]?.changed.length, 300);
    }
    changeAll(6000);
    clock.advanceMs(1000);
    for (const { until, machines } of watchers)
      await until(() => machines.get("s300")?.lastSeenAt === new Date(6000).toISOString());
    const toldTo = ({ text }: LiveWatcher) => text().slice(text().indexOf("event: machines"));
    t.equal(new Set(watchers.map(toldTo)).size, 1);
    t.equal(watchers[0]?.messages("machines").length, 2);
  },
);

t.test("while nothing changes a beat shows that the stream lives", async (t) => {
  const { clock, server } = await fullRoom(t, 1);
  const { until, messages } = await watchLive(t, server, server.adminToken);
  for (let look = 0; look < 60; look++) clock.advanceMs(250);
  await until(() => messages("beat").length > 0);
  t.match(messages("beat"), [{ at: /^20..-/ }]);
});

t.test("a watcher that does not read is cut off, and the others are not", async (t) => {
  const { clock, server, changeAll } = await fullRoom(t, 300);
  const reader = await watchLive(t, server, server.adminToken);
  const stuck = connect(server.port, "127.0.0.1").on("error", () => undefined);
  t.teardown(() => void stuck.destroy());
  stuck.write(
    `GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${server.adminToken}\r\n\r\n`,
  );
  await once(stuck, "readable");
  // Beyond what the kernel takes for it (tcp_wmem, tcp_rmem) and the megabyte that is kept for it here.
  const rounds = 80;
  for (let round = 1; round <= rounds; round++) {
    changeAll(round * 1000);
    clock.advanceMs(250);
    const seenAt = new Date(round * 1000).toISOString();
    await reader.until(() => reader.machines.get("s300")?.lastSeenAt === seenAt);
  }
  let got = "";
  stuck.on("data", (chunk: Buffer) => void (got += chunk.toString("latin1"))).resume();
  await once(stuck, "close");
  t.match(got, /event: snapshot/);
  t.notMatch(got, new Date(rounds * 1000).toISOString());
});

t.test("what a machine downloads is told while it does", async (t) => {
  const server = await startServer(t);
  await server.add(1, "s1");
  const file = async (name: string, sizeBytes: number) => {
    const content = Buffer.alloc(sizeBytes, `${name} of a test. `);
    return { name, sha256: await server.put(content), sizeBytes };
  };
  const files = {
    kernel: await file("vmlinuz", 100),
    initrd: await file("initrd.img", 100),
    rootfs: await file("root.squashfs", 24 * 1024 * 1024),
  };
  const { rootfs } = files;
  await server.api("POST", "/images/import", { name: "debian-node", version: "1", arch: "x86_64", files });
  await server.assign("s1", "worker");
  const claim = await server.claim(1);
  const { until, machines } = await watchLive(t, server, server.adminToken);
  const progress = () => machines.get("s1")?.progress;
  const report = (form: string) =>
    server.ask(`/callback/${claim}/phase`, {
      method: "POST",
      from: 1,
      body: form,
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
  await report("step=rootfs&done=5&total=10");
  await until(() => progress()?.total === 10);
  t.same(progress(), { file: "rootfs", bytes: 5, total: 10 }, "by its own report");

  const socket = connect({ host: "127.0.0.1", port: server.port, localAddress: loopbackOf(1) });
  t.teardown(() => void socket.destroy());
  socket.pause();
  socket.write(
    `GET /assets/${rootfs.sha256}/${rootfs.name} HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=1048576-\r\nConnection: close\r\n\r\n`,
  );
  await until(() => progress()?.file === "root.squashfs" && progress()?.total === rootfs.sizeBytes);
  const { bytes = 0 } = progress() ?? {};
  t.ok(bytes >= 1024 * 1024 && bytes < rootfs.sizeBytes, `with what it had before the Range: ${bytes}`);
  socket.resume();
  await once(socket, "close");
  await report("step=rootfs&done=10&total=10");
  await until(() => progress() === null);
});

t.test("one token has half of the streams at most: a script shuts nobody else out", async (t) => {
  const server = await startServer(t);
  const greedy = await tokenOf(server, "greedy");
  const held = await Promise.all(Array.from({ length: 32 }, () => watchLive(t, server, greedy)));
  t.ok(held.every(({ status }) => status === 200));
  t.equal((await watchLive(t, server, greedy)).status, 503);
  t.equal((await watchLive(t, server, await tokenOf(server, "modest"))).status, 200);
});

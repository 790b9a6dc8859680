import { connect } from "node:net";
import t from "tap";
import type { Phase } from "../../server/domain/machine.ts";
import { plain, startServer, type TestServer } from "../support/http-fixture.ts";
import { watchLive } from "../support/live-watch.ts";
import { ManualClock } from "../support/manual-clock.ts";
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

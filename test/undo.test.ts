import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import t from "tap";
import { request } from "undici";
import type { Machine } from "../server/domain/machine.ts";
import { type AssignmentApiDeps, registerAssignmentApi } from "../server/http/api/assignments.ts";
import { createReach } from "../server/http/reach.ts";
import type { Inventory } from "../server/inventory/inventory.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { plain, startServer } from "./support/http-fixture.ts";
import { macOf } from "./support/samples.ts";

type Lab = Awaited<ReturnType<typeof createBootLab>>;
const worker = { kind: "role", role: "worker", params: {} } as const;
const rescue = { kind: "role", role: "rescue", params: {} } as const;

async function room(t: Parameters<typeof createBootLab>[0], seats: number): Promise<Lab> {
  const lab = await createBootLab(t);
  await lab.inventory.addGroup("lab225", "", "anna");
  for (let seat = 1; seat <= seats; seat++)
    await lab.inventory.add({ name: `s${seat}`, macs: [macOf(seat)], group: "lab225" }, "anna");
  return lab;
}

/** Everything that people assigned, and what each machine makes of it. */
async function stateOf(lab: Lab) {
  // A machine's phase follows its role once that is stored.
  await lab.settle();
  const byName = lab.inventory.all().toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return {
    assignments: lab.store.assignments.all().toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    machines: byName.map((machine) => [machine.name, machine.phase, lab.boots.select(machine).why]),
  };
}

t.test(
  "a room of 30 that was planned, changed and undone is as it was before, to the last word",
  async (t) => {
    const lab = await room(t, 30);
    await lab.assigning.assignGroup("lab225", worker, "anna");
    await lab.assigning.assign({ machines: "s[1-10]", target: rescue, mode: "once", actor: "ben" });
    const before = await stateOf(lab);
    const asked = { machines: "lab225", target: rescue, mode: "always", actor: "anna" } as const;
    lab.assigning.plan(asked);
    t.same(await stateOf(lab), before, "a plan changes nothing");
    await lab.assigning.assign(asked);
    t.notSame(await stateOf(lab), before);
    t.equal(
      lab.undoing.plan().lines.filter(({ changes }) => changes).length,
      20,
      "ten boot rescue once anyway",
    );
    const { lines, left } = await lab.undoing.undo("ben");
    t.same([lines.length, left], [30, []]);
    t.same(await stateOf(lab), before);
    t.match(lab.of("assignment.undone").at(-1), { actor: "ben", message: /what anna did is taken back/ });
  },
);

t.test("changes are taken back one by one, newest first, whoever made them", async (t) => {
  const lab = await room(t, 2);
  const states = [await stateOf(lab)];
  const changes = [
    () => lab.assign("s1", "worker"),
    () => lab.assigning.assignGroup("lab225", rescue, "ben"),
    () => lab.assigning.release("s1", "anna"),
    () => lab.assigning.releaseGroup("lab225", "anna"),
  ];
  for (const change of changes) {
    await change();
    states.push(await stateOf(lab));
  }
  const told: string[] = [];
  for (let index = states.length - 1; index > 0; index--) {
    t.same(await stateOf(lab), states[index]);
    told.push((await lab.undoing.undo("anna")).change.message);
  }
  t.same(await stateOf(lab), states[0]);
  t.same(told, ["group lab225 released", "s1 released", "group lab225 -> rescue", "s1 -> worker"]);
  t.throws(() => lab.undoing.plan(), { code: "NOTHING_TO_UNDO" });
  await t.rejects(lab.undoing.undo("anna"), { code: "NOTHING_TO_UNDO" });
});

t.test("what was used up or removed since stays so, and the rest of the change is taken back", async (t) => {
  const lab = await room(t, 3);
  await lab.assigning.assign({ machines: "lab225", target: rescue, mode: "once", actor: "anna" });
  const used = lab.store.assignments.find({ kind: "machine", machineId: lab.machine("s1").id }, "once");
  if (used) await lab.store.assignments.removeExactly([used]);
  await lab.inventory.remove(lab.machine("s2"), "anna");
  const { lines, left } = await lab.undoing.undo("anna");
  t.same(
    lines.map(({ machine }) => machine.name),
    ["s3"],
  );
  t.same(left, ["s1: assigned anew or used up since", "a machine or group that was removed since"]);
  t.same(lab.store.assignments.all(), []);
});

t.test("two who undo at once take two changes back, not one of them twice", async (t) => {
  const lab = await room(t, 2);
  await lab.assign("s1", "worker");
  await lab.assign("s2", "rescue");
  const [one, other] = await Promise.all([lab.undoing.undo("anna"), lab.undoing.undo("ben")]);
  t.same([one.change.message, other.change.message], ["s2 -> rescue", "s1 -> worker"]);
  t.same(lab.store.assignments.all(), []);
});

t.test(
  "a room of 30 over the API: planned, compared, changed and undone, and all is as before",
  async (t) => {
    const server = await startServer(t);
    const { api } = server;
    await server.addImage();
    for (let seat = 1; seat <= 30; seat++) await server.add(seat, `s${seat}`, { group: "lab225" });
    t.equal((await api("PUT", "/groups/lab225/role", { role: "worker" })).status, 204);
    await server.assign("s[1-10]", "rescue", { mode: "once" });
    await server.assign("s30", "worker", { params: { sshKeys: ["ssh-ed25519 AAAA olga"] } });

    /** What the API says of each machine, why, and what each would be served. */
    const stateOf = async () => {
      await server.store.probe();
      const machines = (await api("GET", "/machines?limit=100")).items;
      return Promise.all(
        machines.map(async ({ name, role, roleSource, phase }) => [
          plain(name),
          plain(role),
          plain(roleSource),
          plain(phase),
          (await api("GET", `/machines/${plain(name)}/explain`)).json["why"],
          (await api("GET", `/machines/${plain(name)}/preview/ipxe`)).text,
          (await api("GET", `/machines/${plain(name)}/preview/user-data`)).text,
        ]),
      );
    };
    const change = { machines: "lab225", role: "discover" };
    const before = await stateOf();
    t.equal(before.length, 30);
    const plan = await api("POST", "/assignments", { ...change, dryRun: true });
    const lines = plan.json["plan"] as unknown as object[];
    t.equal(lines.length, 30);
    t.match(lines[29], { machine: "s30", before: "worker", after: "discover" });
    const diff = (await api("POST", "/assignments/diff", change)).items;
    t.equal(new Set(diff.map(({ machine }) => plain(machine))).size, 20, "ten boot rescue once anyway");
    t.same(await stateOf(), before, "neither plan nor diff changes anything");
    t.equal((await api("POST", "/assignments", change)).status, 200);
    const after = await stateOf();
    t.equal(after.filter(([, role]) => role === "discover").length, 20);
    t.equal((await api("POST", "/assignments/undo", {})).status, 200);
    t.same(await stateOf(), before);
  },
);

t.test("over the API", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  await server.addImage();
  await server.add(1, "s1");
  t.test("a dry run tells what would be taken back, and an undo does it", async (t) => {
    await server.assign("s1", "worker");
    const expected = {
      change: { actor: "admin", message: "s1 -> worker" },
      plan: [{ machine: "s1", before: "worker", after: "discover" }],
      left: [],
    };
    t.match(await api("POST", "/assignments/undo", { dryRun: true }), {
      status: 200,
      json: { dryRun: true, ...expected },
    });
    t.equal((await api("GET", "/machines/s1")).json["role"], "worker");
    t.match((await api("POST", "/assignments/undo", {})).json, { dryRun: false, ...expected });
    t.equal((await api("GET", "/machines/s1")).json["role"], "discover");
    t.match(await api("POST", "/assignments/undo", {}), { status: 409, json: { code: "NOTHING_TO_UNDO" } });
  });
  t.test(
    "a diff holds each document that would change, before and after, and nothing is changed",
    async (t) => {
      const { items } = await api("POST", "/assignments/diff", { machines: "s1", role: "worker" });
      const kinds = items.map((item) => item["document"]);
      t.match(kinds, ["ipxe", "user-data"]);
      t.match(items[0], {
        machine: "s1",
        before: { text: /^#!ipxe\n/, problem: null },
        after: { text: /\/assets\/[\s\S]*\/callback\/_{8}/, problem: null },
      });
      t.equal((await api("GET", "/machines/s1")).json["role"], "discover");
      const one = await api("POST", "/assignments/diff", {
        machines: "s1",
        role: "worker",
        documents: ["user-data"],
      });
      t.same(
        one.items.map((item) => item["document"]),
        ["user-data"],
      );
      t.same((await api("POST", "/assignments/diff", { machines: "s1", role: "discover" })).items, []);
      t.match(await api("POST", "/assignments/diff", { machines: "s1", role: "nobody" }), { status: 404 });
    },
  );
});

t.test("a diff of many machines lets what else the server does have its turn after each", async (t) => {
  const turns: string[] = [];
  const app = Fastify();
  t.teardown(() => app.close());
  app.decorateRequest("reach", { getter: () => createReach(undefined, {} as unknown as Inventory) });
  const target = (role: string) => ({ target: { kind: "role", role, params: {} } });
  const lines = ["s1", "s2"].map((name) => ({ machine: { name }, before: target("a"), after: target("b") }));
  registerAssignmentApi(app, {
    assigning: { plan: () => lines },
    boots: {
      preview(machine: Machine) {
        turns.push(machine.name);
        if (machine.name === "s1") setImmediate(() => turns.push("another"));
      },
    },
    address: "127.0.0.1",
  } as unknown as AssignmentApiDeps);
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  const { statusCode } = await request(`http://127.0.0.1:${port}/assignments/diff`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ machines: "s[1-2]", role: "b", documents: ["ipxe"] }),
  });
  t.equal(statusCode, 200);
  t.strictSame(turns, ["s1", "s1", "another", "another", "s2", "s2"]);
});

import { generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t, { type Test } from "tap";
import type { Dispatcher } from "undici";
import type { EventType } from "../server/domain/event.ts";
import { root } from "../server/platform/checkout.ts";
import { startFakeUpstream } from "./support/fake-upstream.ts";
import { freePort } from "./support/free-port.ts";
import { type Json, plain, sha256Of, startServer, type TestServer } from "./support/http-fixture.ts";
import { createFakePower, quickLimits } from "./support/power-lab.ts";
import { registryLab } from "./support/registry-lab.ts";
import { macOf } from "./support/samples.ts";
import { bringUpCluster } from "./support/up-cluster.ts";

/** Whose token makes the calls: nobody else acts under this name. */
const actor = "audrey";

/** One call that a route takes, and the event it leaves; undefined: it changes nothing. */
interface Row {
  /** What stands in the route's `{...}`, in their order. */
  readonly at?: readonly string[];
  readonly query?: string;
  readonly body?: unknown;
  /** Octets in place of JSON. */
  readonly octets?: string;
  readonly event: EventType | undefined;
  /** What it tells. */
  readonly data?: Readonly<Record<string, unknown>>;
}
/** What earlier calls of the table answered. */
interface Known {
  readonly answers: ReadonlyMap<string, Json>;
  readonly studentReady: () => Promise<void>;
}
type RowOf = Row | ((known: Known) => Row | Promise<Row>);

const publicKey = generateKeyPairSync("ec", {
  namedCurve: "P-256",
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
}).publicKey;

/**
 * Every route that changes something, in an order in which each call is taken. A route that is not here makes the test fail: whoever adds
 * one shows here what its event says.
 */
const table: Readonly<Record<string, RowOf>> = {
  "POST /groups": { body: { name: "lab225" }, event: "group.added", data: { group: "lab225" } },
  "PATCH /groups/{group}": {
    at: ["lab225"],
    body: { description: "first floor" },
    event: "group.edited",
    data: { description: "first floor", before: { description: "" } },
  },
  "POST /machines": {
    body: { name: "s1", macs: [macOf(1)], group: "lab225" },
    event: "machine.added",
  },
  "PATCH /machines/{machine}": {
    at: ["s1"],
    body: { seat: "A1" },
    event: "machine.edited",
    data: { seat: "A1", before: {} },
  },
  "POST /machines/import": { body: { text: `name,mac\ns2,${macOf(2)}\n` }, event: "machine.added" },
  "POST /machines/{machine}/accept": { at: [macOf(5)], body: {}, event: "machine.accepted" },
  "POST /machines/accept": { body: { machines: macOf(6) }, event: "machine.accepted" },
  "PUT /machines/{machine}/power": { at: ["s1"], body: { method: "wol" }, event: "machine.power-settings" },
  "DELETE /machines/{machine}/power": { at: ["s1"], event: "machine.power-settings" },
  "PUT /groups/{group}/power": {
    at: ["lab225"],
    body: {
      method: "redfish",
      address: "{name}-bmc.lab.example",
      user: "root",
      password: "calvin",
    },
    event: "machine.power-settings",
    data: { group: "lab225" },
  },
  "DELETE /groups/{group}/power": {
    at: ["lab225"],
    event: "machine.power-settings",
    data: { group: "lab225" },
  },
  "PUT /machines/{machine}/role": { at: ["s1"], body: { role: "worker" }, event: "assignment.set" },
  "DELETE /machines/{machine}/role": { at: ["s1"], event: "assignment.released" },
  "POST /assignments/diff": { body: { machines: "s1", role: "rescue" }, event: undefined },
  "POST /assignments": {
    body: { machines: "s1", role: "worker" },
    event: "assignment.set",
    data: { after: { role: "worker" } },
  },
  "DELETE /assignments": {
    body: { machines: "s1" },
    event: "assignment.released",
    data: { before: { role: "worker" } },
  },
  "POST /assignments/undo": { body: {}, event: "assignment.undone", data: { after: { role: "worker" } } },
  "PUT /groups/{group}/role": {
    at: ["lab225"],
    body: { role: "rescue" },
    event: "assignment.set",
    data: { group: "lab225" },
  },
  "DELETE /groups/{group}/role": {
    at: ["lab225"],
    event: "assignment.released",
    data: { group: "lab225", before: { role: "rescue" } },
  },
  "POST /schedules": {
    body: { machines: "s1", role: "rescue", at: "12:00" },
    event: "schedule.added",
    data: { name: "s1-rescue" },
  },
  "DELETE /schedules/{name}": { at: ["s1-rescue"], event: "schedule.removed", data: { name: "s1-rescue" } },
  "POST /power": { body: { machines: "s1", action: "off", wait: true }, event: "operation.started" },
  "POST /resets": { body: { machines: "s2" }, event: "operation.started" },
  "POST /operations/{id}/cancel": ({ answers }) => {
    const id = plain(answers.get("POST /resets")?.["operation"]);
    return { at: [id], event: "api.changed", data: { id } };
  },
  "POST /exams": {
    body: { room: "lab225", role: "rescue", forSeconds: 600 },
    event: "exam.started",
    data: { group: "lab225" },
  },
  "DELETE /exams/{room}": { at: ["lab225"], event: "exam.ended", data: { group: "lab225" } },
  "PUT /contents/{sha256}": {
    at: [sha256Of("some content")],
    octets: "some content",
    event: "api.changed",
    data: { sha256: sha256Of("some content") },
  },
  "POST /images/import": {
    body: {
      name: "tool",
      version: "1",
      arch: "x86_64",
      files: { kernel: { name: "vmlinuz", sha256: sha256Of("some content"), sizeBytes: 12 } },
    },
    event: "image.added",
    data: { name: "tool", version: "1" },
  },
  "PUT /images/{image}/current": {
    at: ["debian-node"],
    body: { version: "1" },
    event: "image.switched",
    data: { version: "1" },
  },
  "POST /images/{image}/rollback": {
    at: ["debian-node"],
    body: {},
    event: "image.switched",
    data: { version: "2" },
  },
  "DELETE /images/{image}": { at: ["tool"], event: "image.removed", data: { name: "tool" } },
  "POST /assets/gc": { body: { dryRun: true }, event: "api.changed", data: { dryRun: true } },
  "POST /registry/prewarm": {
    body: { references: ["far/app:1"] },
    event: "api.changed",
    data: { references: ["far/app:1"] },
  },
  "DELETE /registry/images": {
    query: "?image=p10/app:1",
    event: "registry.deleted",
    data: { repository: "p10/app" },
  },
  "POST /registry/check": { body: {}, event: "api.changed" },
  "POST /registry/collect": { body: {}, event: "api.changed" },
  "POST /registry/credentials": { body: {}, event: "api.changed" },
  "POST /keys": { body: { name: "anna", publicKey }, event: "signer.added", data: { name: "anna" } },
  "POST /keys/{name}/revoke": { at: ["anna"], body: {}, event: "signer.revoked", data: { name: "anna" } },
  "DELETE /keys/{name}": { at: ["anna"], event: "signer.removed", data: { name: "anna" } },
  "POST /students": { body: { names: ["anna"] }, event: "student.created" },
  "POST /students/{name}/tokens": async ({ studentReady }) => {
    await studentReady();
    return { at: ["anna"], body: {}, event: "student.token" };
  },
  "DELETE /students/{name}": { at: ["anna"], event: "api.changed", data: { name: "anna" } },
  "POST /cluster/join": { body: { name: "guest1" }, event: "api.changed", data: { name: "guest1" } },
  "POST /cluster/arm": { body: { machine: "s1", minutes: 10 }, event: "master.armed" },
  "POST /cluster/release": { body: { machine: "s1" }, event: "api.changed", data: { machine: "s1" } },
  "POST /cluster/reset": {
    body: { destroyCluster: "kubernetes" },
    event: "api.changed",
    data: { destroyCluster: "kubernetes" },
  },
  "POST /tokens": { body: { name: "ben", scope: "viewer" }, event: "token.created" },
  "DELETE /tokens/{token}": { at: ["ben"], event: "token.revoked" },
  "DELETE /machines/{machine}": { at: ["s1"], event: "machine.removed" },
  "DELETE /groups/{group}": { at: ["lab225"], event: "group.removed", data: { group: "lab225" } },
};

/** What needs a browser's cookie, or a machine with a system that takes commands: with their events in the tests that are named. */
const elsewhere: Readonly<Record<string, string>> = {
  "POST /session": "test/dashboard/sign-in.test.ts",
  "DELETE /session": "test/dashboard/sign-in.test.ts",
  "POST /session/links": "test/dashboard/sign-in.test.ts",
  "POST /commands": "test/power/commands.test.ts",
};

/** A lab in which every route has something to change; fakes stand where machines' boards and an API server would. */
async function wholeLab(t: Test) {
  const upstream = await startFakeUpstream(t);
  const registry = await registryLab(t, {
    orders: { power: createFakePower(), operationLimits: quickLimits },
    settings: {
      "https.port": 0,
      "cluster.kubernetesVersion": "1.31.0",
      "cluster.endpoint": `api.lab:${await freePort()}`,
      "cluster.etcdProgram": "/nowhere/etcd",
      "registry.upstreams": [{ prefix: "far/", url: upstream.url }],
    },
  });
  const { server } = registry;
  for (const version of ["1", "2"]) await server.addImage(version);
  await registry.image("p10/app", "1");
  // Two that nobody has accepted yet.
  for (const number of [5, 6]) await server.script(number);
  await bringUpCluster(t, server, 78);
  const { json } = await server.api("POST", "/tokens", { name: actor, scope: "admin" });
  return { server, token: plain(json["token"]) };
}

/** Lets the machine be one that the cluster has given up. */
async function giveUp(server: TestServer, name: string): Promise<void> {
  const machineId = plain((await server.api("GET", `/machines/${name}`)).json["id"]);
  const [master] = server.store.cluster.nodes();
  if (!master) throw new Error("no master");
  const node = {
    ...master,
    machineId,
    name,
    role: "worker",
    state: "failed",
    problem: "tried too often",
  } as const;
  await server.store.cluster.updateNode(machineId, () => node, "test", Date.now());
}

t.test("every route that changes something leaves an event with who did it and what", async (t) => {
  const { server, token } = await wholeLab(t);
  const paths = (await server.ask("/api/openapi.json")).json["paths"] ?? {};
  const routes = Object.entries(paths)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))
    .filter((route) => route.includes(" /api/v1/") && !/^(GET|HEAD) /.test(route))
    .map((route) => route.replace("/api/v1", ""));
  t.same([...Object.keys(table), ...Object.keys(elsewhere)].sort(), routes.sort(), "each route has its row");
  for (const file of Object.values(elsewhere)) t.ok(existsSync(join(root, file)), file);

  const answers = new Map<string, Json>();
  const studentReady = async () => {
    // The server looks at its masters every two seconds.
    while (plain((await server.api("GET", "/students/anna")).json["state"]) !== "ready") await delay(50);
  };
  const lastSeq = async () => Number((await server.api("GET", "/events?limit=1")).items.at(-1)?.["seq"]);
  for (const [route, rowOf] of Object.entries(table))
    await t.test(route, async (t) => {
      if (route === "POST /cluster/release") await giveUp(server, "s1");
      const row = typeof rowOf === "function" ? await rowOf({ answers, studentReady }) : rowOf;
      const before = await lastSeq();
      const values = [...(row.at ?? [])];
      const [method = "", path = ""] = route.split(" ");
      const { status, text, headers } = await server.ask(
        `/api/v1${path.replaceAll(/\{\w+\}/g, () => encodeURIComponent(values.shift() ?? ""))}${row.query ?? ""}`,
        {
          method: method as Dispatcher.HttpMethod,
          token,
          ...(row.octets === undefined
            ? { body: row.body }
            : { body: row.octets, headers: { "content-type": "application/octet-stream" } }),
        },
      );
      t.ok(status < 300, `${status} ${text.slice(0, 200)}`);
      if (headers["content-type"]?.startsWith("application/json"))
        answers.set(route, JSON.parse(text) as Json);
      const told = (await server.api("GET", `/events?since=${before}&actor=${actor}&limit=1000`)).items;
      if (row.event === undefined) return void t.same(told, []);
      const event = told.find(({ type }) => plain(type) === row.event);
      t.ok(event, told.map(({ type }) => plain(type)).join(", "));
      t.match(event?.["data"], row.data ?? {});
      if (row.event === "api.changed")
        t.equal(event?.["data"]?.["route"], `${method} ${path.replaceAll(/\{(\w+)\}/g, ":$1")}`);
    });
});

t.test("what was changed is found by who did it and when", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  await server.add(1, "s1");
  await api("PATCH", "/machines/s1", { seat: "A1" });
  t.match((await api("GET", "/events?actor=admin&type=machine.edited")).items, [
    { data: { seat: "A1", before: { seat: undefined } } },
  ]);
  t.same((await api("GET", "/events?actor=nobody")).items, []);
  t.same((await api("GET", `/events?from=${new Date(Date.now() + 60_000).toISOString()}`)).items, []);
  t.equal((await api("GET", "/events?from=yesterday")).status, 400);
});

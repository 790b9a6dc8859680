import { cpSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Power } from "../../server/domain/power.ts";
import { type Json, plain, startServer, type TestServer } from "../support/http-fixture.ts";
import {
  callBack,
  createFakePower,
  type FakePower,
  numberOf,
  playBoot,
  quickLimits,
} from "../support/power-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

type Test = Parameters<typeof startServer>[0];

/** A role whose config has the machine's name in it. */
const named = {
  "named/role.yaml":
    "description: a test\nboot: image\nimage: debian-node\ntemplates: { user-data: user-data.hbs }\n",
  "named/user-data.hbs": "#cloud-config\nhostname: {{machine.name}}\n",
};

/** A room of machines that are ready as workers, whose power obeys; `at.server` is the server that they boot from. */
async function createRoom(
  t: Test,
  count: number,
  {
    power,
    boots = true,
    role = "worker",
    limits = quickLimits,
  }: { power?: (obey: FakePower) => Power; boots?: boolean; role?: string; limits?: typeof quickLimits } = {},
) {
  const at: { server: TestServer | undefined; obeying: Promise<string>[] } = {
    server: undefined,
    obeying: [],
  };
  const fake = createFakePower({
    obey: (machine, action) => {
      if (at.server && boots && action !== "off") at.obeying.push(playBoot(at.server, numberOf(machine)));
    },
  });
  const orders = { power: power?.(fake) ?? fake, operationLimits: limits };
  const server = await startServer(t, { orders, roles: named });
  at.server = server;
  await server.addImage();
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  for (const number of numbers)
    await server.add(number, `s${number}`, { group: "lab225", seat: `row ${number}` });
  await server.assign("lab225", role);
  for (const number of numbers) await playBoot(server, number);
  return { server, fake, at, orders };
}

const reset = (server: TestServer, machines: string, more: object = { wait: true }) =>
  server.api("POST", "/resets", { machines, ...more });
const stepsOf = (operation: Json, index = 0) =>
  (operation["machines"] as unknown as { steps: { name: string; state: string; message: string }[] }[])[index]
    ?.steps ?? [];

t.test("a room of 30 is reset as one operation, and each seat is proven clean", async (t) => {
  const { server, fake } = await createRoom(t, 30);
  const before = server.store.claims.ofMachine(server.store.machines.get("s1").id);
  const { status, json } = await reset(server, "lab225");
  t.match([status, json], [200, { kind: "reset", state: "done", counts: { done: 30, failed: 0 } }]);
  t.match(stepsOf(json), [
    { name: "drain", state: "skipped", message: /no node/ },
    { name: "revoke", state: "done", message: "its claim is revoked" },
    { name: "power", state: "done", message: "power-cycled by redfish" },
    { name: "boot", state: "done" },
    { name: "ready", state: "done", message: /^ready as worker after \d+ s$/ },
    {
      name: "proof",
      state: "done",
      message: /^debian-node 1, root [0-9a-f]{12} in RAM, config [0-9a-f]{12}, claim spent$/,
      facts: {
        power: "redfish",
        evidence: "board",
        image: "debian-node 1",
        claim: "spent",
        root: /^[0-9a-f]{64}$/,
        config: /^[0-9a-f]{64}$/,
      },
    },
  ]);
  t.match(json["machines"], [{ machine: "s1", seat: "row 1" }]);
  t.equal(fake.orders.length, 30, "each was power-cycled once");
  t.ok(fake.mostAtOnce <= quickLimits.perOperation, `${fake.mostAtOnce} orders at once`);
  const after = server.store.claims.ofMachine(server.store.machines.get("s1").id);
  t.not(after?.bootId, before?.bootId, "what it has now is of the new boot");
  t.equal(server.store.claims.find(before?.hash ?? ""), undefined);
});

t.test("a reset asked for twice is one, and another operation on the same machine is refused", async (t) => {
  const { server, fake } = await createRoom(t, 2, { boots: false });
  const first = await reset(server, "lab225", {});
  t.equal(first.status, 202);
  t.equal(
    (await reset(server, "s[1-2]", {})).json["operation"],
    first.json["operation"],
    "the same machines",
  );
  t.match((await reset(server, "s1", {})).json, {
    code: "OPERATION_UNDER_WAY",
    detail: new RegExp(plain(first.json["operation"])),
  });
  t.match((await server.api("POST", "/power", { machines: "s2", action: "off" })).json, {
    code: "OPERATION_UNDER_WAY",
  });
  t.match((await server.assign("s2", "rescue", { power: "cycle" })).json, { code: "OPERATION_UNDER_WAY" });
  t.match((await server.api("GET", "/machines/s2")).json, { role: "worker" }, "nothing was assigned");
  const id = plain(first.json["operation"]);
  t.match((await server.api("POST", `/operations/${id}/cancel`, {})).json, {
    state: "cancelled",
    counts: { skipped: 2 },
  });
  t.match((await server.api("POST", `/operations/${id}/cancel`, {})).json, { code: "OPERATION_ENDED" });
  t.ok(fake.orders.length <= 2, "what was not ordered yet is not ordered any more");
  t.equal(
    (await server.api("POST", "/power", { machines: "s2", action: "off", wait: true })).json["state"],
    "done",
  );
});

t.test("what can't go well is refused before a machine is touched", async (t) => {
  const { server, fake } = await createRoom(t, 1);
  t.match((await reset(server, "lab225", { students: true })).json, { code: "STUDENTS_NOT_KEPT" });
  t.match((await reset(server, "lab225", { destroyCluster: "x" })).json, { code: "NO_CLUSTER" });
  t.match((await reset(server, "-lab225")).json, { code: "INVALID_REQUEST" });
  t.match((await reset(server, "lab225", { dryRun: true })).json, {
    dryRun: true,
    plan: [
      {
        machine: "s1",
        role: "worker",
        power: null,
        steps: ["drain", "revoke", "power", "boot", "ready", "proof"],
      },
    ],
  });
  t.same(fake.orders, []);
  t.same(
    (await server.api("GET", "/operations")).items.map(({ kind }) => kind),
    ["assign"],
  );
});

t.test("a machine that does not come back is lost, and the report says where to look", async (t) => {
  let isBack = false;
  const room = await createRoom(t, 2, {
    // Nobody waits for the other one once the first is back, however long that takes here.
    limits: {
      ...quickLimits,
      get bootMs() {
        return isBack ? 50 : quickLimits.bootMs;
      },
    },
    power: (fake) => ({
      ...fake,
      async act(machine, action, signal) {
        if (machine.name === "s2") return { method: "wol", state: "unknown" };
        const outcome = await fake.act(machine, action, signal);
        void Promise.all(room.at.obeying).then(() => (isBack = true));
        return outcome;
      },
    }),
  });
  const { server } = room;
  const { json } = await reset(server, "lab225");
  t.match(json, { state: "failed", counts: { done: 1, failed: 1 } });
  t.match(stepsOf(json, 1)[3], {
    name: "boot",
    state: "failed",
    code: "MACHINE_NOT_BACK",
    message: /^s2 has begun no boot .* after the order; its last boot is of 20/,
  });
  t.match(stepsOf(json, 1)[5], { name: "proof", state: "skipped" });
  t.match((await server.api("GET", "/machines/s2")).json, { phase: "lost" });
  t.match((await server.api("GET", "/events?machine=s2&type=machine.phase")).items.at(-1), {
    message: "s2: ready -> lost",
  });
});

t.test("a machine that booted what its role is not made of any more is not clean", async (t) => {
  const { server } = await createRoom(t, 1, { boots: false });
  const id = plain((await reset(server, "s1", {})).json["operation"]);
  await ordered(server, id);
  const claim = await playBoot(server, 1, "config");
  await server.addImage("2");
  await callBack(server, 1, claim);
  const ended = await server.app.operations.ended(id);
  t.match(ended?.machines[0]?.steps.at(-1), {
    state: "failed",
    code: "NOT_CLEAN",
    message: /it booted version 1 of debian-node, and 2 is the current one/,
  });
});

t.test("a config that changed since it was served is not clean", async (t) => {
  const { server } = await createRoom(t, 1, { boots: false, role: "named" });
  const id = plain((await reset(server, "s1", {})).json["operation"]);
  await ordered(server, id);
  const claim = await playBoot(server, 1, "config");
  await server.api("PATCH", "/machines/s1", { name: "s9" });
  await callBack(server, 1, claim);
  const ended = await server.app.operations.ended(id);
  t.match(ended?.machines[0]?.steps.at(-1), {
    code: "NOT_CLEAN",
    message: /the user-data that it was served is not what its role gives now/,
  });
});

/** Every machine of the operation has its order. */
async function ordered(server: TestServer, id: string): Promise<void> {
  const isOrdered = () =>
    server.app.operations
      .get(id)
      .machines.every(({ steps }) => steps.find(({ name }) => name === "power")?.state === "done");
  if (isOrdered()) return;
  await new Promise<void>((resolve) => {
    const unsubscribe = server.store.events.subscribe(() => {
      if (!isOrdered()) return;
      unsubscribe();
      resolve();
    });
  });
}

/** A moment of a reset, by what its last event tells; `order` is in the middle of the order itself. */
const moments = [
  ...["drain", "revoke", "power", "boot", "ready", "proof"].map((step) => `${step} running`),
  ...["revoke", "power", "boot", "ready"].map((step) => `${step} done`),
  "order",
];
for (const moment of moments)
  t.test(`a server that is killed at "${moment}" goes on where it was`, async (t) => {
    const copy = join(temporaryDirectory(t), "data");
    const killed = Promise.withResolvers<void>();
    let isKilled = false;
    /** What is on the disk now is all that is left. */
    const kill = (dataDir: string) => {
      if (isKilled) return;
      isKilled = true;
      void room.server.app.operations.stop();
      cpSync(dataDir, copy, { recursive: true, filter: (path) => !path.endsWith(".sock") });
      killed.resolve();
    };
    let dataDir = "";
    const room = await createRoom(t, 1, {
      power: (fake) => ({
        ...fake,
        act: async (machine, action, signal) => {
          if (moment !== "order") return fake.act(machine, action, signal);
          const outcome = await fake.act(machine, action, signal);
          kill(dataDir);
          return outcome;
        },
      }),
    });
    ({ dataDir } = room.server);
    room.server.store.events.subscribe(({ type, message }) => {
      if (type === "operation.step" && message.startsWith(`s1: ${moment}`)) kill(dataDir);
    });
    const { json } = await reset(room.server, "s1", {});
    await killed.promise;
    const claims = await Promise.all(room.at.obeying);
    await room.server.stop();
    const second = await startServer(t, {
      dataDir: copy,
      // Its boot is waited for however long it takes here, unless nothing was ordered.
      orders: {
        ...room.orders,
        operationLimits: { ...quickLimits, ...(claims.length === 0 ? { orderGraceMs: 0 } : {}) },
      },
    });
    room.at.server = second;
    // The machine that was told to boot goes on with the server that is there now: from its firmware, or with its callback.
    const isReady = ["ready done", "proof running"].includes(moment);
    for (const claim of claims) await (isReady ? callBack(second, 1, claim) : playBoot(second, 1));
    const id = plain(json["operation"]);
    const ended = await second.app.operations.ended(id);
    t.equal(ended?.state, "done", JSON.stringify(ended?.machines));
    t.equal(room.fake.orders.length, 1, "it was power-cycled once");
    t.equal(second.store.operations.find(id)?.state, "done");
  });

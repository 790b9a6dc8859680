import t from "tap";
import type { Dispatcher } from "undici";
import { nextTime } from "../server/cli/commands/exam.ts";
import { selectTarget } from "../server/domain/assignment.ts";
import { changeStep, planOperation } from "../server/domain/operation.ts";
import { boot } from "./support/boot-command.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { plain, startServer } from "./support/http-fixture.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { createFakePower, quickLimits } from "./support/power-lab.ts";
import { macOf, role, sampleAssignment } from "./support/samples.ts";

const anna = { actor: "anna", overridesExam: false };
const admin = { actor: "root", overridesExam: true };

t.test("an exam goes before every assignment, and says why", (t) => {
  const once = sampleAssignment("m_1", { mode: "once" });
  const selection = selectTarget({
    exam: { target: role("desktop"), why: "exam until 2026-01-01 12:00 UTC, started by anna" },
    once,
    machine: undefined,
    group: undefined,
    defaultRole: "worker",
    unknownPolicy: "menu",
  });
  t.match(selection, { source: "exam", target: { role: "desktop" }, why: /^exam until .* by anna$/ });
  t.equal(selection.instead[0]?.source, "once");
  t.equal(selection.assignment, undefined, "nothing is used up by it");
  t.end();
});

t.test("a room with an exam", async (t) => {
  const lab = await createBootLab(t, { unknownMachines: "menu" });
  await lab.inventory.add({ name: "s1", macs: [macOf(1)], group: "lab225" }, "anna");
  await lab.inventory.add({ name: "other", macs: [macOf(2)] }, "anna");
  const one = () => lab.inventory.get("s1");
  const endsAt = lab.clock.now() + 90 * 60_000;
  await lab.assign("s1", "menu", "once");
  await lab.exams.start("lab225", { target: role("rescue"), endsAt }, anna);
  await lab.dhcp(1);
  const { script } = await lab.script(1);
  t.match(script, /^#!ipxe/);
  t.notMatch(script, /^(menu|item|choose|shell|config|login)\b/m, "no menu and no shell");
  t.match(lab.boots.select(one()), {
    source: "exam",
    why: "exam until 2026-01-01 01:30 UTC, started by anna",
  });
  t.equal(lab.store.assignments.all().length, 1, "what was assigned waits");

  await lab.dhcp(3);
  t.notMatch(
    (await lab.script(3)).script,
    /^(menu|item|choose)\b/m,
    "a machine that nobody knows gets no menu",
  );

  t.throws(() => lab.exams.refuse([one()], { ...anna, actor: "ben" }), { code: "EXAM_UNDER_WAY" });
  t.match(lab.of("exam.refused"), [{ actor: "ben", data: { group: "lab225" } }]);
  t.doesNotThrow(() => lab.exams.refuse([one()], admin));
  t.doesNotThrow(() => lab.exams.refuse([lab.inventory.get("other")], anna));
  await t.rejects(lab.exams.start("lab225", { target: role("rescue"), endsAt }, admin), {
    code: "EXAM_UNDER_WAY",
  });
  await t.rejects(lab.exams.end("lab225", { actor: "ben", isAdmin: false }), { code: "EXAM_UNDER_WAY" });

  lab.clock.advanceMs(90 * 60_000);
  t.same(lab.exams.list(), [], "over by the clock");
  t.equal(lab.boots.select(one()).source, "once");
  await lab.settle();
  t.match(lab.of("exam.ended"), [{ actor: undefined, data: { group: "lab225" } }]);
  t.throws(() => lab.undoing.plan(), { code: "NOTHING_TO_UNDO" }, "no undo goes past an exam");
});

t.test("an exam stops what began while it waited for the disk, and nothing that is over", async (t) => {
  const lab = await createBootLab(t);
  for (const seat of [1, 2])
    await lab.inventory.add({ name: `s${seat}`, macs: [macOf(seat)], group: "lab225" }, "anna");
  const machines = lab.inventory.all();
  const starting = lab.exams.start("lab225", { target: role("rescue"), endsAt: undefined }, anna);
  lab.clock.advanceMs(5);
  const order = { kind: "power", action: "off" } as const;
  const planned = planOperation(order, machines, { id: "op_1", actor: "ben", now: lab.clock.now() });
  const place = { machineId: lab.inventory.get("s1").id, name: "power" } as const;
  lab.operations.push(changeStep(planned, place, { state: "done" }, lab.clock.now()));
  t.match(await starting, { exam: { startedAt: lab.clock.now() }, stops: [{ machines: ["s2"] }] });
  t.match(lab.exams.stopping(planned, machines), { code: "EXAM_UNDER_WAY" });
});

t.test("what can't be an exam is refused", async (t) => {
  const lab = await createBootLab(t);
  await lab.inventory.addGroup("lab225", "", "anna");
  const start = (name: string, endsAt?: number) =>
    lab.exams.start("lab225", { target: role(name), endsAt }, anna);
  await t.rejects(start("menu"), { code: "EXAM_ROLE_UNFIT" });
  await t.rejects(start("nothing"), { code: "ROLE_NOT_FOUND" });
  await t.rejects(start("rescue", lab.clock.now()), { code: "INVALID_REQUEST" });
  await t.rejects(lab.exams.end("lab225", { actor: "anna", isAdmin: true }), { code: "EXAM_NOT_FOUND" });
});

t.test("over the API", async (t) => {
  const clock = new ManualClock(Date.now());
  const first = await startServer(t);
  const { dataDir, api } = first;
  await first.addImage();
  await first.add(1, "s1", { group: "lab225" });
  await first.add(2, "s2");
  const made = await api("POST", "/tokens", { name: "olga", scope: "operator" });
  const olga = plain(made.json["token"]);
  const started = await api("POST", "/exams", { room: "lab225", role: "rescue", forSeconds: 3600 }, olga);
  t.match(started, { status: 201, json: { room: "lab225", role: "rescue", startedBy: "olga" } });
  t.match((await api("GET", "/machines/s1/explain")).json, {
    source: "exam",
    why: /^exam until .* UTC, started by olga$/,
  });

  t.test("every change of its machines is refused, and an administrator's word goes through", async (t) => {
    const changes: [Dispatcher.HttpMethod, string, unknown?][] = [
      ["PATCH", "/machines/s1", { seat: "A1" }],
      ["PATCH", "/machines/s1", { group: null }],
      ["PATCH", "/machines/s2", { group: "lab225" }],
      ["POST", "/machines", { name: "s3", macs: [macOf(3)], group: "lab225" }],
      ["POST", "/machines/s1/accept", {}],
      ["PUT", "/machines/s1/role", { role: "worker" }],
      ["DELETE", "/machines/s1/role"],
      ["POST", "/assignments", { machines: "s1,s2", role: "worker" }],
      ["DELETE", "/assignments", { machines: "lab225" }],
      ["PUT", "/groups/lab225/role", { role: "worker" }],
      ["DELETE", "/groups/lab225/role"],
      ["PATCH", "/groups/lab225", { description: "x" }],
      ["DELETE", "/groups/lab225"],
      ["DELETE", "/machines/s1"],
      ["POST", "/images/debian-node/rollback"],
      ["POST", "/assignments", { machines: "s1", role: "worker", power: "cycle" }],
      ["POST", "/power", { machines: "s1,s2", action: "off" }],
      ["POST", "/power", { machines: "s1,s2", action: "cycle" }],
      ["POST", "/resets", { machines: "s1" }],
      ["POST", "/machines/accept", { machines: "s1", name: "pc{n}" }],
      ["POST", "/machines/import", { text: `name,mac,seat\ns1,${macOf(1)},B1\n` }],
      ["POST", "/machines/import", { text: `name,mac,group\ns4,${macOf(4)},lab225\n` }],
      ["PUT", "/machines/s1/power", { method: "wol" }],
      ["DELETE", "/machines/s1/power"],
    ];
    for (const [method, path, body] of changes)
      t.match(
        await api(method, path, body),
        {
          status: 409,
          json: { code: "EXAM_UNDER_WAY", detail: /lab225 has an exam, started by olga, until/ },
        },
        `${method} ${path}`,
      );
    t.equal((await api("POST", "/assignments", { machines: "s2", role: "worker" }, olga)).status, 200);
    const late = await api("POST", "/power", { machines: "s1", action: "on" });
    t.equal(late.status, 202, "whoever is late is switched on");
    t.match(await api("POST", "/machines/import", { text: `name,mac\ns5,${macOf(5)}\n` }), { status: 200 });
    const planned = { text: `name,mac,seat\ns1,${macOf(1)},B1\n`, dryRun: true };
    t.equal((await api("POST", "/machines/import", planned)).status, 200, "a plan changes nothing");
    const headers = { "rollcall-override-exam": "true" };
    const patch = { method: "PATCH" as const, body: { seat: "A1" }, headers };
    t.equal((await first.ask("/api/v1/machines/s1", { ...patch, token: olga })).status, 403);
    const { status } = await first.ask("/api/v1/machines/s1", { ...patch, token: first.adminToken });
    t.equal(status, 200);
  });

  t.test("it survives a restart, and is over at its time", async (t) => {
    await first.stop();
    const again = await startServer(t, { dataDir, clock });
    const ask = (path: string) => again.ask(`/api/v1${path}`, { token: first.adminToken });
    t.match((await ask("/exams")).items, [{ room: "lab225", role: "rescue", startedBy: "olga" }]);
    clock.advanceMs(3_700_000);
    t.same((await ask("/exams")).items, []);
    t.match((await ask("/machines/s1/explain")).json, { source: "unknown-policy" });
    await again.store.probe();
    t.equal((await ask("/events?type=exam.ended")).items.length, 1);
    t.same(
      (await ask("/events?type=exam.started")).items.map(({ actor }) => actor),
      ["olga"],
    );
  });
});

t.test("an exam stops what is at work on its room, unless that leads into its role", async (t) => {
  const fake = createFakePower();
  const orders = { power: fake, operationLimits: quickLimits };
  const first = await startServer(t, { orders });
  await first.addImage();
  for (const [number, group] of [
    [1, "lab225"],
    [2, "lab225"],
    [3, "lab225"],
    [4, "lab226"],
  ] as const)
    await first.add(number, `s${number}`, { group });
  await first.assign("s1,s3,s4", "worker");
  await first.assign("s2", "rescue");
  const begin = async (path: string, body: object) =>
    plain((await first.api("POST", path, body)).json["operation"]);
  const reset = await begin("/resets", { machines: "s[1-2],s4" });
  const assigned = await begin("/assignments", { machines: "s3", role: "rescue", power: "cycle" });
  const exam = { room: "lab225", role: "rescue", forSeconds: 3600 };
  const stops = [{ operation: reset, kind: "reset", machines: ["s1"] }];
  const planned = await first.api("POST", "/exams", { ...exam, dryRun: true });
  t.match(planned, { status: 200, json: { dryRun: true, stops } });
  t.same((await first.api("GET", "/exams")).json["items"], [], "a plan begins nothing");
  t.match((await first.api("POST", "/exams", exam)).json, { room: "lab225", stops });
  await first.store.probe();
  t.match((await first.ask("/api/v1/events?type=exam.started", { token: first.adminToken })).items, [
    { message: new RegExp(`it stops ${reset} \\(reset\\) on s1`), data: { stops: [{ machines: ["s1"] }] } },
  ]);

  type Step = { state: string; code: string | null };
  type Report = { machines: { machine: string; state: string; steps: Step[] }[] };
  const reportOf = async (server: typeof first, id: string): Promise<Report> =>
    (await server.ask(`/api/v1/operations/${id}`, { token: first.adminToken })).json as unknown as Report;
  const isOver = async (server: typeof first, name: string): Promise<Report> => {
    for (;;) {
      const report = await reportOf(server, reset);
      const state = report.machines.find(({ machine }) => machine === name)?.state;
      if (state !== "running" && state !== "waiting") return report;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const { machines } = await isOver(first, "s1");
  t.match(machines, [
    { machine: "s1", state: "failed" },
    { machine: "s2", state: "running" },
    { machine: "s4", state: "running" },
  ]);
  t.equal(machines[0]?.steps.find(({ state }) => state === "failed")?.code, "EXAM_UNDER_WAY");
  t.match(await reportOf(first, assigned), { machines: [{ machine: "s3", state: "running" }] });

  const headers = { "rollcall-override-exam": "true" };
  const body = { machines: "s1", action: "cycle", wait: true };
  const allowed = await first.ask("/api/v1/power", {
    method: "POST",
    body,
    headers,
    token: first.adminToken,
  });
  t.match(allowed.json, { state: "done" }, "what is let through in the exam goes on");
  t.match(
    await first.api("POST", "/cluster/arm", { machine: "s1" }),
    { status: 409, json: { code: "EXAM_UNDER_WAY" } },
    "no machine is armed for the cluster",
  );
});

t.test("12:00 is the next time that a clock shows it", (t) => {
  const now = new Date(2026, 0, 1, 13, 0);
  t.same(nextTime("14:30", now), new Date(2026, 0, 1, 14, 30));
  t.same(nextTime("12:00", now), new Date(2026, 0, 2, 12, 0));
  t.throws(() => nextTime("noon", now), /12:00/);
  t.end();
});

t.test("the command", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1", { group: "lab225" });
  const say = async (...words: string[]) => {
    const environment = { ROLLCALL_SERVER: server.url, ROLLCALL_TOKEN: server.adminToken };
    const { code, out, err } = await boot(words, environment);
    return { code, text: out + err };
  };
  t.match(await say("exam", "start", "lab225", "rescue", "--for", "90m", "--dry-run"), {
    code: 0,
    text: /lab225 would have an exam until .*: every machine boots rescue/,
  });
  t.match(await say("exam", "start", "lab225", "rescue", "--for", "90m"), {
    code: 0,
    text: /lab225 has an exam until .*: every machine boots rescue/,
  });
  t.match(await say("exam", "list"), { code: 0, text: /lab225 +rescue +admin +until/ });
  t.match(await say("s1", "worker"), { code: 1, text: /EXAM_UNDER_WAY[\s\S]*--override-exam/ });
  t.match(await say("--override-exam", "s1", "worker"), { code: 0 });
  t.match(await say("events", "--actor", "admin", "--since", "2h", "--type", "exam"), {
    code: 0,
    text: /exam\.started[\s\S]*exam\.refused/,
  });
  t.match(await say("exam", "end", "lab225"), { code: 0, text: /is over/ });
  t.match(await say("token", "create", "olga", "--scope", "operator", "--room", "lab225"), { code: 0 });
  t.match(await say("token", "list"), { code: 0, text: /olga +operator .* lab225/ });
});

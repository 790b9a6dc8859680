import { generateKeyPairSync } from "node:crypto";
import t from "tap";
import type { Boot, BootStep, BootStepName } from "../../server/domain/boot.ts";
import { type Json, plain, startServer } from "../support/http-fixture.ts";
import { macOf, sampleTime } from "../support/samples.ts";

const startedAt = sampleTime;
/** A boot whose parts take so many seconds, those of before the callback in the order of the field. */
function bootOf(machineId: string, id: string, seconds: Readonly<Record<string, number>>): Boot {
  const reported = new Set<string>(["network", "verify", "switch-root"]);
  let at = startedAt;
  const steps = Object.entries(seconds).map(([step, took]) => {
    at += took * 1000;
    const detail: BootStep["detail"] = reported.has(step) ? { reported: 1 } : {};
    return { at, step: step as BootStepName, serverMs: undefined, detail };
  });
  return {
    id,
    machineId,
    mac: macOf(1),
    startedAt,
    endedAt: at,
    outcome: "ready",
    target: "worker",
    phases: [],
    steps,
    verdict: undefined,
  };
}
const room = {
  discover: 0,
  request: 1,
  nbp: 2,
  script: 3,
  initrd: 4,
  network: 5,
  verify: 6,
  "switch-root": 7,
};

t.test("the API tells a machine's boots part by part", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  for (const number of [1, 2, 3, 4]) await server.add(number, `s${number}`, { group: "lab225" });
  await server.add(9, "far9", { group: "cellar" });
  const idOf = (name: string) => server.store.machines.get(name).id;
  const timeline = async (name: string, query = "") =>
    (await server.api("GET", `/machines/${name}/timeline${query}`)).json;

  t.test("nothing where it never booted", async (t) => {
    t.same(await timeline("far9"), {
      machine: "far9",
      room: "cellar",
      compared: 0,
      boot: null,
      parts: [],
      underWay: null,
    });
  });

  t.test("each beside the median of its room's other machines", async (t) => {
    for (const [index, name] of ["s2", "s3", "s4"].entries())
      await server.store.boots.save(
        bootOf(idOf(name), `b_${name}`, { ...room, verify: 10 * (index + 1), config: 8, callback: 9 }),
      );
    await server.store.boots.save(bootOf(idOf("far9"), "b_far9", { ...room, verify: 500 }));
    await server.store.events.append({
      type: "machine.power",
      machineId: idOf("s1"),
      message: "ordered",
      data: { action: "on", method: "wol" },
    });
    const [ordered] = server.store.events.list({ type: "machine.power", limit: 1 });
    const begun = (ordered?.at ?? 0) + 7000;
    const own = bootOf(idOf("s1"), "b_own", { ...room, verify: 60 });
    const moved = begun - startedAt;
    const joining = begun + 100_000;
    await server.store.boots.save({
      ...own,
      startedAt: begun,
      steps: [
        ...own.steps.map((step) => ({ ...step, at: step.at + moved })),
        { at: joining, step: "callback", serverMs: undefined, detail: {} },
      ],
      phases: [
        { phase: "joining", at: joining },
        { phase: "ready", at: joining + 30_000 },
      ],
    });
    const { parts, ...rest } = await timeline("s1");
    t.match(rest, { compared: 3, boot: { id: "b_own", outcome: "ready" }, underWay: null });
    const rows = (parts as unknown as readonly Json[]).map((row) =>
      ["part", "startMs", "ms", "medianMs", "medianOf"].map((key) => row[key]),
    );
    t.same(rows, [
      ["firmware", -7000, 7000, null, 0],
      ["dhcp", 0, 1000, 1000, 3],
      ["tftp", 1000, 2000, 2000, 3],
      ["script", 3000, 3000, 3000, 3],
      ["kernel", 6000, 4000, 4000, 3],
      ["initramfs", 10_000, 5000, 5000, 3],
      ["image", 15_000, 60_000, 20_000, 3],
      ["mount", 75_000, 7000, 7000, 3],
      ["config", 82_000, 18_000, 9000, 3],
      ["join", 100_000, 30_000, null, 0],
    ]);
  });

  t.test("of a boot under way also the part that it is in, and of an older one by its id", async (t) => {
    await server.script(3);
    t.match(await timeline("s3"), { underWay: { part: "script", medianMs: 3000 } }, "it waits for a role");
    await server.assign("s2", "worker");
    await server.script(2);
    const { boot, underWay } = await timeline("s2");
    t.match(boot, { outcome: "running" });
    t.match(underWay, { part: "kernel", medianMs: 4000, medianOf: 3 });
    t.match(await timeline("s2", "?boot=b_s2"), { boot: { id: "b_s2" }, underWay: null });
    for (const other of ["b_s3", "b_none"])
      t.match(await server.api("GET", `/machines/s2/timeline?boot=${other}`), {
        status: 404,
        json: { code: "BOOT_NOT_FOUND" },
      });
  });
});

t.test("the API shows the lines that a machine sent, boot by boot", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1");
  await server.assign("s1", "worker");
  t.match((await server.api("GET", "/machines/s1/log")).json, { boot: null, items: [] });
  const claim = await server.claim(1);
  const send = (body: string) => server.ask(`/callback/${claim}/log`, { method: "POST", from: 1, body });
  await send("first\n<script>alert(1)</script>");
  await send("second");
  const { json } = await server.api("GET", "/machines/s1/log");
  t.match(json, { machine: "s1", items: [{ at: /^20/, text: /<script>/ }, { text: "second" }] });
  const other = await server.api("GET", "/machines/s1/log?boot=b_none");
  t.equal(other.status, 404);
  await server.store.boots.save(bootOf(server.store.machines.get("s1").id, "b_old", room));
  t.same((await server.api("GET", "/machines/s1/log?boot=b_old")).items, []);
  t.match((await server.api("GET", `/machines/s1/log?boot=${plain(json["boot"])}`)).items.length, 2);
});

t.test("the API lists the documents that a machine would get, and what is wrong with one", async (t) => {
  const server = await startServer(t);
  await server.add(1, "s1");
  await server.addImage();
  await server.assign("s1", "worker");
  const documents = async () => (await server.api("GET", "/machines/s1/preview")).items;
  const kinds = (await documents()).map(({ kind, problem }) => `${plain(kind)} ${plain(problem)}`);
  t.equal(kinds[0], "ipxe null");
  t.ok(kinds.includes("user-data null") && !kinds.join().includes("ignition"), kinds.join());
  await server.api("DELETE", "/images/debian-node?force=true");
  t.match((await documents())[0], { kind: "ipxe", problem: /debian-node/ });
});

t.test("the API tells what nodes are told to trust", async (t) => {
  const server = await startServer(t);
  const policy = async () => (await server.api("GET", "/registry/policy")).json;
  t.match(await policy(), { others: "taken", scopes: [] }, "anything, as long as nobody may sign");
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { status } = await server.api("POST", "/keys", {
    name: "anna",
    publicKey: publicKey.export({ type: "spki", format: "pem" }),
    scopes: ["registry.local/p10"],
  });
  t.equal(status, 201);
  const after = await policy();
  t.match(after, {
    others: "refused",
    scopes: [{ scope: "registry.local/p10", needsSignature: true, signers: ["anna"], former: [] }],
  });
  const [file] = after["files"] as unknown as readonly Json[];
  t.match(file, { path: "/etc/containers/policy.json", text: /reject/ });
});

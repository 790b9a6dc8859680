import t from "tap";
import type { AssignedTarget } from "../server/domain/assignment.ts";
import {
  type BootPreferences,
  driverChoices,
  localBootMethods,
  preferDriver,
  preferLocalBoot,
  withPreferences,
} from "../server/domain/boot-preferences.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { startServer } from "./support/http-fixture.ts";
import { addressOf, macOf } from "./support/samples.ts";

const nothing: BootPreferences = { localBoot: undefined, driver: undefined, ramCheck: undefined };

t.test("the nearest choice holds: machine, group, role, config; the driver knows no role", (t) => {
  const machine: BootPreferences = { localBoot: "sanboot", driver: "ipxe", ramCheck: undefined };
  const group: BootPreferences = { localBoot: "http-404", driver: "snponly", ramCheck: undefined };
  t.same(preferLocalBoot(machine, group, "exit", "exit"), { value: "sanboot", source: "machine" });
  t.same(preferLocalBoot(nothing, group, "exit", "exit"), { value: "http-404", source: "group" });
  t.same(preferLocalBoot(nothing, nothing, "sanboot", "exit"), { value: "sanboot", source: "role" });
  t.same(preferLocalBoot(undefined, undefined, undefined, "exit"), { value: "exit", source: "config" });
  t.same(preferDriver(machine, group, "auto"), { value: "ipxe", source: "machine" });
  t.same(preferDriver(nothing, group, "auto"), { value: "snponly", source: "group" });
  t.same(preferDriver(undefined, undefined, "auto"), { value: "auto", source: "config" });
  t.same(withPreferences(machine, { localBoot: null }), { localBoot: undefined, driver: "ipxe" });
  t.same(withPreferences(nothing, { driver: "auto" }), { localBoot: undefined, driver: "auto" });
  t.end();
});

t.test("the script of the role local follows the machine, its group, its role and the config", async (t) => {
  const roles = { "disk/role.yaml": "description: the first disk\nboot: local\nlocalBoot: sanboot\n" };
  const lab = await createBootLab(t, { roles });
  await lab.inventory.add({ name: "s1", macs: [macOf(1)], group: "lab1" }, "anna");
  await lab.assign("s1", "local");
  const script = async () =>
    (/\n(exit 1|sanboot [^|]*)/.exec((await lab.script(1)).script)?.[1] ?? "").trim();
  const sanboot = "sanboot --no-describe --drive 0x80";
  t.equal(await script(), "exit 1");
  await lab.inventory.editGroup("lab1", { localBoot: "sanboot" }, "anna");
  t.equal(await script(), sanboot, "its group");
  await lab.inventory.edit(lab.machine("s1").id, { localBoot: "exit" }, "anna");
  t.equal(await script(), "exit 1", "itself");
  await lab.inventory.edit(lab.machine("s1").id, { localBoot: null }, "anna");
  await lab.inventory.editGroup("lab1", { localBoot: null }, "anna");
  await lab.assign("s1", "disk");
  t.equal(await script(), sanboot, "its role");
  const preview = (...target: AssignedTarget[]) =>
    lab.boots.preview(lab.machine("s1"), "ipxe", "http://10.0.0.1", ...target);
  t.match(preview(), /\nsanboot /, "the preview too");
  t.match(preview({ kind: "role", role: "local", params: {} }), /\nexit 1\n$/, "of what is asked for");
  t.same(
    lab.of("group.edited").map(({ data }) => data),
    [
      { group: "lab1", localBoot: "sanboot", before: { localBoot: undefined } },
      { group: "lab1", localBoot: null, before: { localBoot: "sanboot" } },
    ],
  );
});

t.test(
  "http-404: what is loaded first is not there, the boot ends at the disk, and one boot uses `once` up",
  async (t) => {
    const lab = await createBootLab(t, { localBoot: "http-404" });
    await lab.add(1, "s1");
    const ask = () => lab.boots.disk.refuseFirstStage(addressOf(1), "nbp");
    await lab.assign("s1", "worker");
    lab.clock.advanceMs(1);
    await lab.assign("s1", "local", "once");
    t.resolves(ask(), "an address that nobody is known to hold");
    await lab.dhcp(1, { firmware: undefined });
    await t.rejects(ask(), { code: "LOCAL_BOOT_CHOSEN", httpStatus: 404 });
    await lab.settle();
    t.match(lab.boot("s1"), { outcome: "local", target: "local" });
    t.match(lab.boot("s1").steps.at(-1), { step: "nbp", detail: { refused: "http-404" } });
    t.equal(lab.boots.select(lab.machine("s1")).source, "machine", "used up");
    await t.resolves(ask(), "its next boot is a worker's");
    await lab.assign("s1", "local");
    t.match((await lab.script(1)).script, /\nexit 1\n/, "whoever got to its script goes on from there");
  },
);

t.test(
  "over HTTP: 404 for the first stage and the first script, HEAD too, for this machine alone",
  async (t) => {
    const server = await startServer(t);
    await server.addImage();
    for (const number of [1, 2]) {
      await server.add(number, `s${number}`);
      await server.assign(`s${number}`, "local");
      await server.script(number);
    }
    t.equal((await server.api("PATCH", "/machines/s1", { localBoot: "http-404" })).status, 200);
    for (const path of ["/boot.ipxe", "/autoexec.ipxe", "/nbp/snponly.efi"]) {
      for (const method of ["GET", "HEAD"] as const)
        t.equal((await server.ask(path, { method, from: 1 })).status, 404, `${method} ${path}`);
      t.match((await server.ask(path, { from: 1 })).json, { code: "LOCAL_BOOT_CHOSEN" });
      t.equal((await server.ask(path, { from: 2 })).status, 200, `${path} is there for another machine`);
    }
    t.match((await server.script(1)).text, /^#!ipxe\n[\s\S]*\nexit 1\n/, "its own script is always a script");
    await server.assign("s1", "worker");
    t.equal((await server.ask("/boot.ipxe", { from: 1 })).status, 200, "a role that boots finds everything");
  },
);

t.test("by the API: checked, shown with who says so, taken away by null", async (t) => {
  const server = await startServer(t);
  await server.add(1, "s1", { group: "lab1", localBoot: "sanboot" });
  const show = async () => (await server.api("GET", "/machines/s1")).json;
  t.match(await show(), {
    localBoot: "sanboot",
    driver: null,
    bootsBy: {
      localBoot: { value: "sanboot", source: "machine" },
      driver: { value: "auto", source: "config", learned: null },
    },
  });
  t.match((await server.api("PATCH", `/machines/${macOf(1)}`, { localBoot: null, driver: "ipxe" })).json, {
    localBoot: null,
    bootsBy: { localBoot: { value: "exit", source: "config" }, driver: { value: "ipxe", source: "machine" } },
  });
  t.match((await server.api("PATCH", "/groups/lab1", { localBoot: "http-404", description: "x" })).json, {
    localBoot: "http-404",
    driver: null,
    description: "x",
    machines: ["s1"],
  });
  t.match(await show(), { bootsBy: { localBoot: { value: "http-404", source: "group" } } });
  for (const [path, body] of [
    ["/machines/s1", { localBoot: "reboot" }],
    ["/machines/s1", { driver: "" }],
    ["/groups/lab1", { driver: "tulip" }],
    ["/groups/lab1", { name: "x" }],
  ] as const)
    t.match((await server.api("PATCH", path, body)).json, { code: "INVALID_REQUEST", status: 400 });
  t.match((await server.api("PATCH", "/groups/none", { driver: "ipxe" })).json, { code: "GROUP_NOT_FOUND" });
  await server.api("POST", "/groups", { name: "lab1", description: "again" });
  t.match(
    await show(),
    { bootsBy: { localBoot: { value: "http-404" } } },
    "a group added again keeps its choice",
  );
});

t.test("what is chosen is stored: each of the values, for machines and groups", async (t) => {
  const lab = await createBootLab(t);
  await lab.inventory.add({ name: "s1", macs: [macOf(1)], group: "lab1" }, "anna");
  for (const localBoot of localBootMethods) {
    await lab.inventory.edit(lab.machine("s1").id, { localBoot }, "anna");
    t.equal(lab.store.machines.get("s1").localBoot, localBoot);
  }
  for (const driver of driverChoices) {
    await lab.inventory.editGroup("lab1", { driver }, "anna");
    t.equal(lab.store.groups.find("lab1")?.driver, driver);
  }
});

t.test("how far a machine is with its first stage is told, by TFTP, HTTP and script alike", async (t) => {
  const lab = await createBootLab(t);
  await lab.add(1, "s1");
  await lab.dhcp(1);
  lab.tftp(1, { outcome: "cancelled", sentBytes: 0 });
  lab.tftp(1, { outcome: "timed-out", sentBytes: 512 });
  lab.tftp(1);
  lab.tftp(1, { file: "autoexec.ipxe" });
  lab.boots.firstStageServed(addressOf(1), "loaded");
  lab.boots.firstStageServed(addressOf(9), "loaded");
  await lab.script(1);
  await lab.script(1, { from: 2 });
  t.same(
    lab.progresses.map(([mac, progress]) => [mac === macOf(1), progress]),
    [
      [true, "loading"],
      [true, "loaded"],
      [true, "started"],
      [true, "loaded"],
      [true, "started"],
    ],
    "and nothing by a stranger's question",
  );
});

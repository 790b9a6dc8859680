import t, { type Test } from "tap";
import {
  type BootView,
  checkServerTime,
  createE2eLab,
  ensureImage,
  type EventView,
  prepare,
} from "../support/e2e-lab.ts";
import { startForeignDhcp } from "../support/foreign-dhcp.ts";
import { authoritativeConfig, proxyConfig } from "../support/lab-configs.ts";

/** The stations of a boot that was seen from end to end. */
function checkWholeBoot(t: Test, boot: BootView): void {
  const phases = boot.phases
    .map(({ phase }) => phase)
    .filter((phase) => phase !== "accepted" && phase !== "assigned");
  t.same(phases, ["netbooting", "booting", "configuring", "ready"], "it passed every phase in order");
  const steps = boot.steps.map(({ step }) => step);
  for (const step of ["ipxe-dhcp", "contact", "script", "kernel", "initrd", "rootfs", "config", "callback"])
    t.ok(steps.includes(step), `the timeline has ${step}`);
  t.ok(steps.indexOf("config") < steps.indexOf("callback"), "the config was fetched before the callback");
}

const becameReady = (event: EventView) => event.type === "machine.phase" && event.data["to"] === "ready";

t.test(
  "BIOS, authoritative: a machine boots our Debian image to ready through cloud-init's own callback",
  async (t) => {
    const image = await ensureImage(t);
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
    await e2e.boot("s1", "worker");
    const machine = await e2e.lab.powerOn({
      name: "s1",
      mac: "52:54:00:77:00:01",
      firmware: "bios",
      memoryMiB: 1536,
    });

    await e2e.waitForStep("s1", "kernel");
    t.comment("s1 loads its kernel");
    await e2e.waitForStep("s1", "switch-root");
    t.comment("s1 has its root");
    await e2e.waitForEvent("s1 ready", becameReady);
    const boot = await e2e.newestBoot("s1");
    checkWholeBoot(t, boot);
    t.match(machine.screen, /Rollcall/, "the machine's own screen speaks of Rollcall");
    await machine.waitForScreen("s1 login:");
    t.comment(`whole boot ${(boot.durationMs / 1000).toFixed(0)} s`);
    checkServerTime(t, boot);
    const shown = await e2e.boot("machine", "show", "s1");
    t.match(shown, /callback/, "boot machine show prints the timeline");
    t.comment(shown);
    t.match(await e2e.boot("status"), /s1 .*ready .*worker/, "boot status says ready");
    t.match(
      await e2e.boot("explain", "s1"),
      /worker .*assigned by the server's administrator/,
      "boot explain says why",
    );
  },
);

t.test(
  "BIOS, proxy: the campus server gives the address, we give the boot file, and the machine gets to ready",
  async (t) => {
    const image = await ensureImage(t);
    const e2e = await createE2eLab(t, { config: proxyConfig, bridges: { br0: "10.77.0.1/24" } });
    t.teardown(await startForeignDhcp(e2e.lab));
    await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
    await e2e.boot("s1", "worker");
    await e2e.lab.powerOn({ name: "s1", mac: "52:54:00:77:00:01", firmware: "bios", memoryMiB: 1536 });
    await e2e.waitForStep("s1", "switch-root");
    t.comment("s1 has its root");
    await e2e.waitForEvent("s1 ready", becameReady);
    const boot = await e2e.newestBoot("s1");
    checkWholeBoot(t, boot);
    checkServerTime(t, boot);
    const reported = boot.steps.filter(({ detail }) => detail["reported"] === 1).map(({ step }) => step);
    // Not rootfs: a download that takes less than two seconds is not worth a report of its own.
    for (const step of ["network", "verify", "switch-root"])
      t.ok(reported.includes(step), `its initramfs reported ${step} under its claim`);
    const leases = await e2e.lab.run("cat", `${e2e.lab.directory}/campus.leases`);
    t.match(leases.stdout, /52:54:00:77:00:01 10\.77\.0\./, "its address is the campus server's");
  },
);

t.test(
  "UEFI, authoritative: EDK2's own PXE loads the first stage by TFTP, and the kernel runs",
  async (t) => {
    const image = await ensureImage(t);
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    await prepare(e2e, image, { u1: "52:54:00:77:00:02" });
    await e2e.boot("u1", "worker");
    // As for a machine that has said that its Secure Boot is off; what others get is in firmware.test.ts.
    await e2e.boot("machine", "edit", "u1", "--driver", "snponly");
    await e2e.lab.powerOn({ name: "u1", mac: "52:54:00:77:00:02", firmware: "uefi", memoryMiB: 1536 });
    const boot = await e2e.waitForStep("u1", "rootfs");
    t.ok(
      boot.steps.some(
        ({ step, detail }) =>
          step === "nbp" && detail["file"] === "snponly.efi" && detail["outcome"] === "complete",
      ),
      "snponly.efi went by TFTP",
    );
    t.ok(
      boot.steps.some(({ step, detail }) => step === "discover" && detail["firmware"] === "uefi-x86_64"),
      "its firmware is known",
    );
    checkServerTime(t, boot);
  },
);

t.test("UEFI, proxy: the firmware comes to port 4011 for its boot file, and the kernel runs", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: proxyConfig, bridges: { br0: "10.77.0.1/24" } });
  t.teardown(await startForeignDhcp(e2e.lab));
  await prepare(e2e, image, { u1: "52:54:00:77:00:02" });
  await e2e.boot("u1", "worker");
  await e2e.lab.powerOn({ name: "u1", mac: "52:54:00:77:00:02", firmware: "uefi", memoryMiB: 1536 });
  const boot = await e2e.waitForStep("u1", "rootfs");
  t.ok(
    boot.steps.some(({ step, detail }) => step === "request" && detail["port"] === 4011),
    "it asked on port 4011",
  );
  t.ok(
    boot.steps.some(({ step, detail }) => step === "nbp" && detail["outcome"] === "complete"),
    "the first stage went by TFTP",
  );
  checkServerTime(t, boot);
});

t.test("a machine that nobody knows waits in discover and boots the moment it is assigned", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
  await prepare(e2e, image, {});
  const machine = await e2e.lab.powerOn({
    name: "new",
    mac: "52:54:00:77:00:03",
    firmware: "bios",
    memoryMiB: 1536,
  });
  await e2e.waitForStep("m-525400770003", "wait");
  await machine.waitForScreen("waits for a role");
  t.match(await e2e.boot("status"), /m-525400770003 .*discovered .*discover/, "it is on the roll");
  await e2e.boot("machine", "accept", "52:54:00:77:00:03", "--name", "s3");
  await e2e.boot("s3", "worker", "--once");
  const boot = await e2e.waitForStep("s3", "kernel");
  t.ok(
    boot.steps.some(({ step }) => step === "wait"),
    "it is the same boot that waited",
  );
  checkServerTime(t, boot);
});

t.test(
  "a second machine that asks for the first one's script or claim gets nothing; the server killed in the middle is no end",
  async (t) => {
    const image = await ensureImage(t);
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
    await e2e.boot("s1", "worker");
    const machine = await e2e.lab.powerOn({
      name: "s1",
      mac: "52:54:00:77:00:01",
      firmware: "bios",
      memoryMiB: 1536,
      // So that it loads its root for ten seconds, and the thief and the restart come in the middle of it.
      lineRate: "100mbit",
    });
    await e2e.waitForStep("s1", "rootfs");
    await machine.waitForScreen(/callback\/[a-z2-7]{26}/);
    const claim = /callback\/([a-z2-7]{26})/.exec(machine.screen)?.[1] ?? "";
    const thief = await e2e.lab.addHost("thief", "br0", "02:00:00:00:00:66", "10.77.0.66/24");
    const steal = async (path: string, ...words: string[]) => {
      const { stdout } = await e2e.lab.execIn(
        thief,
        "curl",
        "-s",
        "-w",
        "\n%{http_code}",
        ...words,
        `http://10.77.0.1:8080${path}`,
      );
      return stdout;
    };
    for (const document of ["user-data", "meta-data", "vendor-data", "network-config"]) {
      const answer = await steal(`/boot/claims/${claim}/cloud-init/${document}`);
      t.match(answer, /CLAIM_REFUSED[\s\S]*\n403$/, `${document} is refused`);
      t.notMatch(answer, /s1|cloud-config/, "not a word of it leaks");
    }
    t.match(
      await steal(`/callback/${claim}/joined`, "-X", "POST"),
      /403$/,
      "it can't spend the claim either",
    );
    const script = await steal("/boot/52-54-00-77-00-01/boot.ipxe");
    t.match(script, /^#!ipxe[\s\S]*MACHINE_MISMATCH/, "it gets a script that says no");
    t.notMatch(script, /claims/, "and no claim");
    await e2e.waitForEvent(
      "the alarm",
      (event) =>
        event.type === "claim.refused" && event.level === "alarm" && event.data["address"] === "10.77.0.66",
    );
    await e2e.waitForEvent(
      "the other alarm",
      (event) => event.type === "mac.contradicted" && event.level === "alarm",
    );
    // While the machine loads its root: what the boot did so far, its claim and its address must outlive the process.
    const before = await e2e.newestBoot("s1");
    t.notOk(
      before.steps.some(({ step }) => step === "switch-root"),
      "it is still loading",
    );
    await e2e.restart();
    t.comment("the server was killed and started again");
    await machine.waitForScreen(/connection ended at [1-9]\d* of \d+ MiB .*going on from there/);
    t.match(
      await steal(`/boot/claims/${claim}/cloud-init/user-data`),
      /CLAIM_REFUSED[\s\S]*\n403$/,
      "the restarted server knows the claim",
    );
    await e2e.waitForEvent("s1 ready all the same", becameReady);
    const boots = await e2e.boots("s1");
    t.same(
      boots.map(({ id, outcome }) => [id, outcome]),
      [[before.id, "ready"]],
      "it is one boot",
    );
    const [boot] = boots;
    if (!boot) throw new Error("s1 has no boot");
    checkWholeBoot(t, boot);
    t.same(
      boot.steps.slice(0, before.steps.length).map(({ step }) => step),
      before.steps.map(({ step }) => step),
      "no step from before the restart is lost",
    );
    checkServerTime(t, boot);
  },
);

t.test("two bridges, one of them configured: the machine on the other one is never answered", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, {
    config: authoritativeConfig,
    bridges: { br0: "10.77.0.1/24", br1: "10.78.0.1/24" },
  });
  await prepare(e2e, image, {});
  const foreign = await e2e.lab.powerOn({
    name: "foreign",
    mac: "52:54:00:78:00:01",
    firmware: "bios",
    memoryMiB: 512,
    bridge: "br1",
  });
  const ours = await e2e.lab.powerOn({
    name: "ours",
    mac: "52:54:00:77:00:01",
    firmware: "bios",
    memoryMiB: 512,
  });
  await ours.waitForScreen("waits for a role");
  // Its firmware has tried for as long as the other one took to arrive, and gives up by itself.
  await foreign.waitForScreen(/No configuration methods succeeded|No more network devices/);
  const machines = await e2e.boot("machine", "list");
  t.match(machines, /m-525400770001/, "the machine on the configured bridge is on the roll");
  t.notMatch(machines, /m-525400780001/, "the other one was never heard");
});

t.test(
  "a fault stands on the machine's own screen, and when it is mended the machine goes on by itself",
  async (t) => {
    const image = await ensureImage(t);
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
    await e2e.boot("s1", "worker");
    await e2e.boot("image", "remove", "debian-node", "--force");
    const machine = await e2e.lab.powerOn({
      name: "s1",
      mac: "52:54:00:77:00:01",
      firmware: "bios",
      memoryMiB: 1536,
    });
    await machine.waitForScreen("IMAGE_NOT_FOUND");
    await machine.waitForScreen("boot image build");
    await e2e.boot("image", "import", image);
    checkServerTime(t, await e2e.waitForStep("s1", "kernel"));
  },
);

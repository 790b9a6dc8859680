import t, { type Test } from "tap";
import { type BootView, createE2eLab, type E2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { startForeignDhcp } from "../support/foreign-dhcp.ts";
import { authoritativeConfig, proxyConfig } from "../support/lab-configs.ts";

const bridges = { br0: "10.77.0.1/24" };
const macs = { p1: "52:54:00:77:01:01", h1: "52:54:00:77:01:02", n1: "52:54:00:77:01:03" };

const files = (boot: BootView) =>
  boot.steps.filter(({ step }) => step === "nbp").map(({ detail }) => detail["file"]);

/** From power-on to the first words of a kernel that was checked on its way. */
async function bootsSecurely(
  t: Test,
  e2e: E2eLab,
  name: "p1" | "h1",
  firmware: "uefi-secure-boot" | "uefi-http-secure-boot",
): Promise<void> {
  const began = Date.now();
  const machine = await e2e.lab.powerOn({ name, mac: macs[name], firmware, memoryMiB: 1536 });
  await machine.waitForScreen("EFI stub: UEFI Secure Boot is enabled.");
  await machine.waitForScreen(/Linux version [0-9]/);
  t.comment(`${name} has its kernel after ${Math.round((Date.now() - began) / 1000)} s`);
  t.match(machine.screen, `Rollcall: ${name} boots into the role worker`, "GRUB told what it does");
  const boot = await e2e.newestBoot(name);
  t.same(files(boot), ["shimx64.efi", "grubx64.efi"], "shim and GRUB, each once");
  t.same(
    boot.steps
      .map(({ step }) => step)
      .filter((step) => ["contact", "script", "kernel", "initrd"].includes(step)),
    ["contact", "script", "kernel", "initrd"],
    "GRUB's own stations are on the timeline",
  );
  t.match(await e2e.boot("machine", "show", name), /Secure Boot +on/, "it is known that Secure Boot is on");
  await machine.powerOff();
}

/** A machine over HTTP that starts what nobody signed. */
async function bootsWithout(t: Test, e2e: E2eLab): Promise<void> {
  const began = Date.now();
  const machine = await e2e.lab.powerOn({
    name: "n1",
    mac: macs.n1,
    firmware: "uefi-http",
    memoryMiB: 1536,
  });
  const boot = await e2e.waitForStep("n1", "initrd");
  await machine.waitForScreen(/Linux version [0-9]/);
  t.comment(`n1 has its kernel after ${Math.round((Date.now() - began) / 1000)} s`);
  t.same(files(boot), ["shimx64.efi", "grubx64.efi"], "shim does no harm where Secure Boot is off");
  t.notMatch(machine.screen, "UEFI Secure Boot is enabled");
  t.match(await e2e.boot("machine", "show", "n1"), /Secure Boot +off/);
  await machine.powerOff();
}

t.test("authoritative: machines with and without Secure Boot come up, by PXE and by HTTP boot", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges });
  await prepare(e2e, image, macs);
  await e2e.boot("lab1", "worker");
  await bootsSecurely(t, e2e, "p1", "uefi-secure-boot");
  await bootsSecurely(t, e2e, "h1", "uefi-http-secure-boot");
  await bootsWithout(t, e2e);

  t.comment("the same machine again");
  const machine = await e2e.lab.powerOn({ name: "n1", mac: macs.n1, firmware: "uefi-http", memoryMiB: 1536 });
  await machine.waitForScreen("/nbp/snponly.efi");
  await e2e.waitForEvent(
    "iPXE of the second boot",
    (event) => event.type === "boot.step" && event.machine === "n1" && event.data["step"] === "ipxe-dhcp",
  );
  await machine.waitForScreen(/Rollcall: n1 boots into the role worker/);
  t.same(files(await e2e.newestBoot("n1")), ["snponly.efi"], "what it said is remembered: iPXE at once");
});

t.test("proxy: machines with and without Secure Boot come up, by PXE and by HTTP boot", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: proxyConfig, bridges });
  t.teardown(await startForeignDhcp(e2e.lab));
  await prepare(e2e, image, macs);
  await e2e.boot("lab1", "worker");
  await bootsSecurely(t, e2e, "p1", "uefi-secure-boot");
  await bootsSecurely(t, e2e, "h1", "uefi-http-secure-boot");
  await bootsWithout(t, e2e);
});

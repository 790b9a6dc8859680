import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { ensureArm64Kernel } from "../support/arm64-kernel.ts";
import { writeFiles } from "../support/boot-lab.ts";
import { type BootView, createE2eLab, type E2eLab } from "../support/e2e-lab.ts";
import { startForeignDhcp } from "../support/foreign-dhcp.ts";
import { authoritativeConfig, proxyConfig } from "../support/lab-configs.ts";

const mac = "52:54:00:77:00:0a";
const bridges = { br0: "10.77.0.1/24" };

/** An image without a root, as `boot image import` takes it: its kernel starts and says so, and that is all. */
function imageDirectory(directory: string, name: string, arch: string, kernel: Uint8Array): string {
  mkdirSync(directory);
  const files: Record<string, object> = {};
  for (const [kind, content] of [
    ["kernel", kernel],
    ["initrd", gzipSync(Buffer.alloc(512))],
  ] as const) {
    writeFileSync(join(directory, kind), content);
    const sha256 = createHash("sha256").update(content).digest("hex");
    files[kind] = { name: kind, sha256, sizeBytes: content.length };
  }
  writeFileSync(join(directory, "image.json"), JSON.stringify({ name, version: "1", arch, files }));
  return directory;
}

/** A lab whose server has the roles `arm` (Debian's arm64 kernel) and `pc` (an image for x86-64), and one machine, a1. */
async function createArm64Lab(t: Test, config: string): Promise<E2eLab> {
  const kernel = readFileSync(ensureArm64Kernel(t));
  const roles = t.testdir({});
  writeFiles(roles, {
    "arm/role.yaml": "description: An arm64 kernel.\nboot: image\nimage: arm\n",
    "pc/role.yaml": "description: A kernel for PCs.\nboot: image\nimage: pc\n",
  });
  const e2e = await createE2eLab(t, { config: `${config}rolesDir: ${roles}\n`, bridges });
  const images = join(e2e.lab.directory, "images");
  mkdirSync(images);
  await e2e.boot("image", "import", imageDirectory(join(images, "arm"), "arm", "arm64", kernel));
  await e2e.boot("image", "import", imageDirectory(join(images, "pc"), "pc", "x86_64", Buffer.from("MZ")));
  await e2e.boot("machine", "add", "a1", "--mac", mac);
  return e2e;
}

const loaded = (boot: BootView, file: string) =>
  boot.steps.some(
    ({ step, detail }) => step === "nbp" && detail["file"] === file && detail["outcome"] === "complete",
  );

t.test(
  "AAVMF, authoritative: an arm64 machine is told what is not for it, and starts an arm64 kernel",
  async (t) => {
    const e2e = await createArm64Lab(t, authoritativeConfig);
    await e2e.boot("a1", "pc");
    const machine = await e2e.lab.powerOn({ name: "a1", mac, firmware: "uefi-arm64", memoryMiB: 1024 });
    await machine.waitForScreen("ARCH_MISMATCH");
    await machine.waitForScreen("a1 is an arm64 machine, and the image pc is made for x86_64");
    t.comment("it stands on its screen that the image is for another machine");
    await e2e.boot("a1", "arm");
    const boot = await e2e.waitForStep("a1", "kernel");
    t.ok(loaded(boot, "shimaa64.efi"), "arm64's shim went by TFTP");
    t.ok(loaded(boot, "grubaa64.efi"), "and GRUB after it");
    t.ok(
      boot.steps.some(({ step, detail }) => step === "discover" && detail["firmware"] === "uefi-arm64"),
      "its firmware is known",
    );
    await machine.waitForScreen("EFI stub: Booting Linux Kernel");
    await machine.waitForScreen(/Booting Linux on physical CPU|Linux version 6/);
    t.match(await e2e.boot("machine", "show", "a1"), /uefi-arm64, arm64[^]*Secure Boot +off/);
    await machine.powerOff();

    t.comment("the same machine again");
    await e2e.boot("a1", "pc");
    const again = await e2e.lab.powerOn({ name: "a1", mac, firmware: "uefi-arm64", memoryMiB: 1024 });
    await again.waitForScreen("a1 is an arm64 machine, and the image pc is made for x86_64");
    await e2e.boot("a1", "arm");
    const second = await e2e.waitForStep("a1", "kernel");
    t.ok(loaded(second, "ipxe-arm64.efi"), "what it said is remembered: iPXE at once");
    await again.waitForScreen(/Booting Linux on physical CPU|Linux version 6/);
  },
);

t.test("AAVMF with Secure Boot: shim and GRUB, and a kernel that was checked on its way", async (t) => {
  const e2e = await createArm64Lab(t, authoritativeConfig);
  await e2e.boot("a1", "arm");
  const firmware = "uefi-arm64-secure-boot";
  const machine = await e2e.lab.powerOn({ name: "a1", mac, firmware, memoryMiB: 1024 });
  await machine.waitForScreen("EFI stub: UEFI Secure Boot is enabled.");
  await machine.waitForScreen(/Booting Linux on physical CPU|Linux version 6/);
  const boot = await e2e.newestBoot("a1");
  t.ok(loaded(boot, "shimaa64.efi"), "arm64's shim went by TFTP");
  t.match(await e2e.boot("machine", "show", "a1"), /Secure Boot +on/);
});

t.test("AAVMF, proxy: it comes to port 4011 for its boot file and gets its script", async (t) => {
  const e2e = await createE2eLab(t, { config: proxyConfig, bridges });
  t.teardown(await startForeignDhcp(e2e.lab));
  const machine = await e2e.lab.powerOn({ name: "a1", mac, firmware: "uefi-arm64", memoryMiB: 1024 });
  await machine.waitForScreen("waits for a role");
  const boot = await e2e.newestBoot("m-52540077000a");
  t.ok(
    boot.steps.some(({ step, detail }) => step === "request" && detail["port"] === 4011),
    "it asked on port 4011",
  );
  t.ok(loaded(boot, "grubaa64.efi"), "shim and GRUB went by TFTP");
});

t.test(
  "U-Boot, authoritative: as UEFI it loads GRUB, is told what is not for it, and starts an arm64 kernel",
  async (t) => {
    const e2e = await createArm64Lab(t, authoritativeConfig);
    await e2e.boot("a1", "pc");
    const machine = await e2e.lab.powerOn({ name: "a1", mac, firmware: "u-boot", memoryMiB: 1024 });
    await machine.waitForScreen("Booting /grubaa64.efi");
    await machine.waitForScreen("ARCH_MISMATCH");
    await e2e.boot("a1", "arm");
    const boot = await e2e.waitForStep("a1", "kernel");
    t.ok(loaded(boot, "grubaa64.efi"), "arm64's GRUB went by TFTP");
    t.match(
      boot.steps.find(({ step }) => step === "discover")?.detail,
      { firmware: "uboot-arm64" },
      "it is known as U-Boot",
    );
    await machine.waitForScreen(/Booting Linux on physical CPU|Linux version 6/);
  },
);

t.test("a Raspberry Pi is served from the data directory as soon as its files are there", async (t) => {
  const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges });
  const ask = (file: string) =>
    e2e.lab.run("curl", "-s", `tftp://10.77.0.1/${file}`).then(
      ({ stdout }) => stdout,
      ({ code }: { code: number }) => code,
    );
  const notFound = 68;
  t.equal(await ask("9ffefdef/start4.elf"), notFound, "and refused at once before");
  writeFiles(join(e2e.server.dataDir, "tftp"), {
    "start4.elf": "the firmware of all",
    "config.txt": "of all",
    "9ffefdef/config.txt": "its own",
  });
  t.equal(await ask("9ffefdef/start4.elf"), "the firmware of all");
  t.equal(await ask("9ffefdef/config.txt"), "its own");
  t.equal(await ask("dc-a6-32-01-36-c2/config.txt"), "of all");
  t.equal(await ask("9ffefdef/recovery.elf"), notFound);
  t.equal(await ask("../rollcall.db"), notFound);
});

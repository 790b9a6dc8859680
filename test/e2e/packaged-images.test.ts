import { join } from "node:path";
import t, { type Test } from "tap";
import { readCatalogue } from "../../server/image/import/catalogue.ts";
import { defaultDownload } from "../../server/image/import/download.ts";
import { fetchImage } from "../../server/image/import/fetch-image.ts";
import { readImageJson } from "../../server/cli/image-directory.ts";
import { createE2eLab, type E2eLab } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** An image out of a Debian package. The lab has no way to the archive, so it is fetched before. @returns its directory */
async function importPackaged(t: Test, e2e: E2eLab, name: string): Promise<string> {
  const directory = join(temporaryDirectory(t), name);
  const entry = readCatalogue().get(name);
  if (!entry) throw new Error(`the catalogue has no ${name}`);
  const quiet = { onProgress: () => undefined, onNote: () => undefined };
  await fetchImage({ entry, directory, name, download: defaultDownload, ...quiet });
  await e2e.boot("image", "import", directory);
  return directory;
}

t.test(
  "a memory test from Debian's package is loaded on BIOS and on UEFI, each its own file, for one boot",
  async (t) => {
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    const directory = await importPackaged(t, e2e, "memtest");
    for (const [number, firmware] of (["bios", "uefi"] as const).entries()) {
      const name = `s${number + 1}`;
      const mac = `52:54:00:77:00:0${number + 1}`;
      await e2e.boot("machine", "add", name, "--mac", mac);
      await e2e.boot(name, "memtest", "--once");
      const machine = await e2e.lab.powerOn({ name, mac, firmware, memoryMiB: 512 });
      // On UEFI this version of it shows itself on the graphics screen alone, which nobody looks at here.
      if (firmware === "bios") await machine.waitForScreen(/Memtest86\+/i);
      await e2e.waitForEvent(
        `the end of the boot of ${name}`,
        (event) => event.machine === name && event.type === "boot.ended",
      );
      const boot = await e2e.newestBoot(name);
      const { kernel, kernelEfi } = readImageJson(directory).files;
      t.equal(
        boot.steps.find(({ step }) => step === "kernel")?.detail["sizeBytes"],
        (firmware === "bios" ? kernel : kernelEfi)?.sizeBytes,
        `${firmware}: its own file`,
      );
      t.match(boot, { outcome: "local", target: "memtest" }, `${firmware}: nothing more is heard of it`);
      t.match(await e2e.boot(name), /discover/, `${firmware}: the assignment for one boot is used up`);
      await machine.powerOff();
    }
  },
);

t.test("Debian's installer from its package is started, with the card that it came by", async (t) => {
  // A machine with nothing but a serial console.
  const role = `extends: debian-installer
arguments: [netcfg/choose_interface=auto, "BOOTIF=01-{{machine.macHyphens}}", "console=ttyS0,115200"]
`;
  const rolesDir = t.testdir({ "debian-installer": { "role.yaml": role } });
  const e2e = await createE2eLab(t, {
    config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
    bridges: { br0: "10.77.0.1/24" },
  });
  await importPackaged(t, e2e, "debian-installer");
  await e2e.boot("machine", "add", "s1", "--mac", "52:54:00:77:00:01");
  await e2e.boot("s1", "debian-installer", "--once");
  const machine = await e2e.lab.powerOn({
    name: "s1",
    mac: "52:54:00:77:00:01",
    firmware: "bios",
    memoryMiB: 768,
  });
  await e2e.waitForEvent("the end of its boot", (event) => event.type === "boot.ended");
  t.match(
    await e2e.newestBoot("s1"),
    { outcome: "local", target: "debian-installer" },
    "nothing more is heard of it",
  );
  // Its questions are on no screen here: the lab has no graphics.
  await machine.waitForScreen("Run /init as init process");
  t.match(machine.screen, /BOOTIF=01-52-54-00-77-00-01/, "it is told which card it came by");
  await machine.powerOff();
});

import t from "tap";
import { createE2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

/** In the place of the initramfs's own first process: it names what came with the second initrd, and ends. */
const lookRole = `extends: worker
description: Lists what the initrd of the node brought.
nodeRam: 1 GiB
arguments: [rdinit=/bin/busybox, "--", find, /rollcall/node/etc/sysusers.d]
`;

const firmwares = ["bios", "uefi", "uefi-secure-boot", "uefi-http-secure-boot"] as const;

t.test("each loader gives the kernel the node's initrd beside that of the image", async (t) => {
  const image = await ensureImage(t);
  const rolesDir = t.testdir({ look: { "role.yaml": lookRole } });
  const e2e = await createE2eLab(t, {
    config: `${authoritativeConfig}rolesDir: ${rolesDir}\ncluster: { kubernetesVersion: 1.31.0 }\n`,
    bridges: { br0: "10.77.0.1/24" },
  });
  const macs = Object.fromEntries(firmwares.map((name, index) => [name, `52:54:00:77:01:0${index}`]));
  await prepare(e2e, image, macs);
  for (const firmware of firmwares) {
    await e2e.boot(firmware, "look");
    const machine = await e2e.lab.powerOn({
      name: firmware,
      mac: macs[firmware] ?? "",
      firmware,
      memoryMiB: 1536,
    });
    await e2e.waitForStep(firmware, "initrd");
    await machine.waitForScreen("/rollcall/node/etc/sysusers.d/u7s.conf");
    const { steps } = await e2e.newestBoot(firmware);
    t.match(
      steps.map(({ step }) => step).filter((step) => ["kernel", "node", "initrd"].includes(step)),
      ["kernel", "node", "initrd"],
      firmware,
    );
    await machine.powerOff();
  }
});

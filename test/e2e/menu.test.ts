import t from "tap";
import { createE2eLab, type E2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

/** As an administrator allows more to be chosen than the shipped menu has. */
const menuRole = `extends: menu
parameters:
  roles: { type: "string[]", default: [local, rescue], description: What may be chosen. }
  timeoutSeconds: { type: integer, default: 20, description: How long it waits. }
`;

async function labWithMenu(t: Parameters<typeof createE2eLab>[0]): Promise<E2eLab> {
  const image = await ensureImage(t);
  const rolesDir = t.testdir({ menu: { "role.yaml": menuRole } });
  const e2e = await createE2eLab(t, {
    config: `${authoritativeConfig}rolesDir: ${rolesDir}\nunknownMachines: menu\n`,
    bridges: { br0: "10.77.0.1/24" },
  });
  await prepare(e2e, image, {});
  return e2e;
}

const picked = (e2e: E2eLab, machine: string, role: string) =>
  e2e.waitForEvent(
    `${machine} chose ${role}`,
    (event) => event.type === "menu.picked" && event.machine === machine && event.data["role"] === role,
  );

t.test(
  "BIOS: an unknown machine shows the menu; a key chooses, and without one the default boots",
  async (t) => {
    const e2e = await labWithMenu(t);
    const power = (mac: string) => e2e.lab.powerOn({ name: mac, mac, firmware: "bios", memoryMiB: 1536 });

    const chooser = await power("52:54:00:77:00:01");
    await chooser.waitForScreen("2 rescue: A Debian system in RAM");
    t.match(chooser.screen, /what shall m-525400770001 boot\?/, "it asks");
    t.match(chooser.screen, "1 local: ", "with a digit for each role");
    chooser.type("2");
    await picked(e2e, "m-525400770001", "rescue");
    const boot = await e2e.waitForStep("m-525400770001", "kernel");
    t.equal(boot.target, "rescue", "the role that was chosen is the one that boots");
    await chooser.powerOff();

    const silent = await power("52:54:00:77:00:02");
    await picked(e2e, "m-525400770002", "local");
    await e2e.waitForEvent(
      "the end of its boot",
      (event) => event.type === "boot.ended" && event.machine === "m-525400770002",
    );
    t.match(await e2e.newestBoot("m-525400770002"), { outcome: "local", target: "local" }, "the default");
    await silent.powerOff();
  },
);

t.test("Secure Boot: GRUB counts down to the default, Escape goes on to the next role", async (t) => {
  const e2e = await labWithMenu(t);
  const machine = await e2e.lab.powerOn({
    name: "u1",
    mac: "52:54:00:77:00:03",
    firmware: "uefi-secure-boot",
    memoryMiB: 1536,
  });
  await machine.waitForScreen("In 20 s: local: The machine goes on with its local disk");
  machine.type("\u001b");
  await machine.waitForScreen("In 5 s: rescue: A Debian system in RAM");
  await picked(e2e, "m-525400770003", "rescue");
  await e2e.waitForStep("m-525400770003", "kernel");
  t.pass("the signed kernel of the role is loaded");
  await machine.powerOff();
});

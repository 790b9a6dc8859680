import { join } from "node:path";
import { writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import type { VirtualFirmware } from "../../server/demo/virtual-lab.ts";
import { createE2eLab, type E2eLab, type EventView } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

const greeting = "The disk speaks.";

/** A master boot record that greets through the BIOS (int 10h) and halts; or a disk with nothing on it. */
function writeDisk(e2e: E2eLab, content: "greeting" | "nothing"): string {
  const file = join(e2e.lab.directory, `${content}.img`);
  const disk = Buffer.alloc(1024 * 1024);
  if (content === "greeting") {
    // xor ax,ax; mov ds,ax; cld; mov si,0x7c19; lodsb; or al,al; jz hlt; mov ah,0x0e; mov bx,7; int 10h; jmp lodsb; hlt; jmp hlt
    Buffer.from("31c08ed8fcbe197cac08c07409b40ebb0700cd10ebf2f4ebfd", "hex").copy(disk);
    disk.write(`${greeting}\r\n\0`, 25, "latin1");
    disk.writeUInt16BE(0x55aa, 510);
  }
  writeFileSync(file, disk);
  return file;
}

/** OVMF goes on to what follows in its boot order. */
const whatFollows = /Start PXE over IPv6|BdsDxe: starting Boot\w+ "(?!UEFI PXE)[^"\n]*"/;

/** A text that the 80 columns of the screen may break anywhere. */
function wrapped(text: string): RegExp {
  return new RegExp(Array.from(text, (character) => character.replace(/[().]/, "\\$&")).join("\\n?"));
}

async function localLab(test: Test, words: readonly string[], config = authoritativeConfig) {
  const e2e = await createE2eLab(test, { config, bridges: { br0: "10.77.0.1/24" } });
  const mac = "52:54:00:77:00:01";
  await e2e.boot("machine", "add", "s1", "--mac", mac, ...words);
  await e2e.boot("s1", "local");
  const powerOn = (firmware: VirtualFirmware, content: "greeting" | "nothing") =>
    e2e.lab.powerOn({ name: "s1", mac, firmware, memoryMiB: 256, disk: writeDisk(e2e, content) });
  return { e2e, powerOn };
}

t.test(
  "BIOS, role local by `exit`: the firmware goes on in its boot order and starts the disk",
  async (t) => {
    const { e2e, powerOn } = await localLab(t, []);
    const machine = await powerOn("bios", "greeting");
    await machine.waitForScreen(greeting);
    t.match(machine.screen, /Rollcall: s1 boots from its local disk[\s\S]*Booting from Hard Disk/);
    t.equal((await e2e.newestBoot("s1")).outcome, "local");
    t.match(await e2e.boot("machine", "show", "s1"), /local boot +exit \(config\)/);
  },
);

t.test("BIOS, role local by `sanboot`: iPXE itself starts the disk", async (t) => {
  const { e2e, powerOn } = await localLab(t, ["--local-boot", "sanboot"]);
  const machine = await powerOn("bios", "greeting");
  await machine.waitForScreen(greeting);
  t.match(machine.screen, /Rollcall: s1 boots from its first disk/);
  t.notMatch(machine.screen, /Booting from Hard Disk/, "not the firmware");
  t.match(await e2e.boot("machine", "show", "s1"), /local boot +sanboot \(machine\)/);
});

t.test("BIOS, `sanboot` of an empty disk: the machine says so, and its firmware goes on", async (t) => {
  const { powerOn } = await localLab(t, ["--local-boot", "sanboot"]);
  const machine = await powerOn("bios", "nothing");
  await machine.waitForScreen("sanboot could not start the first disk");
  await machine.waitForScreen(/Booting from Hard Disk[\s\S]*No bootable device/);
});

t.test(
  "BIOS, role local by `http-404`: its iPXE finds no script, and the firmware starts the disk",
  async (t) => {
    const { e2e, powerOn } = await localLab(t, ["--local-boot", "http-404"]);
    const machine = await powerOn("bios", "greeting");
    await machine.waitForScreen(greeting);
    t.notMatch(machine.screen, /Rollcall:/, "no script of ours ran");
    const boot = await e2e.newestBoot("s1");
    t.equal(boot.outcome, "local");
    t.match(boot.steps.at(-1), { step: "contact", detail: { refused: "http-404" } });
  },
);

t.test(
  "a script that can't be loaded is tried again, later each time, until there is another one",
  async (t) => {
    const { e2e, powerOn } = await localLab(t, []);
    await e2e.boot("s1", "http://10.77.0.1:8080/nothing-here.ipxe");
    const machine = await powerOn("bios", "greeting");
    for (const failure of [1, 2, 3]) {
      await machine.waitForScreen(wrapped(`could not be loaded (failure ${failure} of 30). Next try in `));
      t.comment(`failure ${failure} is told`);
    }
    await e2e.boot("s1", "local");
    await machine.waitForScreen(greeting);
  },
);

t.test(
  "UEFI, role local by `http-404`: nothing of ours runs, and the firmware goes on in its boot order",
  async (t) => {
    const { e2e, powerOn } = await localLab(t, ["--local-boot", "http-404", "--driver", "snponly"]);
    const machine = await powerOn("uefi", "nothing");
    const atDisk = (event: EventView) => event.type === "boot.ended" && event.data["outcome"] === "local";
    await e2e.waitForEvent("the boot's end", atDisk);
    await machine.waitForScreen(whatFollows);
    t.notMatch(machine.screen, /Rollcall:/);
  },
);

t.test(
  "UEFI behind GRUB, role local by `http-404`: GRUB would stop at its prompt without a file, so it is told to exit",
  async (t) => {
    const { powerOn } = await localLab(t, ["--local-boot", "http-404"]);
    const machine = await powerOn("uefi", "nothing");
    await machine.waitForScreen(whatFollows);
    t.match(
      machine.screen,
      /Fetching Netboot Image grubx64\.efi[\s\S]*Rollcall: s1 boots from its local disk/,
    );
  },
);

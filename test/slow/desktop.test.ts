import { existsSync, readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { createE2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

/** QEMU's picture of the screen, as PPM: a short header, then three octets for each pixel. */
async function picture(monitor: string, file: string): Promise<Buffer> {
  const socket = createConnection(monitor);
  socket.write(`screendump ${file}\n`);
  let said = "";
  // The prompt comes back when the file is written.
  for await (const chunk of socket) {
    said += String(chunk);
    if (said.split("(qemu) ").length > 2) break;
  }
  return existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
}

/** A text console has some 16 colours; the pictures and soft edges of a desktop have hundreds. */
function countColours(ppm: Buffer): number {
  const colours = new Set<number>();
  for (let at = 16; at + 2 < ppm.length; at += 3) colours.add(ppm.readUIntBE(at, 3));
  return colours.size;
}

t.test(
  "the role desktop: a machine without a disk comes up with a desktop, and nobody logged in",
  async (t) => {
    const image = await ensureImage(t, "debian-desktop");
    const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
    const mac = "52:54:00:77:02:01";
    await prepare(e2e, image, { d1: mac });
    await e2e.boot("d1", "desktop");
    const monitor = join(e2e.lab.directory, "monitor");
    await e2e.lab.powerOn({ name: "d1", mac, firmware: "bios", memoryMiB: 3072, monitor });
    await e2e.waitForEvent(
      "ready",
      (event) => event.type === "machine.phase" && event.machine === "d1" && event.data["to"] === "ready",
      10 * 60_000,
    );
    t.comment("ready; waiting for colours on the screen");
    const file = process.env["SCREENSHOT"] ?? join(e2e.lab.directory, "screen.ppm");
    const until = Date.now() + 4 * 60_000;
    let colours = 0;
    while (colours < 300 && Date.now() < until) {
      await delay(2000);
      colours = countColours(await picture(monitor, file));
    }
    t.ok(colours >= 300, `${colours} colours on the screen`);
  },
);

import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { resolve } from "node:path";
import t from "tap";
import { createLineWriter } from "../../server/platform/line-writer.ts";

/** A device that takes as many octets as it has room for. */
function createDevice() {
  const device = {
    text: "",
    room: Number.POSITIVE_INFINITY,
    write(_fd: number, octets: Uint8Array): number {
      if (device.room <= 0) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
      const taken = octets.subarray(0, device.room);
      device.room -= taken.length;
      device.text += Buffer.from(taken).toString();
      return taken.length;
    },
  };
  return device;
}
const notice = (dropped: number) => `${dropped} lost\n`;

t.test("lines that can't be written are dropped and counted, and the next that can be says so", (t) => {
  const device = createDevice();
  const writer = createLineWriter(2, notice, device.write);
  writer.write("one\n");
  device.room = 0;
  writer.write("two\n");
  writer.write("three\n");
  t.equal(writer.dropped, 2);
  device.room = Number.POSITIVE_INFINITY;
  writer.write("four\n");
  writer.write("five\n");
  t.equal(device.text, "one\n2 lost\nfour\nfive\n");
  t.equal(writer.dropped, 0);
  t.end();
});

t.test("a line that was cut off does not run into the next", (t) => {
  const device = createDevice();
  const writer = createLineWriter(2, notice, device.write);
  device.room = 2;
  writer.write("one\n");
  device.room = Number.POSITIVE_INFINITY;
  writer.write("two\n");
  t.equal(device.text, "on\n1 lost\ntwo\n");
  t.end();
});

t.test("a line is written in as many parts as the device takes it", (t) => {
  const device = createDevice();
  const writer = createLineWriter(2, notice, (fd, octets) => device.write(fd, octets.subarray(0, 3)));
  writer.write("ein Gerät\n");
  t.equal(device.text, "ein Gerät\n");
  t.end();
});

t.test("a process goes on whose log is on a full device, or has lost its reader", async (t) => {
  const logger = resolve(import.meta.dirname, "../../server/platform/logger.ts");
  const program = `import { createLogger } from ${JSON.stringify(logger)};
    const log = createLogger("info");
    let count = 0;
    const timer = setInterval(() => {
      log.info({ count }, "a line");
      if (++count === 20) { clearInterval(timer); console.log("went on"); }
    }, 5);`;
  const words = ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", program];
  for (const place of ["full device", "no reader"] as const) {
    const log = place === "full device" ? openSync("/dev/full", "w") : "pipe";
    const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", log] });
    child.stderr?.destroy();
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    t.same(await once(child, "close"), [0, null], place);
    t.equal(output, "went on\n");
  }
});

import t from "tap";
import { createE2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import { dropAtRandom } from "../support/lossy-room.ts";

t.test("slow: a BIOS machine boots to its kernel though 5 % of all frames are lost, each way", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: authoritativeConfig, bridges: { br0: "10.77.0.1/24" } });
  await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
  await e2e.boot("s1", "worker");
  const began = performance.now();
  const machine = await e2e.lab.powerOn({
    name: "s1",
    mac: "52:54:00:77:00:01",
    firmware: "bios",
    memoryMiB: 1536,
  });
  // The first machine's cable is tap0; nothing was said on it yet, since its firmware takes a while to start.
  const lost = await dropAtRandom(e2e.lab.run, ["tap0"], 5);
  await e2e.waitForStep("s1", "kernel");
  t.comment(`kernel asked for after ${Math.round(performance.now() - began)} ms`);
  await e2e.waitForStep("s1", "initrd");
  await machine.waitForScreen("Linux version");
  t.comment(`kernel runs after ${Math.round(performance.now() - began)} ms`);
  const boots = await e2e.boots("s1");
  t.equal(boots.length, 1, "it is one boot, however often the firmware had to ask");
  const steps = boots[0]?.steps.map(({ step }) => step) ?? [];
  for (const step of ["ipxe-dhcp", "contact", "script", "kernel", "initrd"])
    t.ok(steps.includes(step), `it passed ${step}`);
  const count = await lost();
  t.ok(count > 100, `${count} frames were lost`);
});

import t from "tap";
import { createBootLab } from "./support/boot-lab.ts";
import { addressOf, macOf } from "./support/samples.ts";

const minutes = 60_000;

t.test("timelines", async (t) => {
  t.test(
    "BIOS: DISCOVER, OFFER, REQUEST, TFTP, iPXE, script: one boot, each station with the server's time",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.assign("s1", "worker");
      await lab.dhcp(1);
      lab.clock.advanceMs(1000);
      await lab.dhcp(1, { message: "REQUEST", reply: "ACK", serverMs: 0.25 });
      lab.tftp(1, { file: "undionly.kpxe" });
      await lab.dhcp(1, { speaker: "ipxe" });
      await lab.dhcp(1, { speaker: "ipxe", message: "REQUEST", reply: "ACK" });
      await lab.script(1);
      await lab.settle();
      t.same(lab.stepsOf("s1"), ["discover", "offer", "request", "nbp", "ipxe-dhcp", "ipxe-dhcp"]);
      t.match(lab.boot("s1").steps[2], {
        serverMs: 0.25,
        at: lab.clock.now(),
        detail: { bootfile: "snponly.efi" },
      });
      t.equal(lab.of("boot.started").length, 1);
      t.equal(lab.boot("s1").target, "worker");
      t.equal(lab.machine("s1").phase, "netbooting");
    },
  );
  t.test(
    "UEFI that begins its DHCP anew, asks on 4011 and probes the size by TFTP: still one boot",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.dhcp(1);
      await lab.dhcp(1, { secs: 4 });
      await lab.dhcp(1, { message: "REQUEST", reply: "ACK" });
      await lab.dhcp(1, { message: "REQUEST", reply: "ACK", port: 4011 });
      lab.tftp(1, { outcome: "cancelled" });
      lab.tftp(1);
      t.same(lab.stepsOf("s1"), ["discover", "offer", "offer", "request", "request", "nbp"]);
      t.equal(lab.boot("s1").steps[4]?.detail["port"], 4011);
      t.equal(lab.of("boot.started").length, 1);
    },
  );
  t.test("iPXE from a card's ROM comes with no firmware before it", async (t) => {
    const lab = await createBootLab(t);
    await lab.dhcp(1, { speaker: "ipxe" });
    await lab.script(1);
    t.same(lab.stepsOf("m-525400000001"), ["ipxe-dhcp"]);
    t.equal(lab.of("boot.started").length, 1);
  });
  t.test("DHCP of an operating system is no boot and makes no machine", async (t) => {
    const lab = await createBootLab(t);
    await lab.dhcp(1, { speaker: "os", firmware: undefined });
    t.equal(lab.store.machines.count(), 0);
    t.equal(lab.boots.machineAt(addressOf(1)), undefined);
  });
  t.test("a transfer from an address that nobody holds is nobody's step", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.dhcp(1);
    lab.tftp(2);
    t.same(lab.stepsOf("s1"), ["discover", "offer"]);
  });
});

t.test("where a boot ends and the next begins", async (t) => {
  t.test(
    "switched off after the first-stage binary: the next DISCOVER is a new boot, the old one says where it stopped",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.dhcp(1);
      lab.tftp(1);
      const first = lab.boot("s1").id;
      lab.clock.advanceMs(3000);
      await lab.dhcp(1);
      await lab.settle();
      t.not(lab.boot("s1").id, first);
      t.match(lab.store.boots.find(first), {
        outcome: "abandoned",
        verdict: /after the step nbp/,
        endedAt: lab.clock.now(),
      });
      t.equal(lab.store.boots.running().length, 1);
    },
  );
  t.test(
    "a DISCOVER that is repeated within five minutes is the same boot, later it is another",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.dhcp(1);
      const first = lab.boot("s1").id;
      lab.clock.advanceMs(5 * minutes);
      await lab.dhcp(1);
      t.equal(lab.boot("s1").id, first);
      lab.clock.advanceMs(5 * minutes + 1);
      await lab.dhcp(1);
      t.not(lab.boot("s1").id, first);
    },
  );
  t.test(
    "reset after the kernel was loaded: iPXE's DHCP announces a new boot, the machine's own request begins it",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.dhcp(1, { speaker: "ipxe" });
      lab.tracker.step(lab.machine("s1").id, "kernel");
      const first = lab.boot("s1").id;
      await lab.dhcp(1, { speaker: "ipxe" });
      t.equal(lab.boot("s1").id, first, "anybody can send a DISCOVER");
      await lab.script(1);
      t.not(lab.boot("s1").id, first);
      t.same(lab.stepsOf("s1"), ["ipxe-dhcp"], "its timeline begins with the DHCP that announced it");
    },
  );
  t.test(
    "forged DISCOVERs of a machine that boots or is ready change nothing, and are forgotten",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      await lab.assign("s1", "worker");
      await lab.dhcp(1, { speaker: "ipxe" });
      const claim = await lab.claim(1);
      lab.tracker.step(lab.machine("s1").id, "kernel");
      for (let count = 0; count < 10; count++) {
        await lab.dhcp(1);
        await lab.dhcp(1, { speaker: "ipxe" });
      }
      t.ok((await lab.config(claim, 1)).text, "its claim holds");
      await lab.boots.joined(claim, addressOf(1));
      await lab.settle();
      t.equal(lab.machine("s1").phase, "ready");
      await lab.dhcp(1);
      await lab.settle();
      t.equal(lab.machine("s1").phase, "ready");
      t.match(lab.boot("s1"), { outcome: "ready" });
      lab.clock.advanceMs(6 * 60_000);
      t.equal((await lab.script(1)).error?.code, "BOOT_NOT_OPEN", "a DISCOVER of long ago opens nothing");
    },
  );
  t.test("a machine that is ready gets no second script until it was seen to start anew", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    const claim = await lab.claim(1);
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    const again = await lab.script(1);
    t.equal(again.error?.code, "BOOT_NOT_OPEN");
    t.notMatch(again.script, /claims/);
    await lab.settle();
    t.equal(lab.machine("s1").phase, "ready");
    await lab.dhcp(1, { speaker: "ipxe" });
    t.match((await lab.script(1)).script, /claims/);
  });
  t.test("where DHCP is switched off here, the script's request stands for the start", async (t) => {
    const lab = await createBootLab(t, { hearsDhcp: false });
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    await lab.boots.joined(await lab.claim(1), addressOf(1));
    await lab.settle();
    t.match((await lab.script(1)).script, /claims/);
  });
  t.test("a machine that waits asks for hours and it is one boot", async (t) => {
    const lab = await createBootLab(t);
    for (let poll = 0; poll < 300; poll++) {
      await lab.script(1);
      lab.clock.advanceMs(30_000);
      lab.tracker.sweep();
    }
    t.equal(lab.of("boot.started").length, 1);
    t.match(lab.boot("m-525400000001"), { outcome: "running" });
    t.equal(lab.machine("m-525400000001").phase, "discovered");
  });
  t.test("silence for 15 minutes: the machine is lost, the verdict names the last station", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    await lab.claim(1);
    await lab.settle();
    lab.tracker.step(lab.machine("s1").id, "script");
    lab.clock.advanceMs(15 * minutes - 1);
    lab.tracker.sweep();
    t.equal(lab.boot("s1").outcome, "running");
    lab.clock.advanceMs(1);
    lab.tracker.sweep();
    await lab.settle();
    t.equal(lab.machine("s1").phase, "lost");
    t.match(lab.boot("s1"), {
      outcome: "abandoned",
      verdict: /no sign of life for 15 minutes after the step script/,
    });
    t.same(
      lab.boot("s1").phases.map(({ phase }) => phase),
      ["assigned", "netbooting", "lost"],
    );
  });
  t.test("silence after the script of somebody's own: it was handed over, and is not lost", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", { kind: "url", url: "http://10.0.0.9/own.ipxe" });
    await lab.script(1);
    await lab.settle();
    lab.tracker.step(lab.machine("s1").id, "script");
    lab.clock.advanceMs(15 * minutes);
    lab.tracker.sweep();
    await lab.settle();
    t.match(lab.boot("s1"), { outcome: "handed-over", target: "http://10.0.0.9/own.ipxe" });
    t.equal(lab.machine("s1").phase, "ready");
  });
  t.test("a sign of life, even a progress report, puts that off", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.dhcp(1);
    lab.clock.advanceMs(14 * minutes);
    lab.tracker.report(lab.machine("s1").id, { step: "rootfs", doneBytes: 1, totalBytes: 2 });
    lab.clock.advanceMs(14 * minutes);
    lab.tracker.sweep();
    t.equal(lab.boot("s1").outcome, "running");
    t.match(lab.tracker.progress(lab.machine("s1").id), { doneBytes: 1 });
  });
  t.test("a boot goes on over a restart of the server, and is lost if nothing comes after it", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.dhcp(1);
    lab.tracker.flush();
    await lab.settle();
    const restarted = lab.makeTracker();
    const id = lab.machine("s1").id;
    t.same(
      restarted.current(id)?.steps.map(({ step }) => step),
      lab.stepsOf("s1"),
    );
    t.equal(restarted.contact(lab.machine("s1"), macOf(1), "firmware")?.id, lab.boot("s1").id);
    lab.clock.advanceMs(15 * minutes);
    restarted.sweep();
    await lab.settle();
    t.equal(restarted.current(id)?.outcome, "abandoned");
  });
  t.test(
    "a machine in a loop does not grow its boot without end, and what is new is noted all the same",
    async (t) => {
      const lab = await createBootLab(t);
      await lab.add(1, "s1");
      const { id } = lab.machine("s1");
      for (let turn = 0; turn < 1000; turn++) await lab.dhcp(1);
      t.equal(lab.boot("s1").steps.length, 200);
      lab.tracker.step(id, "kernel");
      t.ok(lab.tracker.hasStep(id, "kernel"));
      lab.tracker.advance(id, "netboot.begun");
      for (let turn = 0; turn < 300; turn++) {
        lab.tracker.fault(id, "X: again");
        lab.tracker.advance(id, "kernel.requested");
        await lab.store.probe();
      }
      t.ok(lab.boot("s1").phases.length <= 100, `${lab.boot("s1").phases.length} phases`);
    },
  );
  t.test("steps are written together a moment later, an end at once", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.dhcp(1);
    await lab.settle();
    const stored = () => lab.store.boots.find(lab.boot("s1").id);
    t.same(stored()?.steps, []);
    lab.clock.advanceMs(2000);
    await lab.settle();
    t.equal(stored()?.steps.length, 2);
    t.equal(lab.clock.pendingTimers, 0);
  });
  t.test("a removed machine leaves no timer behind", async (t) => {
    const lab = await createBootLab(t);
    const machine = await lab.add(1, "s1");
    await lab.dhcp(1);
    await lab.inventory.remove(machine, "anna");
    t.equal(lab.clock.pendingTimers, 0);
    t.equal(lab.tracker.current(machine.id), undefined);
  });
});

t.test("the callback", async (t) => {
  t.test("makes the machine ready and ends its boot as ready", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    const claim = await lab.claim(1);
    await lab.config(claim, 1);
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    t.equal(lab.machine("s1").phase, "ready");
    t.match(lab.boot("s1"), { outcome: "ready", verdict: undefined, endedAt: lab.clock.now() });
    t.same(
      lab.boot("s1").phases.map(({ phase }) => phase),
      ["assigned", "netbooting", "configuring", "ready"],
    );
  });
  t.test("twice, or two at once, is the same as once", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker", "once");
    const claim = await lab.claim(1);
    await Promise.all([lab.boots.joined(claim, addressOf(1)), lab.boots.joined(claim, addressOf(1))]);
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    t.equal(lab.of("assignment.used").length, 1);
    t.same(lab.stepsOf("s1"), ["callback"]);
    t.equal(lab.of("boot.ended").length, 1);
  });
  t.test("is answered when all that follows from it is on the disk", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker", "once");
    const claim = await lab.claim(1);
    const { id } = lab.boot("s1");
    await lab.boots.joined(claim, addressOf(1));
    t.equal(lab.store.boots.find(id)?.outcome, "ready");
  });
  t.test("that the end of the server cut in two is whole when it is repeated", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker", "once");
    const claim = await lab.claim(1);
    await lab.claims.spend(lab.claims.use(claim, addressOf(1), { kind: "report" }, "its callback"));
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    t.equal(lab.of("assignment.used").length, 1, "else it would install itself again at its next boot");
    t.match(lab.boot("s1"), { outcome: "ready" });
    t.equal(lab.machine("s1").phase, "ready");
  });
  t.test("after a fault takes the fault back: the boot ended well", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    const claim = await lab.claim(1);
    await lab.settle();
    lab.tracker.fault(lab.machine("s1").id, "DOWNLOAD_FAILED: broken pipe");
    await lab.settle();
    t.equal(lab.machine("s1").phase, "failed");
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    t.match(lab.boot("s1"), { outcome: "ready", verdict: undefined });
    t.equal(lab.machine("s1").phase, "ready");
  });
  t.test("a fault and then another power-on: that boot failed, and says why", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    await lab.claim(1);
    const first = lab.boot("s1").id;
    lab.tracker.step(lab.machine("s1").id, "kernel");
    lab.tracker.fault(lab.machine("s1").id, "NO_SPACE: 512 MB are too few");
    await lab.dhcp(1);
    await lab.script(1);
    await lab.settle();
    t.match(lab.store.boots.find(first), { outcome: "failed", verdict: "NO_SPACE: 512 MB are too few" });
  });
  t.test("of a boot before the current one says nothing of the current one", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    const claim = await lab.claim(1);
    lab.tracker.step(lab.machine("s1").id, "kernel");
    await lab.dhcp(1);
    lab.tftp(1);
    t.equal(lab.boots.reporter(claim, addressOf(1), "its log").isCurrent, false);
    await lab.boots.joined(claim, addressOf(1));
    await lab.settle();
    t.match(lab.boot("s1"), { outcome: "running" });
    t.same(lab.stepsOf("s1"), ["discover", "offer", "nbp"]);
    t.not(lab.machine("s1").phase, "ready");
  });
});

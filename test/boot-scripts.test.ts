import { resolve } from "node:path";
import { restartIntoIpxe } from "../server/boot/grub-config.ts";
import { createRenderer, loadStandardTemplates } from "../server/render/documents.ts";
import t from "tap";
import type { MachineFacts } from "../server/inventory/machine-input.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { addressOf, macOf, sampleImage } from "./support/samples.ts";

const arp = (...lines: string[]) =>
  ["IP address       HW type     Flags       HW address            Mask     Device", ...lines, ""].join("\n");
const arpLine = (number: number, mac: number, flags = "0x2") =>
  `${addressOf(number)}         0x1         ${flags}         ${macOf(mac)}     *        eth0`;

t.test("an assignment for one boot", async (t) => {
  async function once(
    t: Parameters<typeof createBootLab>[0],
    target: Parameters<BootLabAssign>[1] = "rescue",
  ) {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    lab.clock.advanceMs(1);
    await lab.assign("s1", target, "once");
    const source = () => lab.boots.select(lab.machine("s1")).source;
    return { lab, source };
  }
  type BootLabAssign = Awaited<ReturnType<typeof createBootLab>>["assign"];

  t.test("is used up by the callback, not by DHCP, TFTP, the script or a config", async (t) => {
    const { lab, source } = await once(t);
    await lab.dhcp(1);
    lab.tftp(1);
    await lab.dhcp(1, { speaker: "ipxe" });
    const claim = await lab.claim(1);
    await lab.config(claim, 1);
    t.equal(source(), "once");
    await lab.boots.joined(claim, addressOf(1));
    t.equal(source(), "machine");
    t.match(lab.of("assignment.used"), [{ data: { target: { role: "rescue" } } }]);
  });
  t.test("outlives a boot that was switched off half-way", async (t) => {
    const { lab, source } = await once(t);
    await lab.claim(1);
    lab.tracker.step(lab.machine("s1").id, "kernel");
    await lab.dhcp(1);
    t.equal(source(), "once");
    t.match((await lab.script(1)).script, /into the role rescue/);
  });
  t.test("that was given while the machine was booting is not used up by that boot", async (t) => {
    const { lab, source } = await once(t, "rescue");
    const claim = await lab.claim(1);
    lab.clock.advanceMs(1000);
    await lab.assign("s1", "master", "once");
    await lab.boots.joined(claim, addressOf(1));
    t.equal(source(), "once");
    t.match(lab.boots.select(lab.machine("s1")).target, { role: "master" });
  });
  t.test("of the local disk is used up by its script, for nothing comes after that", async (t) => {
    const { lab, source } = await once(t, "local");
    t.match((await lab.script(1)).script, /\nexit 1\n/);
    await lab.settle();
    t.equal(source(), "machine");
    t.equal(lab.boot("s1").outcome, "local");
    t.match((await lab.script(1)).script, /into the role worker/);
  });
  t.test(
    "of a script of one's own is used up by the next power-on, for such a script calls nobody",
    async (t) => {
      const { lab, source } = await once(t, { kind: "url", url: "http://10.1.0.9/my.ipxe" });
      await lab.dhcp(1);
      t.match((await lab.script(1)).script, /chain .*http:\/\/10\.1\.0\.9\/my\.ipxe/);
      lab.tracker.step(lab.machine("s1").id, "script");
      t.match((await lab.script(1)).script, /my\.ipxe/, "it asks again where the first answer was lost");
      t.equal(source(), "once");
      lab.tftp(1);
      await lab.dhcp(1);
      t.equal(source(), "machine");
      t.match((await lab.script(1)).script, /into the role worker/);
    },
  );
});

t.test("meeting machines", async (t) => {
  t.test("two contacts of one MAC at once make one machine and one boot", async (t) => {
    const lab = await createBootLab(t);
    await Promise.all([lab.dhcp(1), lab.dhcp(1, { port: 4011, message: "REQUEST" }), lab.script(1)]);
    t.equal(lab.store.machines.count(), 1);
    t.equal(lab.of("machine.discovered").length, 1);
    t.equal(lab.of("boot.started").length, 1);
  });
  t.test(
    "an unknown one waits, is told how to be given a role, and boots the moment it is assigned",
    async (t) => {
      const lab = await createBootLab(t);
      const first = await lab.script(1);
      t.match(first.script, /^#!ipxe\n[\s\S]*\n:wait\n[\s\S]*boot m-525400000001 worker/);
      t.notMatch(first.script, /callback|claims/);
      await lab.assign("m-525400000001", "worker");
      t.match(
        (await lab.script(1)).script,
        /kernel http:\/\/10\.1\.0\.1:8080\/assets\/[0-9a-f]{64}\/vmlinuz /,
      );
    },
  );
  t.test("unknownMachines local: it goes on with its disk, and is known from then on", async (t) => {
    const lab = await createBootLab(t, { unknownMachines: "local" });
    t.match((await lab.script(1)).script, /^#!ipxe\n[\s\S]*exit 1\n/);
    t.equal(lab.store.machines.count(), 1);
  });
  t.test(
    "unknownMachines ignore: nothing is written down, also where it asks for a script all the same",
    async (t) => {
      const lab = await createBootLab(t, { unknownMachines: "ignore" });
      t.notOk(lab.boots.mayNetboot(macOf(1)));
      await lab.dhcp(1);
      t.match((await lab.script(1)).script, /^#!ipxe\n[\s\S]*exit 1\n/);
      t.equal(lab.store.machines.count(), 0);
      t.same(lab.events, []);
      await lab.add(2, "s2");
      t.ok(lab.boots.mayNetboot(macOf(2)));
    },
  );
  t.test("the default role is for whoever has no other", async (t) => {
    const lab = await createBootLab(t, { defaultRole: "rescue" });
    await lab.add(1, "s1");
    t.match((await lab.script(1)).script, /role rescue/);
    await lab.settle();
    t.equal(lab.machine("s1").phase, "netbooting");
  });
  t.test("more than 2000 unknown ones are not written down, and known ones boot all the same", async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await Promise.all(Array.from({ length: 2000 }, (_, index) => lab.inventory.meet(macOf(100 + index), {})));
    t.match(await lab.script(50), {
      script: /^#!ipxe\n/,
      error: { code: "MACHINE_NOT_FOUND" },
      machine: undefined,
    });
    t.equal(lab.store.machines.count(), 2001);
    t.equal((await lab.script(1)).error, undefined);
  });
  t.test("what a machine says of itself is cut, cleaned, and no script", async (t) => {
    const lab = await createBootLab(t);
    const facts = {
      serial: `\u001b[2J\u202eevil\n\${shell} ${"x".repeat(300)}`,
      manufacturer: "  ",
      product: "a\0b",
    };
    await lab.script(1, { facts });
    const machine = lab.machine("m-525400000001");
    t.match(machine.serial, /^\[2Jevil\$\{shell\} x+$/);
    t.equal(machine.serial?.length, 120);
    t.equal(machine.manufacturer, undefined);
    t.equal(machine.product, "ab");
    await lab.script(1, { facts: {} });
    t.equal(lab.machine("m-525400000001").product, "ab", "silence takes nothing away");
  });
  t.test("a UUID that whole production runs share is none", async (t) => {
    const lab = await createBootLab(t);
    await lab.script(1, { facts: { uuid: "03000200-0400-0500-0006-000700080009" as never } });
    t.equal(lab.machine("m-525400000001").uuid, undefined);
  });
});

t.test("who asks", async (t) => {
  t.test(
    "an address of another MAC by the neighbour table gets a script without a claim, and an alarm",
    async (t) => {
      const lab = await createBootLab(t, { neighbours: () => arp(arpLine(1, 1), arpLine(2, 2)) });
      await lab.add(1, "s1");
      await lab.assign("s1", "worker");
      const claim = await lab.claim(1);
      await lab.settle();
      const steps = lab.stepsOf("s1");
      const stolen = await lab.script(1, { from: 2, facts: { serial: "STOLEN" } });
      await lab.settle();
      t.match(stolen.script, /^#!ipxe\n[\s\S]*MACHINE_MISMATCH/);
      t.notMatch(stolen.script, /callback|claims|kernel/);
      t.match(lab.alarms(), [{ type: "mac.contradicted", machineId: lab.machine("s1").id }]);
      t.equal(lab.machine("s1").serial, undefined, "it can't write into the inventory either");
      t.same([stolen.machine, lab.stepsOf("s1")], [undefined, steps], "nor into the machine's boot");
      t.ok((await lab.config(claim, 1)).text, "the machine's own claim still holds");
    },
  );
  t.test("without a neighbour (behind a router) the leases are the witness", async (t) => {
    const lab = await createBootLab(t, { neighbours: () => "" });
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    lab.addresses.learn(addressOf(2), macOf(2));
    t.equal((await lab.script(1, { from: 2 })).error?.code, "MACHINE_MISMATCH");
    await lab.dhcp(1);
    const { script } = await lab.script(1);
    t.match(script, /claims/, "its DHCP was heard");
    const claim = /\/callback\/([a-z0-9]+)/.exec(script)?.[1] ?? "";
    const stranger = await lab.script(1, { from: 3 });
    t.equal(stranger.error?.code, "MACHINE_UNVERIFIED", "an address that nobody is known to hold");
    t.notMatch(stranger.script, /claims/);
    t.ok((await lab.config(claim, 1)).text, "the machine's own claim holds");
    t.match(lab.alarms().at(-1), { type: "mac.unverified" });
    lab.clock.advanceMs(61 * 60_000);
    t.equal(
      (await lab.script(1)).error?.code,
      "MACHINE_UNVERIFIED",
      "what was seen an hour ago is no witness",
    );
  });
  t.test("a known address can't make up a machine that does not exist", async (t) => {
    const lab = await createBootLab(t, { neighbours: () => arp(arpLine(2, 2)) });
    t.equal((await lab.script(7, { from: 2 })).error?.code, "MACHINE_MISMATCH");
    t.equal(lab.store.machines.count(), 0);
  });
  t.test(
    "any card of the machine may carry its address; entries that are not complete say nothing",
    async (t) => {
      const table = { text: arp(arpLine(1, 11)) };
      const lab = await createBootLab(t, { neighbours: () => table.text });
      await lab.inventory.add({ name: "s1", macs: [macOf(1), macOf(11)] }, "anna");
      t.equal((await lab.script(1)).error, undefined);
      table.text = arp(arpLine(1, 99, "0x0"));
      t.equal((await lab.script(1)).error, undefined, "it was verified before");
      table.text = "no table at all";
      t.equal((await lab.script(1)).error, undefined);
    },
  );
});

t.test("a fault becomes a script that tells it and comes back", async (t) => {
  const roles = {
    "broken/role.yaml": "description: broken\nboot: image\n",
    "strict/role.yaml":
      "description: fails for machines with a seat but no group\nboot: image\nimage: debian-node\ntemplates:\n  user-data: u.hbs\n",
    "strict/u.hbs":
      "#cloud-config\n{{#if machine.seat}}{{#unless machine.group}}{{sh machine.group}}{{/unless}}{{/if}}\n",
    "pc/role.yaml": "description: for PCs only\nboot: wait\narch: [x86_64]\n",
    "poor/role.yaml": "description: no such image\nboot: image\nimage: windows\n",
  };
  type Lab = Awaited<ReturnType<typeof createBootLab>>;
  const learn = (lab: Lab, facts: MachineFacts) => lab.inventory.meet(macOf(1), facts);
  for (const [role, code, prepare] of [
    ["gone", "ROLE_NOT_FOUND"],
    ["broken", "ROLE_INVALID"],
    ["poor", "IMAGE_NOT_FOUND"],
    ["strict", "TEMPLATE_FAILED"],
    ["worker", "ARCH_MISMATCH", (lab) => learn(lab, { arch: "arm64" })],
    ["pc", "ARCH_MISMATCH", (lab) => learn(lab, { arch: "arm64" })],
    ["worker", "MACHINE_TOO_SMALL", (lab) => learn(lab, { ramBytes: 512 * 1024 ** 2 })],
    ["worker", "ASSET_NOT_FOUND", (lab) => lab.missing.add(sampleImage("1").files.rootfs?.sha256 ?? "")],
  ] as [string, string, ((lab: Lab) => unknown)?][]) {
    t.test(
      `${code} (${role}): on the screen, on the timeline's event, and again in a few seconds`,
      async (t) => {
        const lab = await createBootLab(t, { roles });
        await lab.inventory.add({ name: "s1", macs: [macOf(1)], seat: "A1" }, "anna");
        const target = { kind: "role", role, params: {} } as const;
        const subject = { kind: "machine", machineId: lab.machine("s1").id } as const;
        const assignment = {
          id: "as",
          subject,
          target,
          mode: "always",
          assignedAt: 0,
          assignedBy: "anna",
        } as const;
        await lab.store.assignments.saveAll([assignment]);
        await prepare?.(lab);
        const { script, error } = await lab.script(1);
        t.equal(error?.code, code);
        t.match(script, new RegExp(`^#!ipxe\\n[\\s\\S]*echo Rollcall: ${code}\\n`));
        t.match(
          script,
          /\nsleep \d+ \|\|\nchain --replace --autofree http:\/\/10\.1\.0\.1:8080\/boot\/52-54-00-00-00-01\/boot\.ipxe /,
        );
        t.match(script, /What to do: .{10}/);
        t.notMatch(script, /claims|callback\//);
        for (let poll = 0; poll < 20; poll++) await lab.script(1);
        t.match(lab.of("script.failed"), [{ level: "warning", data: { code } }]);
        t.equal(lab.of("script.failed").length, 1, "asked for 21 times, told once");
      },
    );
  }
  t.test("it is told again in the next boot", async (t) => {
    const lab = await createBootLab(t);
    await lab.store.images.remove(sampleImage("1"));
    await lab.add(1, "s1");
    await t.rejects(
      lab.assign("s1", "worker"),
      { code: "IMAGE_NOT_FOUND" },
      "it would have been refused when assigned",
    );
    await lab.store.images.save(sampleImage("1"));
    await lab.assign("s1", "worker");
    await lab.store.images.remove(sampleImage("1"));
    await lab.script(1);
    lab.tracker.step(lab.machine("s1").id, "network");
    await lab.script(1);
    await lab.script(1);
    t.equal(lab.of("script.failed").length, 2);
  });
});

t.test("an image is told to be for another machine only where it could not start there", async (t) => {
  for (const [image, machine, code] of [
    ["arm64", "arm64", undefined],
    ["x86_64", "x86_64", undefined],
    ["x86_64", "x86", undefined],
    ["x86_64", undefined, undefined],
    ["arm64", "x86_64", "ARCH_MISMATCH"],
    ["arm64", "arm", "ARCH_MISMATCH"],
    ["x86_64", "arm64", "ARCH_MISMATCH"],
    ["x86_64", "riscv64", "ARCH_MISMATCH"],
  ] as const) {
    const lab = await createBootLab(t);
    await lab.store.images.save(sampleImage("2", { arch: image }));
    await lab.add(1, "s1");
    await lab.assign("s1", "worker");
    const { error } = await lab.script(1, { facts: { arch: machine } });
    t.equal(error?.code, code, `${image} on ${machine ?? "an unknown machine"}`);
    if (!code) continue;
    t.throws(() => lab.boots.preview(lab.machine("s1"), "ipxe", "http://10.1.0.1:8080"), { code });
  }
});

t.test("a role that needs no image serves machines of every architecture", async (t) => {
  const lab = await createBootLab(t);
  const { script, error } = await lab.script(1, { facts: { arch: "arm64" } });
  t.equal(error, undefined);
  t.match(script, /waits for a role/);
});

t.test("a machine with two cards is served as the one that it boots from", async (t) => {
  const lab = await createBootLab(t);
  await lab.inventory.add({ name: "s1", macs: [macOf(1), macOf(2)] }, "anna");
  await lab.assign("s1", "worker");
  const { script } = await lab.script(2);
  t.match(script, /BOOTIF=01-52-54-00-00-00-02/);
  t.match(
    script,
    /chain --replace --autofree http:\/\/10\.1\.0\.1:8080\/boot\/52-54-00-00-00-02\/boot\.ipxe/,
  );
});

t.test("a preview shows what would be served, without a secret and without leaving a trace", async (t) => {
  const lab = await createBootLab(t);
  await lab.add(1, "s1");
  await lab.assign("s1", "worker");
  const claim = await lab.claim(1);
  const machine = lab.machine("s1");
  const before = JSON.stringify([lab.boot("s1"), lab.events]);
  const preview = lab.boots.preview(machine, "ipxe", "http://10.1.0.1:8080");
  t.match(preview, /^#!ipxe\n[\s\S]*rollcall\.callback=/);
  t.notOk(preview?.includes(claim));
  t.match(lab.boots.preview(machine, "vendor-data", "http://10.1.0.1:8080"), /\*{8}\/joined/);
  t.equal(lab.boots.preview(machine, "ignition", "http://10.1.0.1:8080"), undefined);
  t.equal(JSON.stringify([lab.boot("s1"), lab.events]), before);
  t.ok((await lab.config(claim, 1)).text, "the claim still holds");
});

t.test("with U-Boot a machine stays with GRUB, whatever its role: iPXE sleeps there for ever", async (t) => {
  const grub = { arch: "arm64", secureBoot: false } as const;
  const renderer = createRenderer(
    loadStandardTemplates(resolve(import.meta.dirname, "../templates")),
    "reboot",
  );
  const restart = (firmware: string | undefined, before?: boolean) =>
    restartIntoIpxe({ name: "s1", firmware }, { kind: "url", url: "http://x/" }, grub, before, renderer);
  t.match(restart("uefi-arm64"), /\nreboot\n/);
  t.equal(restart("uefi-arm64", false), undefined, "once only");
  t.equal(restart("uboot-arm64"), undefined);
});

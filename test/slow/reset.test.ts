import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t, { type Test } from "tap";
import type { VirtualMachine, VirtualMachineOptions } from "../../server/demo/virtual-lab.ts";
import { createE2eLab, type E2eLab, ensureImage, newestOperation, prepare } from "../support/e2e-lab.ts";
import { startIpmiBoard } from "../support/ipmi-board.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

/** A room of three seats: each with another kind of disk. */
const seats = [
  { name: "s1", mac: "52:54:00:77:03:01", diskBus: "virtio" },
  { name: "s2", mac: "52:54:00:77:03:02", diskBus: "sata" },
  { name: "s3", mac: "52:54:00:77:03:03", diskBus: "nvme" },
] as const;
type Seat = (typeof seats)[number];
const memoryMiB = 1536;
const diskBytes = 64 * 1024 * 1024;

/** A lesson's role: whoever sits at the machine is logged in, and may be root. */
const roleFiles = {
  "role.yaml": `extends: worker
description: A seat.
templates: { user-data: user-data.hbs }
`,
  "user-data.hbs": `#cloud-config
ssh_pwauth: false
users:
  - name: debian
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: true
{{#if params.sshKeys}}
    ssh_authorized_keys: {{params.sshKeys}}
{{/if}}
  - name: student
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: true
write_files:
  - path: /etc/systemd/system/serial-getty@ttyS0.service.d/student.conf
    content: |
      [Service]
      ExecStart=
      ExecStart=-/sbin/agetty --autologin student --keep-baud 115200,57600,38400,9600 %I dumb
runcmd:
  - [systemctl, daemon-reload]
  - [systemctl, restart, --no-block, serial-getty@ttyS0.service]
`,
};

/** What the system of a machine tells a student at its console. */
const look =
  "echo $(ls -A /home/student /var/tmp /etc/systemd/system | tr '\\n' ' ') $(sudo cat /root/.ssh/authorized_keys 2>&1)";

let questions = 0;
/** Types a command at the console. @returns what it printed */
async function ask(machine: VirtualMachine, command: string): Promise<string> {
  const mark = ++questions;
  // As it is typed it is no answer.
  machine.type(`echo from-$((${mark})); ${command}; echo to-$((${mark}))\n`);
  const answer = new RegExp(`^from-${mark}\\n([^]*?)^to-${mark}$`, "m");
  await machine.waitForScreen(answer);
  return answer.exec(machine.screen)?.[1] ?? "";
}

/** A room with its machines, one of them behind a board that can pull its plug. */
async function createRoom(t: Test) {
  const image = await ensureImage(t);
  const rolesDir = t.testdir({ seat: roleFiles });
  const e2e = await createE2eLab(t, {
    config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
    bridges: { br0: "10.77.0.1/24" },
  });
  await prepare(e2e, image, Object.fromEntries(seats.map(({ name, mac }) => [name, mac])));
  await e2e.boot("lab1", "seat");
  const machines = new Map<string, VirtualMachine>();
  const machine = (name: string) => {
    const found = machines.get(name);
    if (!found) throw new Error(`${name} is off`);
    return found;
  };
  async function switchOn({ name, mac, diskBus }: Seat): Promise<void> {
    const disk = join(e2e.lab.directory, `${name}.disk`);
    writeFileSync(disk, "");
    truncateSync(disk, diskBytes);
    const options: VirtualMachineOptions = { name, mac, firmware: "bios", memoryMiB, disk, diskBus };
    machines.set(name, await e2e.lab.powerOn({ ...options, serial: `LAB-${name}` }));
  }
  const password = "canary-77";
  const board = await startIpmiBoard(t, "admin", password, {
    inside: e2e.lab.inside,
    async onPower(isOn) {
      if (isOn) await switchOn(seats[2]);
      else await machine("s3").powerOff();
    },
  });
  board.set(true);
  const place = { method: "ipmi", address: "127.0.0.1", port: board.port };
  await e2e.client.put("/machines/s3/power", { ...place, user: "admin", password });
  await Promise.all(seats.map(switchOn));
  return { e2e, image, board, machine };
}

/** A switch that says every few seconds at each of its ports who it is (LLDP). */
function startSwitch(t: Test, e2e: E2eLab, ports: readonly string[]): void {
  const script = `
import socket, sys, time
def tlv(type, value): return bytes([type << 1 | len(value) >> 8, len(value) & 255]) + value
wires = []
for number, port in enumerate(sys.argv[1:], 1):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((port, 0))
    frame = bytes.fromhex("0180c200000e00115a00000188cc") + tlv(1, bytes.fromhex("0400115a000001"))
    frame += tlv(2, b"\\x05Gi1/0/%d" % number) + tlv(3, b"\\0\\x78") + tlv(5, b"sw-lab1") + b"\\0\\0"
    wires.append((wire, frame))
while True:
    for wire, frame in wires:
        try: wire.send(frame)
        except OSError: pass
    time.sleep(2)`;
  const child = e2e.lab.spawn(["python3", "-c", script, ...ports]);
  t.teardown(() => child.kill());
}

interface HardwareView {
  readonly reportedAt: string;
  readonly memoryBytes: number | null;
  readonly nics: readonly { readonly neighbour: object | null }[];
}

/** What the server has of a machine, as soon as it fits. */
async function hardwareOf(
  e2e: E2eLab,
  name: string,
  fits: (hardware: HardwareView) => boolean,
): Promise<HardwareView | null> {
  const limit = Date.now() + 6 * 60_000;
  for (;;) {
    const { hardware } = await e2e.client.get<{ hardware: HardwareView | null }>(
      `/machines/${name}/hardware`,
    );
    if ((hardware && fits(hardware)) || Date.now() > limit) return hardware;
    await delay(1000);
  }
}

/** What QEMU says of itself is what the server was told. @returns when */
async function checkHardware(t: Test, e2e: E2eLab, { name, mac, diskBus }: Seat, number: number) {
  // The switch is heard, or not, within half a minute.
  const hardware = await hardwareOf(e2e, name, ({ nics }) =>
    nics.some(({ neighbour }) => neighbour !== null),
  );
  const disk = { virtio: "vda", sata: "sda", nvme: "nvme0n1" }[diskBus];
  t.match(
    hardware,
    {
      cpu: { model: /QEMU/, cores: 2 },
      vendor: "QEMU",
      product: /Q35/,
      serial: `LAB-${name}`,
      disks: [{ name: disk, sizeBytes: diskBytes, serial: `${name}-disk` }],
      nics: [
        {
          mac,
          machine: name,
          driver: "virtio_net",
          hasLink: true,
          neighbour: { chassisId: "00:11:5a:00:00:01", portId: `Gi1/0/${number}`, systemName: "sw-lab1" },
        },
      ],
    },
    `${name} told what is in it`,
  );
  const mebibytes = (hardware?.memoryBytes ?? 0) / 1024 / 1024;
  t.ok(mebibytes > memoryMiB * 0.85 && mebibytes <= memoryMiB, `${mebibytes} MiB of RAM`);
  const shown = await e2e.boot("machine", "show", name);
  t.comment(shown);
  t.match(shown, `LAB-${name}`, "boot machine show has its serial number");
  t.match(shown, `switch sw-lab1, port Gi1/0/${number}`, "and where its cable ends");
  return hardware?.reportedAt;
}

t.test(
  "boot reset of a room with real machines: each comes back from RAM without what was left on it, also one that hangs, and the report proves it by seat",
  async (t) => {
    const began = Date.now();
    const sayWhen = (what: string) => t.comment(`${what} ${Math.round((Date.now() - began) / 1000)} s`);
    const { e2e, image, board, machine } = await createRoom(t);
    startSwitch(
      t,
      e2e,
      seats.map(({ name }) => machine(name).port),
    );
    sayWhen("switched on after");
    const names = seats.map(({ name }) => name);
    const isReady = (name: string) =>
      e2e.waitForEvent(
        `${name} ready`,
        (event) => event.type === "machine.phase" && event.machine === name && event.data["to"] === "ready",
        10 * 60_000,
      );
    await Promise.all(names.map(isReady));
    sayWhen("ready after");
    const atPrompt = (name: string) => machine(name).waitForScreen(/student@s\d/);
    await Promise.all(names.map(atPrompt));

    const leave = [
      "echo done > ~/homework",
      "sudo touch /var/tmp/left-by-root /etc/systemd/system/left.service",
      "sudo sh -c 'mkdir -p /root/.ssh; echo mine > /root/.ssh/authorized_keys'",
      look,
    ].join("; ");
    for (const name of names) {
      const left = await ask(machine(name), leave);
      for (const trace of ["homework", "left-by-root", "left.service", "mine"])
        t.match(left, trace, `${name} has ${trace}`);
    }
    const reports = new Map<string, string | undefined>();
    for (const [index, seat] of seats.entries())
      reports.set(seat.name, await checkHardware(t, e2e, seat, index + 1));
    sayWhen("hardware known after");
    const bootIds = new Map<string, string>();
    for (const name of names) bootIds.set(name, (await e2e.newestBoot(name)).id);
    // It answers nobody any more, and does not end by itself.
    const hung = machine("s3");
    hung.type("sudo halt --force --force\n");
    await hung.waitForScreen(/reboot: System halted/);

    const told = await e2e.boot("reset", "lab1", "--yes").catch(failedReport);
    sayWhen("reset after");
    t.comment(told);
    const report = await newestOperation(e2e);
    t.equal(report.state, "done", "the reset is done");
    t.same(
      report.machines.map(({ machine: seat }) => seat),
      names,
      "for all seats of the room",
    );
    const { name: imageName, version, files } = readImage(image);
    for (const seat of report.machines) {
      const { machine: name } = seat;
      const step = (wanted: string) => seat.steps.find((one) => one.name === wanted);
      const boot = await e2e.newestBoot(name);
      t.not(boot.id, bootIds.get(name), `${name} has booted anew`);
      t.same(
        seat.steps.map((one) => `${one.name} ${one.state}`),
        ["drain skipped", "revoke done", "power done", "boot done", "ready done", "proof done"],
        `${name}: each step`,
      );
      const method = name === "s3" ? "ipmi" : "ssh";
      t.equal(step("power")?.facts["method"], method, `${name} was restarted by ${method}`);
      t.match(
        step("proof")?.facts,
        {
          boot: boot.id,
          role: "seat",
          image: `${imageName} ${version}`,
          kernel: files.kernel.sha256,
          root: files.rootfs.sha256,
          config: /^[0-9a-f]{64}$/,
          claim: "spent",
        },
        `${name}: the digests of what it booted`,
      );
      const line = `${name}: proof done: ${imageName} ${version}, root ${files.rootfs.sha256.slice(0, 12)} in RAM`;
      t.match(told, line, `${name}: the line that the command prints`);
    }
    t.same(
      board.orders(),
      ["set power 0", "set power 1"],
      "the one that hung lost its power, and got it back",
    );

    for (const name of names) {
      // The prompt of the new boot; behind the board it is another process, with a screen of its own.
      const boots = `Rollcall: ${name} boots into[^]*`.repeat(name === "s3" ? 1 : 2);
      await machine(name).waitForScreen(new RegExp(`${boots}student@${name}`));
      const left = await ask(machine(name), look);
      for (const trace of ["homework", "left-by-root", "left.service", "mine"])
        t.notMatch(left, trace, `${name} has no ${trace}`);
    }
    for (const name of names)
      await hardwareOf(e2e, name, ({ reportedAt }) => reportedAt !== reports.get(name));
    const alarms = await e2e.client.list<{ type: string }>("/events?type=machine.hardware");
    t.same(alarms, [], "the hardware of the second boot is that of the first");
    sayWhen("all after");
  },
);

/** What a command printed that failed. */
function failedReport(error: unknown): string {
  const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
  return stdout + stderr;
}

interface ImageManifest {
  readonly name: string;
  readonly version: string;
  readonly files: Record<"kernel" | "rootfs", { readonly sha256: string }>;
}
const readImage = (directory: string) =>
  JSON.parse(readFileSync(join(directory, "image.json"), "utf8")) as ImageManifest;

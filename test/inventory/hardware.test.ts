import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import fastify from "fastify";
import t, { type Test } from "tap";
import { machineDetails } from "../../server/cli/commands/machine-details.ts";
import { type Hardware, hardwareChanges } from "../../server/domain/hardware.ts";
import type { Machine } from "../../server/domain/machine.ts";
import { registerCallbackRoutes } from "../../server/http/callback-routes.ts";
import { readHardwareReport } from "../../server/inventory/hardware-report.ts";
import { parseLldpFrame } from "../../server/net/lldp.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createBootLab } from "../support/boot-lab.ts";
import { startServer } from "../support/http-fixture.ts";
import { macOf, sampleMachine, temporaryDirectory } from "../support/samples.ts";

const script = resolve(
  import.meta.dirname,
  "../../server/image/recipes/debian-node/overlay/usr/lib/rollcall/report-hardware",
);

const tlv = (type: number, value: Buffer | string) => {
  const octets = Buffer.from(value);
  return Buffer.concat([Buffer.from([(type << 1) | (octets.length >> 8), octets.length & 0xff]), octets]);
};
const header = Buffer.from("0180c200000e00115a00000188cc", "hex");
const lldp = (...tlvs: Buffer[]) => Buffer.concat([header, ...tlvs, Buffer.from([0, 0])]);
const chassis = tlv(1, Buffer.from("0400115a000001", "hex"));
const port = tlv(2, "\x05Gi1/0/12");
const frame = lldp(
  chassis,
  port,
  tlv(3, Buffer.from([0, 120])),
  tlv(4, "uplink of s1"),
  tlv(5, "sw-225\u001b[2J"),
);
/** As systemd-networkd keeps it. */
const kept = (octets: Buffer) => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(octets.length));
  return Buffer.concat([length, octets]);
};

t.test("an LLDP frame tells the switch and its port, by IEEE 802.1AB", (t) => {
  t.match(parseLldpFrame(frame), {
    chassisId: "00:11:5a:00:00:01",
    portId: "Gi1/0/12",
    portDescription: "uplink of s1",
    systemName: "sw-225[2J",
  });
  const tagged = Buffer.concat([
    header.subarray(0, 12),
    Buffer.from("8100000a88cc", "hex"),
    frame.subarray(14),
  ]);
  t.match(parseLldpFrame(tagged), { portId: "Gi1/0/12" });
  const others = lldp(tlv(1, Buffer.from("05010a010001", "hex")), tlv(2, Buffer.from("07ff0001", "hex")));
  t.match(parseLldpFrame(others), { chassisId: "10.1.0.1", portId: "ff0001", systemName: undefined });
  t.equal(parseLldpFrame(lldp(chassis)), undefined, "the port is mandatory");
  for (let length = 0; length < frame.length; length++)
    t.doesNotThrow(() => parseLldpFrame(frame.subarray(0, length)));
  for (let cut = 1; cut <= port.length; cut++)
    t.equal(parseLldpFrame(lldp(chassis, port).subarray(0, -2 - cut)), undefined, "half a port is none");
  for (let at = 0; at < frame.length; at++) {
    const broken = Buffer.from(frame);
    broken[at] = 0xff;
    t.doesNotThrow(() => parseLldpFrame(broken));
  }
  t.end();
});

t.test("what systemd-networkd keeps of a switch that it heard is what the server reads", (t) => {
  // In namespaces of its own; where /sys is read-only networkd does not wait for udev.
  const steps = `
    set -e
    mount -t tmpfs tmpfs /run
    mount -t sysfs -o ro sysfs /sys
    mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/lldp /run/systemd/netif/leases
    chown -R systemd-network /run/systemd/netif
    ip link add lldp0 type veth peer name lldp1
    ip link set lldp1 up
    printf '[Match]\\nName=lldp0\\n[Network]\\nLLDP=yes\\nLinkLocalAddressing=no\\n' > /run/systemd/network/1.network
    /lib/systemd/systemd-networkd > /dev/null 2>&1 &
    networkd=$!
    trap 'kill -9 $networkd' EXIT
    python3 -c "$1" "$2"
    cat /run/systemd/netif/lldp/* | base64 -w0`;
  const sender = `
import os, socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("lldp1", 0))
for _ in range(200):
    wire.send(bytes.fromhex(sys.argv[1]))
    time.sleep(0.05)
    if os.listdir("/run/systemd/netif/lldp"): break`;
  const lldp = execFileSync("unshare", [
    "-n",
    "-m",
    "sh",
    "-c",
    steps,
    "sh",
    sender,
    frame.toString("hex"),
  ]).toString();
  t.match(readHardwareReport({ nics: [{ name: "eth0", mac: macOf(1), lldp }] })?.nics, [
    { neighbour: { chassisId: "00:11:5a:00:00:01", portId: "Gi1/0/12", portDescription: "uplink of s1" } },
  ]);
  t.end();
});

t.test("a hostile report is cut to what fits, and nothing of it is a control character", (t) => {
  for (const body of [undefined, null, [], "x", 5]) t.equal(readHardwareReport(body), undefined);
  const read = readHardwareReport({
    cpu: { model: `\u001b]0;x\u0007${"y".repeat(500)}`, cores: "99999999999999999999" },
    ramKiB: -1,
    vendor: { toString: "x" },
    disks: Array.from({ length: 1000 }, (_, index) => ({ name: `sd${index}`, sectors: "8" })),
    nics: [
      { name: "eth0", mac: "ff:ff:ff:ff:ff:ff" },
      { name: "eth1", mac: macOf(1), lldp: "A".repeat(100_000) },
      { name: "eth2", mac: macOf(2), lldp: kept(frame).toString("base64"), speed: "-1", carrier: "2" },
      { name: "eth3", mac: macOf(3), lldp: Buffer.alloc(9, 0xff).toString("base64") },
      // A digit over: atob throws at it, and the report of everything else would be lost in an error of the server.
      { name: "eth4", mac: macOf(4), lldp: "AAAAA" },
    ],
  });
  t.equal(read?.cpu.model?.length, 120);
  t.notMatch(JSON.stringify(read), /\\u00[01]/);
  t.match(read, { memoryBytes: undefined, vendor: undefined, cpu: { cores: undefined } });
  t.equal(read?.disks.length, 64);
  t.match(read?.nics, [
    { name: "eth1", neighbour: undefined },
    { name: "eth2", neighbour: { portId: "Gi1/0/12" }, speedMbit: undefined, hasLink: undefined },
    { name: "eth3", neighbour: undefined },
    { name: "eth4", neighbour: undefined },
  ]);
  t.end();
});

/** A machine's /sys and /proc, as far as the script looks. */
function machineTree(t: Test) {
  const root = temporaryDirectory(t);
  const write = (path: string, content: string | Buffer) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  write("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
  write(
    "proc/cpuinfo",
    "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i5\nprocessor\t: 1\nmodel name\t: x\n",
  );
  write("proc/cmdline", "quiet\n");
  write("sys/class/dmi/id/sys_vendor", 'ACME "Boards" \\ Inc.\n');
  write("sys/class/dmi/id/product_serial", "SN-1\n");
  write("sys/class/dmi/id/product_uuid", "03000200-0400-0500-0006-000700080009\n");
  write("sys/block/sda/size", "1000215216\n");
  write("sys/block/sda/device/model", "SSD\u001b[2J 500\n");
  write("sys/block/sda/queue/rotational", "0\n");
  // SPC-4: page 80h, and the length of the serial number behind it.
  write(
    "sys/block/sda/device/vpd_pg80",
    Buffer.concat([Buffer.from([0, 0x80, 0, 0x2a]), Buffer.from("  S3Z8NB0K".padEnd(0x2a))]),
  );
  write("sys/block/vda/size", "8\n");
  write("sys/block/vda/serial", "VIRTIO-1\n");
  write("sys/block/nvme0n1/size", "8\n");
  write("sys/block/nvme0n1/device/serial", "NVME-1   \n");
  write("sys/block/loop0/size", "8\n");
  for (const [name, number] of [
    ["eth0", 1],
    ["eth1", 2],
  ] as const) {
    write(`sys/class/net/${name}/address`, `${macOf(number)}\n`);
    write(`sys/class/net/${name}/carrier`, "1\n");
    write(`sys/class/net/${name}/speed`, "1000\n");
    write(`sys/class/net/${name}/ifindex`, `${number + 1}\n`);
    mkdirSync(join(root, `sys/class/net/${name}/device`), { recursive: true });
    symlinkSync("../../../bus/pci/drivers/e1000e", join(root, `sys/class/net/${name}/device/driver`));
  }
  write("sys/class/net/lo/address", "00:00:00:00:00:00\n");
  write("lldp/2", kept(frame));
  return root;
}

for (const shell of [["sh"], ["busybox", "sh"]])
  t.test(
    `what is in a machine is read by ${shell.join(" ")} out of /sys and /proc as JSON that the server takes`,
    (t) => {
      const root = machineTree(t);
      const [program = "", ...words] = shell;
      const printed = execFileSync(program, [...words, script, "--print"], {
        env: {
          PATH: process.env["PATH"],
          SYSFS: join(root, "sys"),
          PROCFS: join(root, "proc"),
          ROLLCALL_LLDP: join(root, "lldp"),
        },
      }).toString();
      t.match(readHardwareReport(JSON.parse(printed)), {
        cpu: { model: "Intel(R) Core(TM) i5", cores: 2 },
        memoryBytes: 8_000_000 * 1024,
        vendor: "ACME Boards  Inc.",
        serial: "SN-1",
        uuid: "03000200-0400-0500-0006-000700080009",
        disks: [
          { name: "nvme0n1", serial: "NVME-1" },
          {
            name: "sda",
            sizeBytes: 1000215216 * 512,
            model: "SSD[2J 500",
            serial: "S3Z8NB0K",
            isRotating: false,
          },
          { name: "vda", serial: "VIRTIO-1" },
        ],
        nics: [
          {
            name: "eth0",
            mac: macOf(1),
            driver: "e1000e",
            hasLink: true,
            speedMbit: 1000,
            neighbour: { portId: "Gi1/0/12" },
          },
          { name: "eth1", mac: macOf(2), neighbour: undefined },
        ],
      });
      t.end();
    },
  );

t.test("a report that did not arrive is sent again, though the switch said nothing new", (t) => {
  const root = machineTree(t);
  writeFileSync(join(root, "proc/cmdline"), "rollcall.callback=http://10.0.0.1/callback/x\n");
  mkdirSync(join(root, "bin"));
  const curl = (status: number) => {
    writeFileSync(join(root, "bin/curl"), `#!/bin/sh\ncat > /dev/null\necho "$*"\nexit ${status}\n`, {
      mode: 0o755,
    });
    return execFileSync("sh", [script], {
      env: {
        PATH: `${join(root, "bin")}:${process.env["PATH"]}`,
        SYSFS: join(root, "sys"),
        PROCFS: join(root, "proc"),
        ROLLCALL_LLDP: join(root, "lldp"),
        ROLLCALL_LLDP_SECONDS: "0",
      },
    })
      .toString()
      .split("\n")
      .filter((line) => line.endsWith("http://10.0.0.1/callback/x/hardware")).length;
  };
  t.equal(curl(0), 1, "the same is told once");
  t.equal(curl(7), 2, "the server was away");
  t.end();
});

const report = (more: object = {}) => ({
  cpu: { model: "i5", cores: "4" },
  ramKiB: "8000000",
  serial: "SN1",
  uuid: "03000200-0400-0500-0006-000700080009",
  disks: [{ name: "sda", sectors: "1000", model: "SSD" }],
  nics: [
    { name: "eth0", mac: macOf(1), lldp: kept(frame).toString("base64") },
    { name: "eth1", mac: macOf(102) },
  ],
  ...more,
});

t.test(
  "a disk that has another name, and RAM that another kernel keeps for itself, are no other hardware",
  (t) => {
    const found = (ramKiB: number, ...disks: string[]) => {
      const read = readHardwareReport(
        report({ ramKiB, disks: disks.map((serial, index) => ({ name: `sd${index}`, sectors: 8, serial })) }),
      );
      if (!read) throw new Error("the report is one");
      return read;
    };
    const before = found(8_000_000, "one", "two");
    t.same(hardwareChanges(before, found(7_990_000, "two", "one")), []);
    t.same(hardwareChanges(before, found(7_737_856, "one", "two")), ["RAM"], "256 MiB are a DIMM");
    t.same(hardwareChanges(before, found(8_000_000, "one", "three")), ["disks"]);
    t.end();
  },
);

t.test(
  "a machine's hardware comes by its claim, is kept over a restart and shown; what is missing later is an event",
  async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    const found = readHardwareReport(report());
    if (!found) throw new Error("the report is one");
    await lab.inventory.noteHardware(lab.machine("s1"), found);
    t.match(lab.machine("s1"), { serial: "SN1", uuid: undefined });
    await lab.inventory.noteHardware(lab.machine("s1"), found);
    t.equal(lab.of("machine.hardware").length, 0, "the same is no news");
    const less = readHardwareReport(report({ ramKiB: "4000000", disks: [] }));
    if (!less) throw new Error("the report is one");
    t.same(hardwareChanges(found, less), ["RAM", "disks"]);
    await lab.inventory.noteHardware(lab.machine("s1"), less);
    t.match(lab.of("machine.hardware"), [
      { level: "warning", message: /other hardware than before: RAM, disks/ },
    ]);
    const met = await lab.inventory.meet(macOf(50), {});
    await lab.inventory.noteHardware(met, found);
    t.match(
      lab.inventory.naming.plan({
        machines: [lab.machine(macOf(50))],
        pattern: "{switch}-{port}-{serial}",
        start: 1,
      }),
      [{ name: "sw-225-2j-gi1-0-12-sn1" }],
    );
    await lab.inventory.remove(lab.machine("s1"), "anna");
    t.equal(lab.store.hardware.find("m_1"), undefined);
  },
);

t.test("the last report of a machine is there after a restart, and goes with the machine", async (t) => {
  const file = join(temporaryDirectory(t), "rollcall.db");
  const clock = { now: () => 1, monotonicMs: () => 1, after: () => () => {} };
  const found = readHardwareReport(report());
  if (!found) throw new Error("the report is one");
  const store = openStore(file, clock);
  await store.machines.add(sampleMachine(1));
  await store.hardware.save("m_1", { ...found, reportedAt: 5 });
  await store.hardware.save("m_gone", { ...found, reportedAt: 5 });
  t.equal(store.hardware.find("m_gone"), undefined);
  store.close();
  const again = openStore(file, clock);
  t.match(again.hardware.find("m_1"), { reportedAt: 5, nics: [{ neighbour: { portId: "Gi1/0/12" } }, {}] });
  t.same(hardwareChanges(found, again.hardware.find("m_1") ?? found), []);
  await again.machines.remove("m_1");
  again.close();
  const third = openStore(file, clock);
  t.equal(third.hardware.find("m_1"), undefined);
  third.close();
});

t.test("the callback takes a report from that machine only, eight of a boot, and shows it", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  for (const number of [1, 3]) await server.add(number, `s${number}`);
  await server.assign("s1", "rescue");
  const claim = await server.claim(1);
  const post = (body: unknown, from = 1) =>
    server.ask(`/callback/${claim}/hardware`, { method: "POST", body, from });
  t.match(await post(report(), 3), { status: 403 });
  t.match(await post([]), { status: 400 });
  t.match(await post({ vendor: "x".repeat(70_000) }), { status: 413 });
  t.match(await post(report()), { status: 204 });
  const { json } = await server.api("GET", "/machines/s1/hardware");
  t.match(json, {
    sharesUuidWith: [],
    hardware: {
      memoryBytes: 8_192_000_000,
      nics: [
        { mac: macOf(1), machine: "s1", neighbour: { systemName: "sw-225[2J", portId: "Gi1/0/12" } },
        { mac: macOf(102), machine: null },
      ],
    },
  });
  const one = (await server.api("GET", "/machines/s1")).json;
  const shown = machineDetails({ ...one, ...json } as unknown as Parameters<typeof machineDetails>[0], []);
  t.match(shown, /UUID +none of its own: its board says 03000200/);
  t.match(shown, /NIC eth0 +52:54:00:00:00:01, switch sw-225\[2J, port Gi1\/0\/12/);
  t.match(shown, new RegExp(`if these are its NICs +boot machine edit s1 --mac ${macOf(1)} ${macOf(102)}`));
  for (let sent = 0; sent < 20; sent++)
    t.match(await post(report({ ramKiB: String(1000 + sent) })), { status: 204 });
  const { items } = await server.api("GET", "/events?type=machine.hardware&limit=1000");
  t.ok(items.length <= 8, `${items.length} events`);
});

t.test("the report of a boot that is over does not take the place of a newer one", async (t) => {
  const app = fastify();
  t.teardown(() => app.close());
  const noted: string[] = [];
  const reporter = { machine: sampleMachine(1), bootId: "b_old" };
  let newest = "b_old";
  registerCallbackRoutes(app, {
    boots: { reporter: () => reporter },
    tracker: { current: () => ({ id: newest }) },
    inventory: { noteHardware: async (_: Machine, { serial = "" }: Hardware) => void noted.push(serial) },
    record: () => {},
  } as unknown as Parameters<typeof registerCallbackRoutes>[1]);
  const post = async (serial: string) =>
    (await app.inject({ method: "POST", url: "/callback/x/hardware", payload: { serial } })).statusCode;
  t.equal(await post("SN1"), 204);
  newest = "b_new";
  t.equal(await post("SN2"), 204);
  t.strictSame(noted, ["SN1"]);
});

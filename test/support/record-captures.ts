/**
 * Records test/fixtures/captures from real firmware in QEMU, in a virtual lab of its own: as root,
 * `node test/support/record-captures.ts [name ...]`. The captures are recorded once and kept; what each is expected to
 * be answered with is written by hand into its sidecar.
 */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startLabServer } from "../../server/demo/lab-server.ts";
import { createVirtualLab, type VirtualFirmware, type VirtualLab } from "../../server/demo/virtual-lab.ts";
import { startForeignDhcp } from "./foreign-dhcp.ts";
import { authoritativeConfig, proxyConfig } from "./lab-configs.ts";
import type { DhcpProcessOptions } from "./dhcp-server-process.ts";

interface Recording {
  readonly name: string;
  readonly firmware: VirtualFirmware;
  readonly server: "authoritative" | "proxy" | "http-only";
  /** How long the machine is watched, s. */
  readonly seconds: number;
}

const recordings: readonly Recording[] = [
  { name: "qemu-seabios-ipxe-authoritative", firmware: "bios", server: "authoritative", seconds: 40 },
  { name: "qemu-seabios-ipxe-proxy", firmware: "bios", server: "proxy", seconds: 40 },
  { name: "qemu-ovmf-pxe-authoritative", firmware: "uefi", server: "authoritative", seconds: 75 },
  { name: "qemu-ovmf-pxe-proxy", firmware: "uefi", server: "proxy", seconds: 75 },
  { name: "qemu-ovmf-http-authoritative", firmware: "uefi", server: "http-only", seconds: 240 },
  { name: "qemu-aavmf-pxe-authoritative", firmware: "uefi-arm64", server: "authoritative", seconds: 60 },
  { name: "qemu-aavmf-pxe-proxy", firmware: "uefi-arm64", server: "proxy", seconds: 75 },
  { name: "qemu-aavmf-http-authoritative", firmware: "uefi-arm64", server: "http-only", seconds: 240 },
  { name: "qemu-uboot-authoritative", firmware: "u-boot", server: "authoritative", seconds: 40 },
  { name: "qemu-uboot-proxy", firmware: "u-boot", server: "proxy", seconds: 40 },
];

const fixtures = resolve(import.meta.dirname, "../fixtures/captures");

async function startServer(lab: VirtualLab, kind: Recording["server"]): Promise<() => Promise<void>> {
  if (kind !== "http-only") {
    const config = kind === "proxy" ? proxyConfig : authoritativeConfig;
    const stopForeign = kind === "proxy" ? await startForeignDhcp(lab) : () => {};
    const server = await startLabServer(lab, { dataDir: join(lab.directory, "data"), config });
    return async () => {
      await server.stop();
      stopForeign();
    };
  }
  // The firmware tries PXE first and comes to HTTP only where nobody answers that.
  const options: DhcpProcessOptions = {
    mode: "authoritative",
    device: "br0",
    address: "10.77.0.1",
    subnet: { cidr: "10.77.0.0/24", from: "10.77.0.100", to: "10.77.0.199", leaseSeconds: 3600 },
    only: "HTTPClient",
  };
  const script = resolve(import.meta.dirname, "dhcp-server-process.ts");
  const [program = "", ...words] = lab.inside(process.execPath, script, JSON.stringify(options));
  const child = spawn(program, words, { stdio: ["pipe", "ignore", "inherit"] });
  await sleep(2000);
  return async () => void child.stdin.end();
}

async function record({ name, firmware, server, seconds }: Recording): Promise<void> {
  const lab = await createVirtualLab(`rcc${process.pid}`);
  try {
    await lab.addBridge("br0", "10.77.0.1/24");
    const stop = await startServer(lab, server);
    const file = join(fixtures, `${name}.pcap`);
    // Without the server's own search for other DHCP servers.
    const filter = "udp and (port 67 or port 68 or port 4011) and not (src host 10.77.0.1 and src port 68)";
    const tcpdump = lab.spawn(["tcpdump", "-i", "br0", "-U", "-s", "0", "-Z", "root", "-w", file, filter]);
    await sleep(1000);
    const mac = "52:54:00:77:00:09";
    const machine = await lab.powerOn({ name, mac, firmware, memoryMiB: 1024 });
    await sleep(seconds * 1000);
    await machine.powerOff();
    tcpdump.kill("SIGINT");
    await sleep(500);
    process.stdout.write(`${file}\n${machine.screen.slice(-1500)}\n`);
    await stop();
  } finally {
    await lab.close();
  }
}

mkdirSync(fixtures, { recursive: true });
const wanted = process.argv.slice(2);
for (const recording of recordings)
  if (wanted.length === 0 || wanted.includes(recording.name)) await record(recording);
process.exit(0);

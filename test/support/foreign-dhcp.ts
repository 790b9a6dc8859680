import { spawn } from "node:child_process";
import type { VirtualLab } from "../../server/demo/virtual-lab.ts";

/** The campus network's own DHCP server, which knows nothing of us. Resolves when it listens. @returns what ends it */
export async function startForeignDhcp(lab: VirtualLab): Promise<() => void> {
  const host = await lab.addHost("campus", "br0", "02:00:00:00:00:fe", "10.77.0.254/24");
  const dnsmasq = spawn(
    "ip",
    [
      "netns",
      "exec",
      host,
      "dnsmasq",
      "--no-daemon",
      "--conf-file=/dev/null",
      "--port=0",
      "--interface=eth0",
      "--bind-interfaces",
      "--dhcp-range=10.77.0.50,10.77.0.90,1h",
      `--dhcp-leasefile=${lab.directory}/campus.leases`,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  await new Promise<void>((resolve, reject) => {
    dnsmasq.stderr.on("data", (chunk: Buffer) => chunk.toString().includes("DHCP, IP range") && resolve());
    dnsmasq.once("exit", (code) => reject(new Error(`dnsmasq ended with ${code}`)));
  });
  return () => dnsmasq.kill();
}

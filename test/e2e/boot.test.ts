import { spawn } from "node:child_process";
import t from "tap";
import { createE2eLab, type E2eLab, ensureImage } from "../support/e2e-lab.ts";

/** Kernel start within this much of the server's own time (sum of response times on the timeline), ms. */
const serverTimeLimitMs = 1000;

const authoritative = `
interfaces: [br0]
dhcp:
  mode: authoritative
  subnets:
    - subnet: 10.77.0.0/24
      range: 10.77.0.100-10.77.0.199
`;
const proxy = `
interfaces: [br0]
dhcp: { mode: proxy }
`;

function untilKernel(boot: { steps: { step: string; serverMs: number | null }[] }): number {
  const kernel = boot.steps.findIndex((step) => step.step === "kernel");
  return boot.steps.slice(0, kernel + 1).reduce((sum, step) => sum + (step.serverMs ?? 0), 0);
}

async function prepare(e2e: E2eLab, image: string, machines: Record<string, string>): Promise<void> {
  await e2e.boot("image", "import", image);
  for (const [name, mac] of Object.entries(machines)) await e2e.boot("machine", "add", name, "--mac", mac, "--group", "lab1");
}

/** The campus network's own DHCP server, which knows nothing of us. */
async function startForeignDhcp(e2e: E2eLab): Promise<() => void> {
  const host = await e2e.lab.addHost("campus", "br0", "02:00:00:00:00:fe", "10.77.0.254/24");
  const dnsmasq = spawn(
    "ip",
    ["netns", "exec", host, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces", "--dhcp-range=10.77.0.50,10.77.0.90,1h", `--dhcp-leasefile=${e2e.lab.directory}/campus.leases`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  await new Promise<void>((resolve, reject) => {
    dnsmasq.stderr.on("data", (chunk: Buffer) => chunk.toString().includes("DHCP, IP range") && resolve());
    dnsmasq.once("exit", (code) => reject(new Error(`dnsmasq ended with ${code}`)));
  });
  return () => dnsmasq.kill();
}

t.test("BIOS, authoritative: a machine boots our Debian image to ready through cloud-init's own callback", async (t) => {
  const image = await ensureImage(t);
  const e2e = await createE2eLab(t, { config: authoritative, bridges: { br0: "10.77.0.1/24" } });
  await prepare(e2e, image, { s1: "52:54:00:77:00:01" });
  await e2e.boot("s1", "worker");
  const machine = await e2e.lab.powerOn({ name: "s1", mac: "52:54:00:77:00:01", firmware: "bios", memoryMiB: 1536 });

  await e2e.waitForStep("s1", "kernel");
  t.comment("s1 loads its kernel");
  await e2e.waitForStep("s1", "switch-root");
  t.comment("s1 has its root");
  await e2e.waitForEvent("s1 ready", (event) => event.type === "machine.phase" && event.data["to"] === "ready");
  const boot = await e2e.newestBoot("s1");
  const phases = boot.phases.map(({ phase }) => phase).filter((phase) => phase !== "accepted" && phase !== "assigned");
  t.same(phases, ["netbooting", "booting", "configuring", "ready"], "it passed every phase in order");
  for (const step of ["ipxe-dhcp", "contact", "script", "kernel", "initrd", "rootfs", "config", "callback"])
    t.ok(boot.steps.some((entry) => entry.step === step), `the timeline has ${step}`);
  t.match(machine.screen, /Rollcall/, "the machine's own screen speaks of Rollcall");
  t.match(machine.screen, /s1 login:/, "it ends at a login prompt with its own name");
  const serverMs = untilKernel(boot);
  t.comment(`server's own time from power-on to kernel: ${serverMs.toFixed(1)} ms; whole boot ${(boot.durationMs / 1000).toFixed(0)} s`);
  t.ok(serverMs < serverTimeLimitMs, "the server's own time up to the kernel is under a second");
  const shown = await e2e.boot("machine", "show", "s1");
  t.match(shown, /callback/, "boot machine show prints the timeline");
  t.comment(shown);
  t.match(await e2e.boot("status"), /s1 .*ready .*worker/, "boot status says ready");
  t.match(await e2e.boot("explain", "s1"), /worker .*assigned by local/, "boot explain says why");
});

import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { freemem } from "node:os";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { startLabServer } from "../../demo/lab-server.ts";
import {
  createVirtualLab,
  labPackages,
  type VirtualFirmware,
  type VirtualLab,
} from "../../demo/virtual-lab.ts";
import { buildImage } from "../../image/build-image.ts";
import { root } from "../../platform/checkout.ts";
import { administratorDirectories, findProgram } from "../../platform/find-program.ts";
import { bootSpans, type TimedBoot } from "../../domain/boot-spans.ts";
import { type Client, createClient } from "../client.ts";
import { formatBytes, formatTable } from "../output.ts";
import { fillBootAssets } from "./asset.ts";
import { importImage } from "../put-image.ts";
import { doing, type MachineView } from "./status.ts";

interface DemoMachine {
  readonly name: string;
  readonly mac: string;
  readonly firmware: VirtualFirmware;
  readonly role: string;
}

const demoMachines: readonly DemoMachine[] = [
  { name: "master1", mac: "52:54:00:99:00:01", firmware: "bios", role: "master" },
  { name: "worker1", mac: "52:54:00:99:00:02", firmware: "uefi", role: "worker" },
  { name: "worker2", mac: "52:54:00:99:00:03", firmware: "bios", role: "worker" },
];
const memoryMiB = 1536;

interface DemoOptions {
  readonly machines: number;
  readonly image?: string;
  readonly untilReady?: boolean;
  readonly screens?: boolean;
  readonly data?: string;
}

const labConfig = `
interfaces: [br0]
dhcp:
  mode: authoritative
  subnets:
    - subnet: 10.99.0.0/24
      range: 10.99.0.100-10.99.0.199
`;

class DemoRefused extends Error {
  readonly code = "DEMO_UNAVAILABLE";
  readonly advice: string;
  constructor(message: string, advice: string) {
    super(message);
    this.advice = advice;
  }
}

/** @throws DemoRefused with what is missing and how to get it */
function refuseWithoutMeans({ machines, image }: DemoOptions): void {
  if (process.getuid?.() !== 0)
    throw new DemoRefused(
      "the virtual lab needs root, for a network of its own",
      "Run it as root: sudo npm run demo",
    );
  const builders = { mmdebstrap: "mmdebstrap", mksquashfs: "squashfs-tools" };
  const needed = { ...labPackages, ...(image === undefined ? builders : {}) };
  const missing = Object.entries(needed)
    .filter(([program]) => findProgram(program, administratorDirectories) === undefined)
    .map(([, name]) => name);
  if (!existsSync("/usr/share/OVMF/OVMF_CODE_4M.fd")) missing.push("ovmf");
  if (!existsSync("/usr/lib/ipxe/qemu/efi-virtio.rom")) missing.push("ipxe-qemu");
  if (missing.length > 0)
    throw new DemoRefused(
      `the virtual lab needs ${missing.join(", ")}`,
      `Install them: apt-get install ${missing.join(" ")}`,
    );
  const wanted = machines * memoryMiB * 1024 * 1024;
  if (freemem() < wanted)
    throw new DemoRefused(
      `the virtual lab needs ${formatBytes(wanted)} of free memory, and there are ${formatBytes(freemem())}`,
      machines > 1
        ? "End other programs first, or take fewer machines: boot demo --machines 1"
        : "End other programs first.",
    );
}

/** Our image in the demo's store: the one that was named, or one that is built on the first run. */
async function ensureImage(client: Client, dataDir: string, named: string | undefined): Promise<void> {
  if (named !== undefined) {
    await importImage(client, resolve(named), process.stdout.isTTY);
    return;
  }
  const { items } = await client.get<{ items: unknown[] }>("/images");
  if (items.length > 0) return;
  const directory = join(dataDir, "image");
  process.stdout.write("Building the Debian image, once (2 to 4 minutes)...\n");
  let before = "";
  await buildImage({
    recipeDir: join(root, "server/image/recipes/debian-node"),
    outputDir: directory,
    onProgress: ({ step, percent }) => {
      if (process.stdout.isTTY) process.stdout.write(`\r\u001b[K  ${percent} %: ${step}`);
      else if (step !== before) process.stdout.write(`  ${step}\n`);
      before = step;
    },
  });
  if (process.stdout.isTTY) process.stdout.write("\n");
  await importImage(client, directory, false);
  rmSync(directory, { recursive: true, force: true });
}

/** Draws one line a machine, over itself on a terminal, one more line for each change elsewhere. */
function drawing(began: number) {
  let drawn = 0;
  const before = new Map<string, string>();
  return (machines: readonly MachineView[]) => {
    const age = `${Math.round((Date.now() - began) / 1000)} s`.padStart(6);
    const lines = machines.map(
      (machine) =>
        `${machine.name.padEnd(9)} ${machine.role.padEnd(8)} ${machine.phase.padEnd(12)} ${doing(machine)}`,
    );
    if (process.stdout.isTTY) {
      process.stdout.write(
        `${drawn > 0 ? `\u001b[${drawn}A` : ""}${lines.map((line) => `\u001b[K${age}  ${line}\n`).join("")}`,
      );
      drawn = lines.length;
      return;
    }
    machines.forEach((machine, index) => {
      const line = lines[index] ?? "";
      // A line a step: percents are for a screen that is drawn over.
      const step = line.replace(/ \d+ % of .*$/, "");
      if (before.get(machine.name) !== step) process.stdout.write(`${age}  ${step}\n`);
      before.set(machine.name, step);
    });
  };
}

async function demo(options: DemoOptions): Promise<void> {
  refuseWithoutMeans(options);
  await fillBootAssets({ quiet: true });
  const dataDir = resolve(options.data ?? "data", "demo");
  // Machines of an earlier demo would show their old boots; the image, which takes minutes to build, is kept.
  if (existsSync(dataDir))
    for (const name of readdirSync(dataDir))
      if (statSync(join(dataDir, name)).isSocket()) rmSync(join(dataDir, name));
  const lab = await createVirtualLab("rollcall-demo").catch((error: Error) => {
    throw new DemoRefused(
      `the network of the lab could not be made: ${error.message.trim()}`,
      "Is another demo running? Its rest can be removed with: ip netns delete rollcall-demo",
    );
  });
  const ended = new Promise<void>((done) => {
    process.once("SIGINT", done);
    process.once("SIGTERM", done);
  });
  try {
    await lab.addBridge("br0", "10.99.0.1/24");
    const uplink = await lab.addUplink("rollcall-demo0");
    const server = await startLabServer(lab, { dataDir, config: labConfig });
    try {
      await runDemo(
        lab,
        createClient({ server: undefined, token: undefined, dataDirs: [dataDir] }),
        uplink,
        dataDir,
        ended,
        options,
      );
    } finally {
      await server.stop();
    }
  } finally {
    await lab.close();
    process.stdout.write("The virtual lab is gone; its image is kept for the next time.\n");
  }
}

async function runDemo(
  lab: VirtualLab,
  client: Client,
  uplink: string,
  dataDir: string,
  ended: Promise<void>,
  options: DemoOptions,
): Promise<void> {
  await ensureImage(client, dataDir, options.image);
  const chosen = demoMachines.slice(0, options.machines);
  const known = await client.list<MachineView>("/machines");
  for (const { name, mac, role } of chosen) {
    if (!known.some((machine) => machine.name === name))
      await client.post("/machines", { name, macs: [mac], group: "demo" });
    // The lab's machines are smaller than real ones, and large enough for what these roles do as of now.
    await client.put(`/machines/${name}/role`, { role, ramCheck: "ignore" });
  }
  const { url } = await client.post<{ url: string }>("/session/links", {});
  process.stdout.write(`The server of the lab: http://${uplink}:8080/api/docs; its data: ${dataDir}\n`);
  process.stdout.write(
    `Its dashboard: http://${uplink}:8080/dashboard/sign-in${new URL(url).hash}\n` +
      `(signs in once, for five minutes; another link: npm run boot -- --data ${dataDir} dashboard, with ${uplink} as its address)\n`,
  );
  process.stdout.write(
    `From another terminal: npm run boot -- --data ${dataDir} machine show ${chosen[0]?.name}\n`,
  );
  process.stdout.write(
    `Switching on ${chosen.length === 1 ? "a diskless machine" : `${chosen.length} diskless machines`}...\n\n`,
  );
  const draw = drawing(Date.now());
  const poweredOn = new Map<string, number>();
  for (const { name, mac, firmware } of chosen) {
    poweredOn.set(name, Date.now());
    await lab.powerOn({
      name,
      mac,
      firmware,
      memoryMiB,
      ...(options.screens
        ? { onScreen: wholeLines((line) => process.stderr.write(`${name}| ${line}\n`)) }
        : {}),
    });
  }
  let isEnded = false;
  void ended.then(() => (isEnded = true));
  const began = Date.now();
  for (;;) {
    const machines = (await client.list<MachineView>("/machines")).filter((machine) =>
      chosen.some(({ name }) => name === machine.name),
    );
    draw(machines);
    if (isEnded) return;
    if (
      machines.every(
        (machine) =>
          machine.phase === "ready" && machine.boot && Date.parse(machine.boot.startedAt) >= began - 60_000,
      )
    )
      break;
    await Promise.race([ended, new Promise((done) => setTimeout(done, 1000))]);
  }
  process.stdout.write(`\nAll ready, ${Math.round((Date.now() - began) / 1000)} s after power-on.\n`);
  process.stdout.write(`\n${await whereTimeWent(client, poweredOn)}`);
  if (options.untilReady) return;
  process.stdout.write("Ctrl-C switches everything off.\n");
  await ended;
}

/** A table of the phases of each machine's boot, by the timelines of the server. */
async function whereTimeWent(client: Client, poweredOn: ReadonlyMap<string, number>): Promise<string> {
  const seconds = (milliseconds: number) => (milliseconds / 1000).toFixed(1).padStart(6);
  const columns = await Promise.all(
    [...poweredOn].map(async ([name, at]) => {
      const { items } = await client.get<{ items: TimedBoot[] }>(`/machines/${name}/boots?limit=1`);
      return { name, spans: items[0] ? bootSpans(at, items[0]) : [] };
    }),
  );
  return formatTable({
    columns: ["seconds for", ...columns.map(({ name }) => name)],
    rows: (columns[0]?.spans ?? []).map(({ what }) => [
      what,
      ...columns.map(({ spans }) => {
        const span = spans.find((one) => one.what === what);
        return span && seconds(span.milliseconds);
      }),
    ]),
    empty: "",
  });
}

function machineCount(text: string): number {
  if (!/^[1-3]$/.test(text)) throw new InvalidArgumentError("1, 2 or 3");
  return Number(text);
}

/** A screen's text comes in bits; each whole line is passed on. */
function wholeLines(show: (line: string) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) show(line);
  };
}

export function demoCommand(program: Command): void {
  program
    .command("demo")
    .description("a virtual lab on this machine: diskless machines boot into their roles")
    .option("--machines <count>", "how many, 1 to 3", machineCount, demoMachines.length)
    .option("--image <dir>", "take the image debian-node from this directory instead of building it")
    .option("--until-ready", "end when all machines are ready")
    .option("--screens", "show what appears on the machines' screens, on standard error")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo npm run demo\n  sudo boot demo --machines 1 --image /srv/debian-node",
    )
    .action(async (_options: object, command: Command) => demo(command.optsWithGlobals()));
}

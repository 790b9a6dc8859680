import { type Command, InvalidArgumentError } from "commander";
import type { Cidr } from "../../net/cidr.ts";
import { systemClock } from "../../platform/clock.ts";
import { createLogger } from "../../platform/logger.ts";
import { ipv4ByDevice, networksOfDevice } from "../../platform/network-devices.ts";
import { createUdp } from "../../platform/udp.ts";
import { assetModes, goals, type Plan, readPlan, SimulationInvalid } from "../../simulate/plan.ts";
import { profileNames, profileOf } from "../../simulate/profiles.ts";
import { shortOfGoal, type SimulationReport } from "../../simulate/report.ts";
import { type Progress, simulate } from "../../simulate/simulate.ts";
import { formatBytes, formatTable, safeText, type Table } from "../output.ts";
import type { Session } from "../session.ts";

interface SimulateOptions {
  readonly machines: number;
  readonly within: number;
  readonly profile: readonly string[];
  readonly server?: string;
  readonly device?: string;
  readonly network?: string;
  readonly relay?: string;
  readonly until?: string;
  readonly assets: string;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly seed: number;
  readonly speed: number;
  readonly attempts: number;
  readonly limit: number;
  readonly first: number;
  readonly dhcpPort: number;
  readonly pxePort: number;
  readonly tftpPort: number;
}

function decimal(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It is no number.");
  return value;
}

function whole(text: string): number {
  const value = decimal(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("It is no whole number.");
  return value;
}

const list = (text: string): string[] => text.split(",").filter((word) => word !== "");

/** Loopback's network is local to this host as it is. */
const isNotLoopback = ({ network }: Cidr) => !network.startsWith("127.");

function planOf(options: SimulateOptions, environment: NodeJS.ProcessEnv): Plan {
  const server = options.server ?? environment["ROLLCALL_SERVER"];
  return readPlan({
    ...options,
    withinSeconds: options.within,
    profiles: options.profile,
    servers: server === undefined ? [] : list(server),
    device: options.device,
    ownNetworks: [...ipv4ByDevice().keys()].flatMap(networksOfDevice).filter(isNotLoopback),
    network: options.network,
    relay: options.relay,
    goal: options.until,
    limitSeconds: options.limit,
  });
}

function progressText({ elapsedMs, poweredOn, arrived, failed, machines }: Progress): string {
  const underWay = poweredOn - arrived - failed;
  return `${Math.round(elapsedMs / 1000)} s: ${poweredOn} of ${machines} switched on, ${underWay} on their way, ${arrived} arrived, ${failed} failed`;
}

const arrivals: Readonly<Record<string, string>> = {
  joined: "joined",
  boot: "got to their kernel",
  script: "got their script",
  "first-stage": "got their first stage",
  address: "got an address",
  offer: "got an offer",
  local: "went on with their local disk",
  waiting: "wait for a role",
};

function phasesTable({ phases }: SimulationReport): Table {
  return {
    columns: ["phase", "count", "p50 ms", "p90 ms", "p99 ms", "max ms", "repeated"],
    rows: phases.map(({ phase, count, p50Ms, p90Ms, p99Ms, maxMs, repeated }) => [
      phase,
      count,
      p50Ms,
      p90Ms,
      p99Ms,
      maxMs,
      repeated,
    ]),
    empty: "Nothing was measured.",
  };
}

function reportText(report: SimulationReport): string {
  const { machines, durationMs, arrived, failed, restarts, failures, remarks, datagrams } = report;
  const outcomes = Object.entries(arrived).map(([name, count]) => `${count} ${arrivals[name] ?? name}`);
  const { passed, lost, blocked, duplicated, delayed } = datagrams;
  const paragraph = (title: string, lines: readonly string[]) =>
    lines.length > 0 ? `\n${title}\n${lines.join("\n")}\n` : "";
  return [
    formatTable(phasesTable(report)),
    `\n${machines} machines in ${(durationMs / 1000).toFixed(1)} s: ${[...outcomes, `${failed} failed`].join(", ")}`,
    restarts > 0 ? `; ${restarts} switched off and on again` : "",
    `.\n`,
    lost + duplicated + delayed > 0
      ? `The simulated network (--loss, --duplicate, --reorder): ${passed} datagrams passed, ${lost} lost, ${duplicated} doubled, ${delayed} delayed.\n`
      : "",
    blocked > 0
      ? `${blocked} datagrams were sent before their switch port forwarded anything (a profile with spanning tree): expected, not lost by the network.\n`
      : "",
    arrived.waiting
      ? `Machines that wait for a role get it by \`boot MACHINES ROLE\`, before or while they wait; their names: \`boot status\`.\n`
      : "",
    `The simulator itself used ${formatBytes(report.simulatorMemoryBytes)} of memory.\n`,
    paragraph(
      "Failed:",
      failures.map(
        ({ phase, reason, machines: count, examples }) =>
          `  ${count} at ${phase}: ${safeText(reason)}; e.g. ${examples.join(", ")}`,
      ),
    ),
    paragraph(
      "Remarked:",
      remarks.map(
        ({ reason, machines: count, examples }) =>
          `  ${count} times: ${safeText(reason)}; e.g. ${examples.join(", ")}`,
      ),
    ),
  ].join("");
}

const help = `
Profiles:
${profileNames.map((name) => `  ${name.padEnd(16)} ${profileOf(name).summary}`).join("\n")}

Examples:
  boot simulate --server 10.0.0.1 --network 10.50.0.0/16 --machines 500 --within 60 --profile uefi,bios,ipxe
  boot simulate --device eth1 --machines 20
The first plays a room behind a relay agent, which is this host: every address of --network becomes local to it for the
time of the run (root), the server has that network among its dhcp.subnets, and a route to it by way of this host.
The exit code is 1 if a machine failed or waits for a role.`;

export function simulateCommand(program: Command, open: () => Session): void {
  program
    .command("simulate")
    .description(
      "machines that only exist on the network boot against a server: where it takes how long, and what fails",
    )
    .option("--machines <number>", "how many", whole, 10)
    .option("--within <seconds>", "they are switched on within this time, spread at random", decimal, 1)
    .option(
      "--profile <names>",
      "which kinds, in equal parts, parted by commas (default: all but os)",
      list,
      [],
    )
    .option("--network <cidr>", "the room's network; this host is its relay agent")
    .option("--relay <address>", "address of the relay agent (default: the first of --network)")
    .option("--device <name>", "no relay agent: DHCP by broadcast on this device")
    .option("--until <goal>", `how far: ${goals.join(", ")} (default: joined; with --device: address)`)
    .option("--assets <mode>", `kernel, initrd and root: ${assetModes.join(", ")}`, "head")
    .option("--loss <share>", "datagrams lost each way, 0 to 1", decimal, 0)
    .option("--duplicate <share>", "datagrams that come twice", decimal, 0)
    .option("--reorder <share>", "datagrams that come up to 30 ms late", decimal, 0)
    .option("--seed <number>", "the same seed plans the same machines and the same losses", whole, 1)
    .option("--speed <factor>", "firmware waits so many times shorter than real ones", decimal, 1)
    .option("--attempts <number>", "power-ons of one machine before it counts as failed", whole, 3)
    .option("--limit <seconds>", "a machine that is not there by then has failed", decimal, 600)
    .option("--first <number>", "number of the first machine: other numbers are other MACs", whole, 1)
    .option("--dhcp-port <port>", "of the server", whole, 67)
    .option("--pxe-port <port>", "of the server", whole, 4011)
    .option("--tftp-port <port>", "of the server", whole, 69)
    .addHelpText("after", help)
    .action(async (_options: object, command: Command) => {
      const session = open();
      const stop = new AbortController();
      // However it ends, what --network made local to this host is taken back: a terminal that is closed, a reader that has gone.
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => stop.abort());
      for (const output of [process.stdout, process.stderr]) output.on("error", () => stop.abort());
      try {
        const plan = planOf(command.optsWithGlobals<SimulateOptions>(), process.env);
        const isTerminal = process.stderr.isTTY === true;
        const report = await simulate(plan, {
          udp: createUdp({ log: createLogger("error"), clock: systemClock }),
          clock: systemClock,
          signal: stop.signal,
          onProgress: (progress) =>
            process.stderr.write(
              isTerminal ? `\r\u001b[K${progressText(progress)}` : `${progressText(progress)}\n`,
            ),
        });
        if (isTerminal) process.stderr.write("\n");
        session.show(report, () => reportText(report));
        if (shortOfGoal(report) > 0) process.exitCode = 1;
      } catch (error) {
        if (error instanceof SimulationInvalid) command.error(`error: ${error.message}`);
        throw error;
      }
    });
}

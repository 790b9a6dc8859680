import { machineCodes } from "../../domain/reported-codes.ts";
import { formatAge, formatBytes, formatTable, safeText } from "../output.ts";
import { powerInWords, type PowerSettingsView } from "./machine-power.ts";
import { changesNext, nextRole, type MachineView } from "./status.ts";

export interface MachineDetails extends MachineView {
  readonly currentAddress?: string | null;
  readonly uuid: string | null;
  readonly serial: string | null;
  readonly manufacturer: string | null;
  readonly product: string | null;
  readonly arch: string | null;
  readonly firmware: string | null;
  readonly secureBoot: boolean | null;
  readonly roleSource: string;
  readonly labels: Record<string, string>;
  readonly power?: PowerSettingsView | null;
  readonly bootsBy: {
    readonly localBoot: { readonly value: string; readonly source: string };
    readonly driver: { readonly value: string; readonly source: string; readonly learned: string | null };
  };
}

/** What its own system found, and who else has its UUID. */
export interface FoundHardware {
  readonly sharesUuidWith: readonly string[];
  readonly hardware: HardwareView | null;
}

interface HardwareView {
  readonly reportedAt: string;
  readonly cpu: { readonly model: string | null; readonly cores: number | null };
  readonly memoryBytes: number | null;
  readonly uuid: string | null;
  readonly disks: readonly {
    readonly name: string;
    readonly sizeBytes: number;
    readonly model: string | null;
    readonly serial: string | null;
  }[];
  readonly nics: readonly {
    readonly name: string;
    readonly mac: string;
    readonly machine: string | null;
    readonly driver: string | null;
    readonly hasLink: boolean | null;
    readonly speedMbit: number | null;
    readonly neighbour: {
      readonly chassisId: string;
      readonly portId: string;
      readonly portDescription: string | null;
      readonly systemName: string | null;
    } | null;
  }[];
}

export interface BootView {
  readonly id: string;
  readonly startedAt: string;
  readonly outcome: string;
  readonly target: string | null;
  readonly verdict: string | null;
  readonly durationMs: number;
  readonly serverMs: number;
  readonly phases: readonly { readonly phase: string; readonly afterMs: number }[];
  readonly steps: readonly {
    readonly step: string;
    readonly afterMs: number;
    readonly serverMs: number | null;
    readonly detail: Record<string, unknown>;
  }[];
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const detailText = (detail: Record<string, unknown>) =>
  Object.entries(detail)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(" ");

/** One boot as a timeline: each step with its time since power-on and the server's own share of it. */
function timeline(boot: BootView): string {
  const rows = boot.steps.map((step) => [
    seconds(step.afterMs),
    step.step,
    step.serverMs === null ? "" : `${step.serverMs.toFixed(1)} ms`,
    detailText(step.detail),
  ]);
  const phases = boot.phases.map(({ phase, afterMs }) => `${phase} ${seconds(afterMs)}`).join(", ");
  return [
    `Boot ${boot.id}, begun ${boot.startedAt}: ${boot.outcome}${boot.verdict ? ` (${safeText(boot.verdict)})` : ""}${boot.target ? `, role ${safeText(boot.target)}` : ""}`,
    ...boot.steps
      .flatMap(({ detail }) => machineCodes[String(detail["code"])] ?? [])
      .slice(-1)
      .map((advice) => `What to do: ${advice}`),
    `Phases: ${phases}`,
    formatTable({ columns: ["after", "step", "server", "detail"], rows, empty: "No step yet." }).trimEnd(),
    `Server's own time in all: ${boot.serverMs.toFixed(1)} ms of ${seconds(boot.durationMs)}`,
    "",
  ].join("\n");
}

type Fact = [string, string | null];

/** What its own system found in it, and where its cables end. */
function hardwareFacts({ name, macs, hardware }: MachineDetails & FoundHardware): Fact[] {
  if (!hardware) return [];
  const { cpu, memoryBytes, disks, nics } = hardware;
  const strange = nics.filter(({ machine }) => machine !== name);
  return [
    [
      "CPU",
      [cpu.model, cpu.cores === null ? null : `${cpu.cores} threads`].filter(Boolean).join(", ") || null,
    ],
    ["RAM", memoryBytes === null ? null : formatBytes(memoryBytes)],
    ...(disks.length === 0 ? [["disk", "none"] as Fact] : []),
    ...disks.map((disk): Fact => [
      `disk ${disk.name}`,
      [formatBytes(disk.sizeBytes), disk.model, disk.serial && `serial ${disk.serial}`]
        .filter(Boolean)
        .join(", "),
    ]),
    ...nics.map((nic): Fact => [`NIC ${nic.name}`, nicInWords(nic, name)]),
    ...(strange.length > 0 && strange.every(({ machine }) => machine === null)
      ? [
          [
            "if these are its NICs",
            `boot machine edit ${name} --mac ${[...macs, ...strange.map(({ mac }) => mac)].join(" ")}`,
          ] as Fact,
        ]
      : []),
    ["found at", hardware.reportedAt],
  ];
}

function nicInWords(nic: HardwareView["nics"][number], name: string): string {
  const { mac, machine, driver, hasLink, speedMbit, neighbour } = nic;
  return [
    mac,
    machine === name
      ? null
      : machine === null
        ? "not yet known as its own"
        : `known as the machine ${machine}`,
    driver,
    hasLink === false ? "no link" : speedMbit === null ? null : `${speedMbit} Mbit/s`,
    neighbour && `switch ${neighbour.systemName ?? neighbour.chassisId}, port ${neighbour.portId}`,
  ]
    .filter(Boolean)
    .join(", ");
}

/** A board without a UUID of its own says so. */
function uuidInWords({ uuid, sharesUuidWith, hardware }: MachineDetails & FoundHardware): string | null {
  if (uuid === null)
    return hardware?.uuid ? `none of its own: its board says ${hardware.uuid}, as many others do` : null;
  if (sharesUuidWith.length === 0) return uuid;
  const others = sharesUuidWith.slice(0, 4).join(", ");
  return `${uuid}, which ${others}${sharesUuidWith.length > 4 ? " and others" : ""} ${sharesUuidWith.length === 1 ? "says" : "say"} too; MACs tell them apart`;
}

/** One machine, with the timeline of its last boot. */
export function machineDetails(machine: MachineDetails & FoundHardware, boots: readonly BootView[]): string {
  const { bootsBy } = machine;
  const isLearned = bootsBy.driver.value === "auto" && bootsBy.driver.learned !== null;
  const learned = isLearned ? `: ${bootsBy.driver.learned}, since it hung in another one` : "";
  const facts: [string, string | null][] = [
    ["name", machine.name],
    ["MACs", machine.macs.join(", ")],
    ["phase", machine.phase],
    ...(changesNext(machine)
      ? ([
          ["role", machine.runs],
          ["next boot", `${nextRole(machine)} (${machine.roleSource})`],
        ] as [string, string | null][])
      : ([["role", `${nextRole(machine)} (${machine.roleSource})`]] as [string, string | null][])),
    ...(machine.roleProblem === null ? [] : [["broken", machine.roleProblem] as [string, string]]),
    ["group, seat", [machine.group, machine.seat].filter(Boolean).join(", ") || null],
    ["address", machine.currentAddress ?? null],
    ["reserved address", machine.address],
    [
      "hardware",
      [machine.manufacturer, machine.product, machine.serial && `serial ${machine.serial}`]
        .filter(Boolean)
        .join(" ") || null,
    ],
    ["firmware", [machine.firmware, machine.arch].filter(Boolean).join(", ") || null],
    ["Secure Boot", machine.secureBoot === null ? null : machine.secureBoot ? "on" : "off"],
    ["local boot", `${bootsBy.localBoot.value} (${bootsBy.localBoot.source})`],
    ["driver", `${bootsBy.driver.value}${learned} (${bootsBy.driver.source})`],
    ["power", powerInWords(machine.power)],
    ["UUID", uuidInWords(machine)],
    ...hardwareFacts(machine),
    ["labels", detailText(machine.labels) || null],
    ["last seen", formatAge(machine.lastSeenAt, Date.now())],
  ];
  const [newest, ...older] = boots;
  const history = older.map(
    (boot) =>
      `  ${boot.startedAt}  ${boot.id}  ${boot.outcome}${boot.verdict ? `: ${safeText(boot.verdict)}` : ""}`,
  );
  return [
    formatTable({ columns: ["fact", "value"], rows: facts, empty: "" })
      .split("\n")
      .slice(1)
      .join("\n"),
    newest ? timeline(newest) : "It has not booted yet.\n",
    ...(history.length > 0 ? ["Earlier boots:", ...history, ""] : []),
  ].join("\n");
}

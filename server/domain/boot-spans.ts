import { type Boot, type BootStepName, bootSteps, furthestStep } from "./boot.ts";
import type { DurationMs } from "./capabilities.ts";

/** A boot's timeline, as `GET /machines/{name}/boots` answers it. */
export interface TimedBoot {
  readonly startedAt: string;
  readonly steps: readonly {
    readonly step: string;
    readonly afterMs: number;
    readonly detail?: Readonly<Record<string, unknown>>;
  }[];
  readonly phases?: readonly { readonly phase: string; readonly afterMs: number }[];
}

/** The parts of a boot by name, in the order in which a machine passes them. */
export const bootParts = [
  "firmware",
  "dhcp",
  "tftp",
  "script",
  "kernel",
  "initramfs",
  "image",
  "mount",
  "system",
  "config",
  "join",
] as const;
export type BootPart = (typeof bootParts)[number];

interface Part {
  readonly what: string;
  /** Each part ends at a step, or at a phase, or with the first packet; undefined there: it is not on the timeline. */
  readonly until:
    | "first packet"
    | {
        readonly step: BootStepName;
        /** `last`: the last one before the machine came any further, of those that it repeats. */
        readonly which?: "last";
        /** Only the machine's own report of it, not the server's sight. */
        readonly isReported?: true;
      }
    | { readonly phase: "ready" };
}

/** What a machine does from power-on to ready, and what ends each. */
const parts: Readonly<Record<BootPart, Part>> = {
  firmware: { what: "firmware, to its first packet", until: "first packet" },
  dhcp: { what: "DHCP, to its boot file's name", until: { step: "request", which: "last" } },
  tftp: { what: "first-stage program loaded", until: { step: "nbp", which: "last" } },
  script: { what: "first stage, to its script", until: { step: "script" } },
  kernel: { what: "kernel and initrd loaded", until: { step: "initrd" } },
  initramfs: {
    what: "kernel and initramfs start, to an address",
    until: { step: "network", isReported: true },
  },
  image: { what: "root loaded", until: { step: "verify", isReported: true } },
  mount: { what: "root checked and mounted", until: { step: "switch-root", isReported: true } },
  system: { what: "system starts, to its config", until: { step: "config" } },
  config: { what: "configured, to the callback", until: { step: "callback" } },
  join: { what: "joins the cluster, to ready", until: { phase: "ready" } },
};

/** What a part of a boot is, for people. */
export const partInWords = (part: BootPart): string => parts[part].what;

/** A part of a boot. */
export interface BootSpan {
  readonly part: BootPart;
  readonly what: string;
  /** After the boot's first packet, ms; below 0 before it. */
  readonly startMs: number;
  readonly milliseconds: number;
}

const order = new Map<string, number>(bootSteps.map((step, index) => [step, index]));

/** When the part ended, ms after the first packet; undefined: the timeline does not have its end. */
function endOf({ until }: Part, { steps, phases = [] }: TimedBoot): number | undefined {
  if (until === "first packet") return 0;
  if ("phase" in until) {
    // A role that joins nothing is ready with its callback, and has no such part.
    const joining = phases.findLast(({ phase }) => phase === "joining");
    const ready = phases.findLast(({ phase }) => phase === until.phase);
    return joining && ready && ready.afterMs >= joining.afterMs ? ready.afterMs : undefined;
  }
  const isIt = (one: TimedBoot["steps"][number]) =>
    one.step === until.step && (!until.isReported || one.detail?.["reported"] === 1);
  const first = steps.findIndex(isIt);
  if (first < 0 || until.which !== "last") return steps[first]?.afterMs;
  const place = order.get(until.step) ?? 0;
  const further = steps.findIndex((one, index) => index > first && (order.get(one.step) ?? 0) > place);
  return (further < 0 ? steps : steps.slice(0, further)).findLast(isIt)?.afterMs;
}

/**
 * Where a boot's time went, ms; a part whose end is not on the timeline is left out, and its time is the next one's.
 * @param poweredOnAt epoch ms; that of the first packet where nobody saw it
 */
export function bootSpans(poweredOnAt: number, boot: TimedBoot): BootSpan[] {
  let last = poweredOnAt - Date.parse(boot.startedAt);
  return bootParts.flatMap((part) => {
    const end = endOf(parts[part], boot);
    if (end === undefined) return [];
    const startMs = last;
    // A kernel that could not be loaded is asked for once more: what was passed before it is not passed again.
    last = Math.max(last, end);
    return [{ part, what: parts[part].what, startMs, milliseconds: last - startMs }];
  });
}

/** The part that a boot under way is in, by the furthest station that it has passed. */
export function partUnderWay(boot: Boot): BootPart | undefined {
  // It is given its script when it has a role.
  if (boot.steps.at(-1)?.step === "wait") return "script";
  const furthest = order.get(furthestStep(boot) ?? "") ?? -1;
  return bootParts.find((part) => {
    const { until } = parts[part];
    return until !== "first packet" && ("phase" in until || (order.get(until.step) ?? 0) > furthest);
  });
}

/** The parts of a stored boot. @param poweredOnAt epoch ms; undefined: nobody saw it, and the firmware's part is left out */
export function spansOf(
  boot: Pick<Boot, "startedAt" | "steps" | "phases">,
  poweredOnAt?: number,
): BootSpan[] {
  const { startedAt } = boot;
  const spans = bootSpans(poweredOnAt ?? startedAt, {
    startedAt: new Date(startedAt).toISOString(),
    steps: boot.steps.map(({ step, at, detail }) => ({ step, detail, afterMs: at - startedAt })),
    phases: boot.phases.map(({ phase, at }) => ({ phase, afterMs: at - startedAt })),
  });
  return poweredOnAt === undefined ? spans.slice(1) : spans;
}

/** What a part takes in other boots. */
export interface UsualTime {
  readonly medianMs: DurationMs;
  /** Boots that have this part on their timeline. */
  readonly boots: number;
}

export function usualTimes(
  boots: readonly Pick<Boot, "startedAt" | "steps" | "phases">[],
): ReadonlyMap<BootPart, UsualTime> {
  const times = Map.groupBy(
    boots.flatMap((boot) => spansOf(boot)),
    ({ part }) => part,
  );
  return new Map(
    [...times].map(([part, spans]) => [
      part,
      { medianMs: medianOf(spans.map(({ milliseconds }) => milliseconds)) ?? 0, boots: spans.length },
    ]),
  );
}

/** Rounded; undefined: of nothing. */
export function medianOf(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  const lower = sorted.length % 2 === 0 ? sorted[middle - 1] : upper;
  return upper === undefined || lower === undefined ? undefined : Math.round((upper + lower) / 2);
}

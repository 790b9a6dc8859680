/** A boot's timeline, as `GET /machines/{name}/boots` answers it. */
export interface TimedBoot {
  readonly startedAt: string;
  readonly steps: readonly {
    readonly step: string;
    readonly afterMs: number;
    readonly detail?: Readonly<Record<string, unknown>>;
  }[];
}

/** The parts of a boot, by what people call them. */
export const bootParts = {
  firmware: "firmware, to its first packet",
  firstStage: "first stage, to its script",
  load: "kernel and initrd loaded",
  kernel: "kernel and initramfs start, to an address",
  rootLoad: "root loaded",
  rootMount: "root checked and mounted",
  system: "system starts, to its config",
  configured: "configured, to the callback",
} as const;

/** What a machine does from power-on to ready, each up to the step that is named; `isReported`: to the machine's own report of it. */
const spans: readonly (readonly [what: string, until: string, isReported?: boolean])[] = [
  [bootParts.firmware, "(first)"],
  [bootParts.firstStage, "script"],
  [bootParts.load, "initrd"],
  [bootParts.kernel, "network", true],
  [bootParts.rootLoad, "verify", true],
  [bootParts.rootMount, "switch-root", true],
  [bootParts.system, "config"],
  [bootParts.configured, "callback"],
];

/** Where a boot's time went, ms; a span whose step is not on the timeline is left out, and its time is the next one's. */
export function bootSpans(
  poweredOnAt: number,
  { startedAt, steps }: TimedBoot,
): { what: string; milliseconds: number }[] {
  const began = Date.parse(startedAt);
  let last = poweredOnAt;
  return spans.flatMap(([what, until, isReported = false]) => {
    const step = steps.find((one) => one.step === until && (!isReported || one.detail?.["reported"] === 1));
    if (!step && until !== "(first)") return [];
    const at = began + (step?.afterMs ?? 0);
    const milliseconds = at - last;
    last = at;
    return [{ what, milliseconds }];
  });
}

/** A boot's timeline, as `GET /machines/{name}/boots` answers it. */
export interface TimedBoot {
  readonly startedAt: string;
  readonly steps: readonly {
    readonly step: string;
    readonly afterMs: number;
    readonly detail?: Readonly<Record<string, unknown>>;
  }[];
}

/** What a machine does from power-on to ready, each up to the step that is named; `isReported`: to the machine's own report of it. */
const spans: readonly (readonly [what: string, until: string, isReported?: boolean])[] = [
  ["firmware, to its first packet", "(first)"],
  ["first stage, to its script", "script"],
  ["kernel and initrd loaded", "initrd"],
  ["kernel and initramfs start, to an address", "network", true],
  ["root loaded", "verify", true],
  ["root checked and mounted", "switch-root", true],
  ["system starts, to its config", "config"],
  ["configured, to the callback", "callback"],
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

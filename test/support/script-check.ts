import { type Effect, type Ending, IpxeScript } from "../../server/simulate/ipxe-script.ts";

export interface Network {
  /** The script at an address; undefined: it is no script, or nobody's. */
  script(url: string): string | undefined;
  /** Does this fail? `count` is the number of effects before it. */
  fails(effect: Effect, count: number): boolean;
  /** Commands that this iPXE does not know. */
  readonly missing?: ReadonlySet<string>;
  /** True where iPXE has an address before its first script. */
  readonly hasAddress: boolean;
}

export interface Playing {
  /** `still-trying`: it was watched for long enough. */
  readonly ending: Ending | { readonly kind: "still-trying" };
  /** What the last script shows. */
  readonly screen: readonly string[];
  readonly effects: readonly Effect[];
  readonly sleptSeconds: number;
  /** Waits after a failure that nothing on the screen explains. */
  readonly silentWaits: readonly string[];
}

/** Runs a script and those that it chains to, to the end. */
export function playScripts(first: string, network: Network, maximumEffects = 500): Playing {
  let settings = new Map([
    ["netX/mac", "52:54:00:00:00:01"],
    ["uuid", "4c4c4544-0035-3510-8052-b4c04f4a3732"],
    ["platform", "efi"],
    ["buildarch", "x86_64"],
    ...(network.hasAddress ? ([["netX/ip", "10.0.0.11"]] as const) : []),
  ]);
  const effects: Effect[] = [];
  const silentWaits: string[] = [];
  let sleptSeconds = 0;
  let text = first;
  for (;;) {
    const script = new IpxeScript(text, settings, network.missing);
    const result = (ending: Playing["ending"]): Playing => ({
      ending,
      screen: script.screen,
      effects,
      sleptSeconds,
      silentWaits,
    });
    let next: string | undefined;
    let hasFailed = false;
    const run = script.run();
    let turn = run.next();
    while (!turn.done) {
      const effect = turn.value;
      if (effects.length >= maximumEffects) return result({ kind: "still-trying" });
      const isDone = effect.kind === "sleep" || !network.fails(effect, effects.length);
      effects.push(effect);
      if (effect.kind === "sleep") {
        sleptSeconds += effect.seconds;
        const line = script.screen.at(-1) ?? "";
        if (hasFailed && !/[a-z]/.test(line)) silentWaits.push(line);
        hasFailed = false;
      } else if (!isDone) hasFailed = true;
      if (effect.kind === "dhcp" && isDone) {
        script.settings.set("netX/ip", "10.0.0.11");
        script.settings.set("filename", "http://10.0.0.1:8080/boot.ipxe");
      }
      if (effect.kind === "chain" && isDone) next = network.script(effect.url);
      turn = run.next(isDone);
    }
    const chained = effects.at(-1)?.kind === "chain" && turn.value.kind === "exit" && next !== undefined;
    if (!chained || next === undefined) return result(turn.value);
    settings = script.settings;
    text = next;
  }
}

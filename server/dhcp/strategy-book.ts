import type { BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { Clock, Log } from "../domain/capabilities.ts";
import type { Mac } from "../net/mac.ts";
import { countIgnored, type IgnoredOffers, looksLikeNoMerge } from "./policy/ignored-offers.ts";
import {
  countRound,
  countStep,
  judgeTrial,
  type StrategySwitch,
  type StrategyTrial,
  type TrialStep,
} from "./policy/switch-strategy.ts";

/** Machines that are watched at a time; the one that was silent for longest gives way. */
const trialMemory = 10_000;
/** Machines that are served otherwise than their kind. */
const chosenMemory = 10_000;
/** So many switches a minute are saved and told: anybody's packets can cause them. */
const maximumToldPerMinute = 60;

export interface StrategyBookDeps {
  readonly clock: Pick<Clock, "now" | "monotonicMs">;
  readonly log: Log;
  readonly strategies: BootStrategyRepository | undefined;
  onSwitch(mac: Mac, change: StrategySwitch): void;
  /** It takes nobody's offer, whatever it is told. @returns false when that is no news of its firmware (yet) */
  onIgnored?(mac: Mac, ignored: IgnoredOffers): boolean;
}

/** Which strategy each machine is served by, and how it goes with it. */
export class StrategyBook {
  readonly #deps: StrategyBookDeps;
  readonly #chosen = new Map<Mac, string>();
  readonly #trials = new Map<Mac, StrategyTrial>();
  readonly #ignored = new Map<Mac, IgnoredOffers>();
  #toldSinceMs = Number.NEGATIVE_INFINITY;
  #told = 0;

  constructor(deps: StrategyBookDeps) {
    this.#deps = deps;
    for (const { mac, strategy } of deps.strategies?.all() ?? [])
      putLast(this.#chosen, mac, strategy, chosenMemory);
  }

  /** The name of the strategy instead of its kind's first one. */
  strategyFor(mac: Mac): string | undefined {
    return this.#chosen.get(mac);
  }

  /** A firmware asks (again): when the offers before got it nowhere, this one will be of another kind. */
  onDiscover(mac: Mac): void {
    const trial = this.#trials.get(mac);
    const change = trial && judgeTrial(trial, this.#deps.clock.monotonicMs());
    if (!change) return;
    this.#trials.delete(mac);
    if (change.isWrapped) this.#chosen.delete(mac);
    else putLast(this.#chosen, mac, change.to, chosenMemory);
    if (this.#mayTell()) this.#tell(mac, change);
  }

  onOffer(mac: Mac, strategy: string): void {
    const trial = countRound(this.#trials.get(mac), strategy, this.#deps.clock.monotonicMs());
    putLast(this.#trials, mac, trial, trialMemory);
    this.#watchIgnored(mac);
  }

  #watchIgnored(mac: Mac): void {
    const { clock, onIgnored } = this.#deps;
    if (!onIgnored) return;
    const ignored = countIgnored(this.#ignored.get(mac), clock.monotonicMs());
    const isTold = looksLikeNoMerge(ignored) && this.#mayTell() && onIgnored(mac, ignored);
    putLast(this.#ignored, mac, isTold ? { ...ignored, isTold } : ignored, trialMemory);
  }

  onStep(mac: Mac, step: TrialStep): void {
    const trial = this.#trials.get(mac);
    if (trial) this.#trials.set(mac, countStep(trial, step));
    this.#ignored.delete(mac);
  }

  #tell(mac: Mac, change: StrategySwitch): void {
    const { strategies, clock, log, onSwitch } = this.#deps;
    const because = describeSwitch(change);
    const saved = change.isWrapped
      ? strategies?.remove(mac)
      : strategies?.save({ mac, strategy: change.to, because, chosenAt: clock.now() });
    saved?.catch((error: unknown) => log.warn({ err: error, mac }, "failed to save a boot strategy"));
    onSwitch(mac, change);
  }

  #mayTell(): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - this.#toldSinceMs >= 60_000) {
      this.#toldSinceMs = nowMs;
      this.#told = 0;
    }
    return ++this.#told <= maximumToldPerMinute;
  }
}

/** Why, in a few words. */
export function describeSwitch({ rounds, forMs, furthest, isWrapped }: StrategySwitch): string {
  const nothing = furthest === "offered" ? "it took no offer" : "it loaded nothing";
  const asked = `asked ${rounds} times in ${Math.round(forMs / 1000)} s and ${nothing}`;
  return isWrapped ? `${asked}; all were tried, and it begins again` : asked;
}

function putLast<V>(map: Map<Mac, V>, mac: Mac, value: V, capacity: number): void {
  map.delete(mac);
  map.set(mac, value);
  const oldest = map.size > capacity ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
}

import { LRUCache } from "lru-cache";
import type { Driver } from "../domain/boot-preferences.ts";
import type { BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { Clock, Log } from "../domain/capabilities.ts";
import type { FirstStageProgress } from "../domain/contact.ts";
import type { Mac } from "../net/mac.ts";
import { countIgnored, type IgnoredOffers, looksLikeNoMerge } from "./policy/ignored-offers.ts";
import {
  type DriverSwitch,
  type DriverTrial,
  firmwareIsBack,
  noteProgress,
  offerDriver,
} from "./policy/switch-driver.ts";
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
  onDriverSwitch(mac: Mac, change: DriverSwitch): void;
  /** It takes nobody's offer, whatever it is told. @returns false when that is no news of its firmware (yet) */
  onIgnored?(mac: Mac, ignored: IgnoredOffers): boolean;
}

/** What a machine gets instead of what its kind gets. */
interface Chosen {
  readonly strategy: string | undefined;
  readonly driver: Driver | undefined;
}
const byTheRule: Chosen = { strategy: undefined, driver: undefined };

/** Which strategy and which driver each machine is served by, and how it goes with them. */
export class StrategyBook {
  readonly #deps: StrategyBookDeps;
  readonly #chosen = new LRUCache<Mac, Chosen>({ max: chosenMemory });
  readonly #trials = new LRUCache<Mac, StrategyTrial>({ max: trialMemory });
  readonly #driverTrials = new LRUCache<Mac, DriverTrial>({ max: trialMemory });
  readonly #ignored = new LRUCache<Mac, IgnoredOffers>({ max: trialMemory });
  #toldSinceMs = Number.NEGATIVE_INFINITY;
  #told = 0;

  constructor(deps: StrategyBookDeps) {
    this.#deps = deps;
    for (const { mac, strategy, driver } of deps.strategies?.all() ?? [])
      this.#chosen.set(mac, { strategy, driver });
  }

  /** The name of the strategy instead of its kind's first one. */
  strategyFor(mac: Mac): string | undefined {
    return this.#chosen.peek(mac)?.strategy;
  }

  /** The network driver of its first-stage program instead of the first one of its architecture. */
  driverFor(mac: Mac): Driver | undefined {
    return this.#chosen.peek(mac)?.driver;
  }

  /** A firmware asks (again): when the offers before got it nowhere, this one will be of another kind. */
  onDiscover(mac: Mac): void {
    this.#judgeStrategy(mac);
    this.#judgeDriver(mac);
  }

  #judgeStrategy(mac: Mac): void {
    const trial = this.#trials.peek(mac);
    const change = trial && judgeTrial(trial, this.#deps.clock.monotonicMs());
    if (!change) return;
    this.#trials.delete(mac);
    const strategy = change.isWrapped ? undefined : change.to;
    this.#choose(mac, { strategy }, describeSwitch(change), () => this.#deps.onSwitch(mac, change));
  }

  #judgeDriver(mac: Mac): void {
    const before = this.#driverTrials.peek(mac);
    if (!before) return;
    const { trial, change } = firmwareIsBack(before);
    this.#driverTrials.set(mac, trial);
    if (!change) return;
    const driver = change.isWrapped ? undefined : change.to;
    this.#choose(mac, { driver }, describeDriverSwitch(change), () => this.#deps.onDriverSwitch(mac, change));
  }

  onOffer(mac: Mac, strategy: string): void {
    const trial = countRound(this.#trials.peek(mac), strategy, this.#deps.clock.monotonicMs());
    this.#trials.set(mac, trial);
    this.#watchIgnored(mac);
  }

  #watchIgnored(mac: Mac): void {
    const { clock, onIgnored } = this.#deps;
    if (!onIgnored) return;
    const ignored = countIgnored(this.#ignored.peek(mac), clock.monotonicMs());
    const isTold = looksLikeNoMerge(ignored) && this.#mayTell() && onIgnored(mac, ignored);
    this.#ignored.set(mac, isTold ? { ...ignored, isTold } : ignored);
  }

  /** The firmware was offered a program whose driver nobody chose for it. */
  onProgram(mac: Mac, driver: Driver, alternatives: readonly Driver[]): void {
    const trial = offerDriver(this.#driverTrials.peek(mac), driver, alternatives);
    this.#driverTrials.set(mac, trial);
  }

  onRequest(mac: Mac): void {
    this.#step(mac, "requested");
  }

  onProgress(mac: Mac, progress: FirstStageProgress): void {
    this.#step(mac, "loaded");
    const trial = this.#driverTrials.peek(mac);
    if (trial) this.#driverTrials.set(mac, noteProgress(trial, progress));
  }

  #step(mac: Mac, step: TrialStep): void {
    const trial = this.#trials.peek(mac);
    if (trial) this.#trials.set(mac, countStep(trial, step));
    this.#ignored.delete(mac);
  }

  /** In force at once; what too many would say is neither saved nor told. */
  #choose(mac: Mac, change: Partial<Chosen>, because: string, tell: () => void): void {
    const { strategies, clock, log } = this.#deps;
    const chosen: Chosen = { ...(this.#chosen.peek(mac) ?? byTheRule), ...change };
    if (chosen.strategy === undefined && chosen.driver === undefined) this.#chosen.delete(mac);
    else this.#chosen.set(mac, chosen);
    if (!this.#mayTell()) return;
    strategies
      ?.save({ mac, ...chosen, because, chosenAt: clock.now() })
      .catch((error: unknown) => log.warn({ err: error, mac }, "failed to save a boot strategy"));
    tell();
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

/** Why, in a few words. */
export function describeDriverSwitch({ hangs, isWrapped }: DriverSwitch): string {
  const hung = `it loaded its program ${hangs} times and came back without a sign of that program`;
  return isWrapped ? `${hung}; all were tried, and it begins again` : hung;
}

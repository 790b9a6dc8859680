import type { Mac } from "../net/mac.ts";
import type { Driver } from "./boot-preferences.ts";
import type { EpochMs } from "./capabilities.ts";

/** How one machine is booted instead of as its kind is: what was chosen when the rule got it nowhere. */
export interface BootStrategy {
  readonly mac: Mac;
  /** How it is told its boot file: a name of dhcp/policy/pxe-strategies.ts, perhaps of an older version; undefined: by the rule. */
  readonly strategy: string | undefined;
  /** The driver of its first-stage program; undefined: the first one of its architecture. */
  readonly driver: Driver | undefined;
  /** Why, of the last change. */
  readonly because: string;
  readonly chosenAt: EpochMs;
}

/** Writes resolve when they are on stable storage. */
export interface BootStrategyRepository {
  all(): Iterable<BootStrategy>;
  /** One with neither a strategy nor a driver takes the machine's away: it is served by the rule again. */
  save(chosen: BootStrategy): Promise<void>;
}

import type { Mac } from "../net/mac.ts";
import type { EpochMs } from "./capabilities.ts";

/** How one machine is told its boot file instead of as its kind is: what was chosen when the rule got it nowhere. */
export interface BootStrategy {
  readonly mac: Mac;
  /** A name of dhcp/policy/pxe-strategies.ts, perhaps of an older version. */
  readonly strategy: string;
  readonly because: string;
  readonly chosenAt: EpochMs;
}

/** Writes resolve when they are on stable storage. */
export interface BootStrategyRepository {
  all(): Iterable<BootStrategy>;
  save(chosen: BootStrategy): Promise<void>;
  /** From now on the machine is served by the rule again. */
  remove(mac: Mac): Promise<void>;
}

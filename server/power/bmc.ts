import type { PowerAction, PowerState } from "../domain/power.ts";

/** A board that switches its machine, whether that runs or not. */
export interface BmcTarget {
  /** Its machine's name, for people. */
  readonly machine: string;
  readonly address: string;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly password: string;
  /** SHA-256 that is pinned. */
  readonly certificate: string | undefined;
  /** PEM of who must have signed it otherwise; undefined: whoever this host trusts. */
  readonly authority: string | undefined;
  readonly system: string | undefined;
}

export interface Bmc {
  status(target: BmcTarget, signal: AbortSignal): Promise<PowerState>;
  /** @returns what the machine is to be from then on */
  act(target: BmcTarget, action: PowerAction, signal: AbortSignal): Promise<PowerState>;
}

import type { Machine } from "../domain/machine.ts";
import type { MachineFacts } from "../inventory/machine-input.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { GrubFacts } from "./grub-config.ts";

/** A machine asks for its script. */
export interface ScriptRequest {
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly serverUrl: string;
  readonly facts: MachineFacts;
  /** It is GRUB that asks, and what it says; undefined: it is iPXE. */
  readonly grub?: GrubFacts | undefined;
  /** The role that was chosen from the menu on its screen. */
  readonly pick?: string | undefined;
}

export interface MadeScript {
  readonly script: string;
  readonly machine: Machine | undefined;
  /** It has no role yet, and comes back every few seconds. */
  readonly isWaiting?: boolean;
}

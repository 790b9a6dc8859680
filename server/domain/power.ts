import type { DurationMs } from "./capabilities.ts";
import type { Machine } from "./machine.ts";

/** What can be done to a machine's power. `cycle` ends with it on: a clean reboot where its system takes one, else off and on. */
export const powerActions = ["on", "off", "cycle"] as const;
export type PowerAction = (typeof powerActions)[number];

/** From an order to the first packet of the firmware, at most: servers test their memory for minutes. */
export const firstPacketMs: DurationMs = 8 * 60_000;

export const powerMethods = ["wol", "ssh", "ipmi", "redfish"] as const;
export type PowerMethod = (typeof powerMethods)[number];

/** Methods that speak to a machine's board (BMC). */
export const boardMethods = ["ipmi", "redfish"] as const;
export type BoardMethod = (typeof boardMethods)[number];
export const isBoardMethod = (method: PowerMethod | undefined): method is BoardMethod =>
  method === "ipmi" || method === "redfish";

/** `unknown`: the method can't tell (Wake-on-LAN), or the machine does not answer. */
export type PowerState = "on" | "off" | "unknown";

export interface PowerOutcome {
  readonly method: PowerMethod;
  readonly state: PowerState;
}

export interface PowerWishes {
  /** The board before the system: what runs on the machine can't feign what its board does. It pulls the plug. */
  readonly prefersBoard?: boolean;
}

/** Power over machines. Bounded parallelism, time limits and retries are inside; each failure is an error of the catalogue. */
export interface Power {
  /** Resolves when the method took the order, which is not yet the machine's boot. */
  readonly act: (
    machine: Machine,
    action: PowerAction,
    signal: AbortSignal,
    wishes?: PowerWishes,
  ) => Promise<PowerOutcome>;
  readonly status: (machine: Machine, signal: AbortSignal) => Promise<PowerOutcome>;
}

import type { DurationMs, Udp, UdpSocket } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Line } from "./line.ts";
import type { Plan, PlannedMachine } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Segment } from "./segment.ts";
import type { Timeline } from "./timeline.ts";

/** The stretches of a boot that are measured, in their order. */
export const phases = [
  "offer", // first DISCOVER to first OFFER
  "ack", // first REQUEST to ACK
  "boot-server", // the same on port 4011
  "first-stage", // network boot program, by TFTP or HTTP
  "ipxe-offer",
  "ipxe-ack",
  "contact", // the script that the boot file names
  "script", // the machine's own script
  "kernel",
  "initrd",
  "os-offer", // the operating system's own lease
  "os-ack",
  "root", // root file system
  "config", // each cloud-init or Ignition document
  "report", // each progress report
  "joined", // the last report
] as const;
export type Phase = (typeof phases)[number];

/** A machine that gets no further, and where. */
export class Stopped extends Error {
  readonly phase: Phase;
  constructor(phase: Phase, reason: string) {
    super(reason);
    this.name = "Stopped";
    this.phase = phase;
  }
}

/** What becomes known while machines boot. */
export interface Recorder {
  took(phase: Phase, ms: DurationMs): void;
  /** A packet or request that had to be sent again. */
  repeated(phase: Phase): void;
  /** Something that works and should not be so. */
  remark(text: string, machine: PlannedMachine): void;
  /** @returns the machine that holds the address already, if it is another one */
  holds(address: Ipv4, machine: PlannedMachine): PlannedMachine | undefined;
}

/** All that one machine has at hand. */
export interface Station {
  readonly machine: PlannedMachine;
  readonly plan: Plan;
  readonly timeline: Timeline;
  readonly line: Line;
  readonly random: Random;
  readonly segment: Segment;
  readonly udp: Udp;
  readonly record: Recorder;
}

/** A socket at the machine's own address. @throws Stopped when that address is not local to this host */
export async function bindOwn(
  { udp, plan }: Pick<Station, "udp" | "plan">,
  phase: Phase,
  address: Ipv4,
  port: number,
): Promise<UdpSocket> {
  const device = plan.way.kind === "device" ? { device: plan.way.device } : {};
  try {
    return await udp.bind({ ...device, address, port });
  } catch (error) {
    const code = String((error as NodeJS.ErrnoException).code);
    throw new Stopped(
      phase,
      code === "EADDRNOTAVAIL" ? notLocal(address) : `no socket at ${address}: ${code}`,
    );
  }
}

export function notLocal(address: Ipv4): string {
  return `its address ${address} is not local to this host: --network makes a whole network so`;
}

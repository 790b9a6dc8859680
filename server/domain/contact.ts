import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { Uuid } from "../net/uuid.ts";
import type { DurationMs, EpochMs } from "./capabilities.ts";
import type { Firmware } from "./firmware.ts";

/** Which program on the machine spoke: its ROM or UEFI firmware, iPXE, or an operating system. */
export type Speaker = "firmware" | "ipxe" | "os";

/** One DHCP exchange as the boot tracking sees it: what came and what we made of it. */
export interface DhcpContact {
  readonly at: EpochMs;
  readonly mac: Mac;
  readonly speaker: Speaker;
  readonly firmware: Firmware | undefined;
  readonly uuid: Uuid | undefined;
  readonly message: "DISCOVER" | "REQUEST" | "DECLINE" | "RELEASE" | "INFORM";
  readonly xid: number;
  /** Seconds since the client began, by its own word (RFC 2131 `secs`). */
  readonly secs: number;
  /** 67, or 4011 for the PXE boot server port. */
  readonly port: number;
  readonly reply: "OFFER" | "ACK" | "NAK" | undefined;
  /** Why there was no reply, in a few words; undefined when there was one. */
  readonly silence: string | undefined;
  /** Address we gave, or that the machine was seen to take from another server (option 50 of a broadcast REQUEST). */
  readonly address: Ipv4 | undefined;
  /** Server identifier (option 54) of a REQUEST that another server was chosen by. */
  readonly foreignServer: Ipv4 | undefined;
  readonly bootfile: string | undefined;
  /** Name of the strategy that told it the boot file. */
  readonly strategy?: string | undefined;
  readonly device: string | undefined;
  /** From the datagram's arrival to the reply's leaving. */
  readonly serverMs: DurationMs;
}

/** How far a machine is with its first stage: a part of the file, all of it, or what only that program can ask for. */
export type FirstStageProgress = "loading" | "loaded" | "started";

/** One TFTP transfer, told when it ends. */
export interface TftpContact {
  readonly at: EpochMs;
  readonly clientAddress: Ipv4;
  readonly file: string;
  readonly outcome: "complete" | "refused" | "timed-out" | "cancelled" | "not-found";
  readonly sizeBytes: number;
  readonly sentBytes: number;
  /** The client has answered something of ours in this transfer; undefined: there was none. */
  readonly isHeard?: boolean | undefined;
  /** Of one block, without its header. */
  readonly blockBytes?: number | undefined;
  readonly retransmissions: number;
  readonly durationMs: DurationMs;
  /** From the read request's arrival to our first packet. */
  readonly serverMs: DurationMs;
}

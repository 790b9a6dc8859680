import type { Driver } from "../../domain/boot-preferences.ts";
import type { DurationMs } from "../../domain/capabilities.ts";
import type { Lease } from "../../domain/lease.ts";
import type { Ipv4 } from "../../net/ipv4.ts";
import type { DhcpMessage } from "../wire/message.ts";
import type { AddressFacts } from "./allocate-address.ts";
import type { BootUrls } from "./choose-bootfile.ts";
import type { Subnet } from "./subnet.ts";

export type DhcpMode = "off" | "proxy" | "authoritative";

/** What is the same for every packet. */
export interface DhcpPolicy {
  readonly mode: DhcpMode;
  readonly subnets: readonly Subnet[];
  /** All addresses that we answer at: a server identifier among them means us. */
  readonly serverAddresses: ReadonlySet<Ipv4>;
  /** Names of the first-stage binaries that we can hand out. */
  readonly availableNbps: ReadonlySet<string>;
  /** Ports that replies go to: 67 and 68. */
  readonly relayPort: number;
  readonly clientPort: number;
  /** The ROM of a Raspberry Pi misses an OFFER that comes sooner. */
  readonly raspberryPiDelayMs?: DurationMs | undefined;
}

/** What is known when one packet has come: all that a decision rests on beside the packet and the policy. */
export interface Facts extends AddressFacts {
  readonly service: "dhcp" | "pxe";
  /** Our address on the interface that heard the packet. */
  readonly serverAddress: Ipv4;
  readonly source: { readonly address: string; readonly port: number };
  readonly urls: BootUrls;
  /** False: this machine gets an ordinary lease and never a boot file. */
  readonly mayNetboot: boolean;
  /** This machine's iPXE was sent to our own build a moment ago, in an earlier exchange. */
  readonly chainedBefore: boolean;
  /** The lease is on its way to the disk, and nobody may be told of it yet. */
  readonly isBeingSaved?: boolean | undefined;
  /** How many addresses this MAC has set aside by DECLINE. */
  readonly declinedCount: number;
  /** What this machine said of its Secure Boot; undefined: nothing yet. */
  readonly secureBoot?: boolean | undefined;
  /** Name of the strategy that this MAC gets instead of its kind's first one. */
  readonly strategy?: string | undefined;
  /** The network driver that this MAC's first-stage program is to have; undefined: the first one of its architecture. */
  readonly driver?: Driver | undefined;
}

export interface Reply {
  readonly kind: "reply";
  readonly message: "OFFER" | "ACK" | "NAK";
  readonly packet: DhcpMessage;
  readonly to: { readonly address: string; readonly port: number };
  /** The address it gives, which nobody else may be given from now on; or the one its sender has by its own word. */
  readonly address: Ipv4 | undefined;
  /** To be on stable storage before the reply leaves (RFC 2131 s.3.1). */
  readonly commit: Lease | undefined;
  readonly bootfile: string | undefined;
  readonly isChainload: boolean;
  /** Name of the strategy that it is made by, for a network boot client that gets a boot file. */
  readonly strategy: string | undefined;
  /** The network drivers that there are for this client. */
  readonly drivers: readonly Driver[];
  /** It is not to leave before this much time has passed. */
  readonly delayMs: DurationMs;
  /** Why a network boot client gets no boot file. */
  readonly noBootReason: string | undefined;
}

export interface Silence {
  readonly kind: "silence";
  readonly reason: string;
  /** A lease that ended by this message. */
  readonly commit: Lease | undefined;
  /** The client goes elsewhere: what it was offered is free again. */
  readonly withdrawsOffer: boolean;
  /** The server that the client chose instead, and the address it took there. */
  readonly foreignServer: Ipv4 | undefined;
  readonly address: Ipv4 | undefined;
  /** Something an operator should know of. */
  readonly alarm: "pool-exhausted" | "address-conflict" | "no-boot-file" | undefined;
}

export type Decision = Reply | Silence;

export function silence(reason: string, more: Partial<Omit<Silence, "kind" | "reason">> = {}): Silence {
  return {
    kind: "silence",
    reason,
    commit: undefined,
    withdrawsOffer: false,
    foreignServer: undefined,
    address: undefined,
    alarm: undefined,
    ...more,
  };
}

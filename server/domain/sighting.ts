import type { EpochMs } from "./capabilities.ts";
import type { DhcpContact } from "./contact.ts";

/** A DHCP message of a machine and what we made of it. One that is repeated is one with the number of times. */
export interface SeenPacket extends Pick<
  DhcpContact,
  "speaker" | "message" | "port" | "secs" | "reply" | "silence" | "foreignServer" | "bootfile" | "serverMs"
> {
  readonly at: EpochMs;
  readonly lastAt: EpochMs;
  readonly times: number;
  /** Name of the firmware that it says it is of. */
  readonly firmware: string | undefined;
}

/** A request over HTTP that was answered by an error. */
export interface SeenRequest {
  readonly at: EpochMs;
  readonly method: string;
  /** Without its query, and without the claim in it, which is a secret. */
  readonly path: string;
  readonly status: number;
  readonly code: string;
}

/** Ports of ours that speak TLS. */
export type TlsService = "https" | "registry";

/** A TLS handshake that the client broke off, with its reason in OpenSSL's words. */
export interface SeenHandshake {
  readonly service: TlsService;
  readonly at: EpochMs;
  readonly alert: string;
}

/** What was seen of one address of late, oldest first. */
export interface AddressSightings {
  readonly requests: readonly SeenRequest[];
  readonly handshakes: readonly SeenHandshake[];
}

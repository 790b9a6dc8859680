/** What the shells may do to the world, as interfaces: implemented in platform/, played by hand in test/support. */

/** Milliseconds since 1970-01-01 UTC. */
export type EpochMs = number;
export type DurationMs = number;

export interface Clock {
  now(): EpochMs;
  /** Milliseconds that never jump, for measuring (RFC 2131 lease arithmetic must survive a clock step). */
  monotonicMs(): number;
  /** Calls `fn` once after `delayMs`; the returned function cancels it. */
  after(delayMs: DurationMs, fn: () => void): () => void;
}

export interface UdpEndpoint {
  readonly address: string;
  readonly port: number;
}

export interface UdpBinding {
  /** Network device, e.g. `eth0`; the socket then hears and speaks on this device only. Undefined: any. */
  readonly device?: string;
  /** Local address, default 0.0.0.0. A DHCP socket needs 0.0.0.0 to hear broadcasts. */
  readonly address?: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly broadcast?: boolean;
  /** Wished size of the receive queue in octets; the kernel may grant less. */
  readonly receiveBufferBytes?: number;
}

export interface UdpSocket {
  readonly local: UdpEndpoint;
  /** Sends one datagram; a failure is counted and logged by the implementation, never thrown. */
  send(datagram: Uint8Array, to: UdpEndpoint): void;
  onMessage(handler: (datagram: Uint8Array, from: UdpEndpoint) => void): void;
  close(): Promise<void>;
}

export interface Udp {
  /** @throws PortInUse, PortNotPermitted, DeviceNotFound (domain/errors) */
  bind(binding: UdpBinding): Promise<UdpSocket>;
}

/** Sends files in the kernel, past this process. */
export interface FileSender {
  /** @returns undefined where the kernel can't, such as over TLS */
  open(socket: unknown): DirectWay | undefined;
  /** Octets that went over a socket so: they are not among those that the socket itself counts. */
  sentOver(socket: object): number;
}

/** One socket as the kernel has it; to be closed by whoever opened it. */
export interface DirectWay {
  /**
   * @param file its descriptor @param from octet to begin with
   * @returns octets that the socket took, up to `length`; fewer when it was full, gone, or the file can't be sent so: nobody tells which
   */
  send(file: number, from: number, length: number): Promise<number>;
  close(): void;
}

export interface Ids {
  /** 128 random bits, 26 characters of base32 (lower case): for claims and tokens. */
  secret(): string;
  /** Short, sortable by time, for things that people read: `b_...`, `op_...`. */
  id(prefix: string): string;
}

export interface Log {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
  child(fields: Record<string, unknown>): Log;
}

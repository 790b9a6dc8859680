/** Plays transfers on sockets of `Udp`: carries inputs and effects of transfer.ts between socket, file and timer. */
import type { Clock, Log, Udp, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { TftpFile } from "./file-routes.ts";
import { createTransfer, step, type Transfer, type TransferEffect, type TransferInput } from "./transfer.ts";
import type { TransferTimings } from "./timings.ts";
import type { NegotiatedOptions } from "./wire/options.ts";
import { answerToStranger, decodeOrNothing } from "./wire/packet.ts";

export interface TransferJob {
  readonly client: UdpEndpoint;
  /** The transfer leaves by the device that the request came by, from the address that was asked. */
  readonly device: string | undefined;
  readonly serverAddress: Ipv4;
  readonly options: NegotiatedOptions;
  readonly timings: TransferTimings;
  /** Closed by whoever opened it, when the transfer has ended. */
  readonly file: TftpFile;
  readonly requestBytes: number;
}

/** How far a transfer is; looked at while it runs and when it has ended. */
export type TransferProgress = Pick<
  Transfer,
  "hasHeardClient" | "lastHeardAtMs" | "ackedBlock" | "timeoutsInRow" | "sentBytes" | "retransmissions"
>;

export interface TransferEnd {
  readonly outcome: TftpContact["outcome"];
  readonly reason: string;
}

export interface RunningTransfer {
  readonly progress: TransferProgress;
  stop(reason: string, tellClient: boolean): void;
  /** Fulfilled as soon as the outcome is known. */
  readonly ended: Promise<TransferEnd>;
  /** Fulfilled when its socket is closed. */
  readonly closed: Promise<unknown>;
}

/** What carries the packets of transfers. */
export interface TransferEngine {
  /** @throws what Udp.bind throws */
  play(job: TransferJob): Promise<RunningTransfer>;
}

/** A socket for one transfer: with a port of its own, or a part of the listening one. */
export type OpenSocket = (
  job: Pick<TransferJob, "client" | "device" | "serverAddress">,
) => Promise<UdpSocket>;

/** A socket with a port of its own for each transfer (RFC 1350 section 4). */
export function ownPorts(udp: Udp): OpenSocket {
  return ({ device, serverAddress }) =>
    udp.bind({ ...(device !== undefined && { device }), address: serverAddress, port: 0 });
}

export function createPlayer(clock: Clock, log: Log, openSocket: OpenSocket): TransferEngine {
  return { play: async (job) => playTransfer(clock, log, job, await openSocket(job)) };
}

function playTransfer(clock: Clock, log: Log, job: TransferJob, socket: UdpSocket): RunningTransfer {
  const { client, file } = job;
  const transfer = createTransfer(
    file.sizeBytes,
    job.options,
    clock.monotonicMs(),
    job.timings,
    job.requestBytes,
  );
  const { promise: ended, resolve } = Promise.withResolvers<TransferEnd>();
  const timer = createDeadline(clock, () => feed({ kind: "timeout" }));

  function feed(input: TransferInput): void {
    for (const effect of step(transfer, input, clock.monotonicMs())) perform(effect);
  }

  function perform(effect: TransferEffect): void {
    switch (effect.kind) {
      case "send":
        socket.send(effect.datagram, client);
        break;
      case "read":
        read(effect.offset, effect.length);
        break;
      case "arm":
        timer.set(effect.atMs);
        break;
      case "finish":
        timer.clear();
        resolve(effect);
        break;
    }
  }

  function read(offset: number, length: number): void {
    const fail = (error: unknown) => {
      log.warn({ error: String(error) }, "failed to read a tftp file");
      feed({ kind: "read-failed" });
    };
    try {
      const bytes = file.read(offset, length);
      if (bytes instanceof Uint8Array) feed({ kind: "chunk", bytes });
      else bytes.then((content) => feed({ kind: "chunk", bytes: content }), fail);
    } catch (error) {
      fail(error);
    }
  }

  socket.onMessage((datagram, from) => {
    if (from.port !== client.port || from.address !== client.address) {
      const answer = answerToStranger(datagram);
      if (answer !== undefined) socket.send(answer, from);
      return;
    }
    const packet = decodeOrNothing(datagram);
    if (packet?.kind === "ack" || packet?.kind === "error") feed(packet);
  });
  feed({ kind: "start" });
  return {
    progress: transfer,
    stop: (reason, tellClient) => feed({ kind: "stop", reason, tellClient }),
    ended,
    closed: ended.then(() => socket.close()),
  };
}

/**
 * A time that moves with every packet: the clock's timer is left alone when the time moves away, and looks again when it
 * rings, so a fast transfer sets a few timers a second and not one for each block.
 */
function createDeadline(clock: Clock, onPassed: () => void) {
  let deadlineMs = Infinity;
  let wakeAtMs = Infinity;
  let cancel: (() => void) | undefined;

  function wake(): void {
    wakeAtMs = Infinity;
    const passed = clock.monotonicMs() >= deadlineMs;
    if (passed) onPassed();
    else set(deadlineMs);
  }

  function set(atMs: number): void {
    deadlineMs = atMs;
    if (wakeAtMs <= atMs) return;
    cancel?.();
    wakeAtMs = atMs;
    // Whole milliseconds, rounded up: a timer that rings a little early would only have to be set again.
    cancel = clock.after(Math.max(0, Math.ceil(atMs - clock.monotonicMs())), wake);
  }

  function clear(): void {
    deadlineMs = Infinity;
    wakeAtMs = -Infinity;
    cancel?.();
  }

  return { set, clear };
}

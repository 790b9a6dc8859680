/** What the server and the thread that plays its transfers tell each other. */
import type { UdpEndpoint } from "../domain/capabilities.ts";
import type { TransferEnd, TransferProgress } from "./player.ts";
import type { TransferTimings } from "./timings.ts";
import type { NegotiatedOptions } from "./wire/options.ts";

export type ToThread =
  | {
      readonly kind: "begin";
      readonly id: number;
      readonly client: UdpEndpoint;
      readonly device: string | undefined;
      readonly serverAddress: string;
      readonly options: NegotiatedOptions;
      readonly timings: TransferTimings;
      readonly sizeBytes: number;
      readonly requestBytes: number;
      readonly progress: SharedArrayBuffer;
    }
  | { readonly kind: "chunk"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: "read-failed"; readonly id: number }
  | { readonly kind: "stop"; readonly id: number; readonly reason: string; readonly tellClient: boolean };

export type FromThread =
  /** The socket is open and the first packet is on its way. */
  | { readonly kind: "began"; readonly id: number }
  /** There is no socket, and the transfer never was. */
  | { readonly kind: "failed"; readonly id: number; readonly error: string }
  | { readonly kind: "read"; readonly id: number; readonly offset: number; readonly length: number }
  /** The socket is closed. */
  | ({ readonly kind: "ended"; readonly id: number } & TransferEnd);

/** The progress of a transfer as one thread writes and another reads it, without a message for each packet. */
const Slot = {
  heard: 0,
  lastHeardAtMs: 1,
  ackedBlock: 2,
  timeoutsInRow: 3,
  sentBytes: 4,
  retransmissions: 5,
};

export function createSharedProgress(): SharedArrayBuffer {
  return new SharedArrayBuffer(8 * Object.keys(Slot).length);
}

export function writeProgress(shared: Float64Array, progress: TransferProgress): void {
  shared[Slot.heard] = progress.hasHeardClient ? 1 : 0;
  shared[Slot.lastHeardAtMs] = progress.lastHeardAtMs;
  shared[Slot.ackedBlock] = progress.ackedBlock;
  shared[Slot.timeoutsInRow] = progress.timeoutsInRow;
  shared[Slot.sentBytes] = progress.sentBytes;
  shared[Slot.retransmissions] = progress.retransmissions;
}

export function viewProgress(buffer: SharedArrayBuffer): TransferProgress {
  const shared = new Float64Array(buffer);
  const at = (slot: number) => shared[slot] ?? 0;
  return {
    get hasHeardClient() {
      return at(Slot.heard) !== 0;
    },
    get lastHeardAtMs() {
      return at(Slot.lastHeardAtMs);
    },
    get ackedBlock() {
      return at(Slot.ackedBlock);
    },
    get timeoutsInRow() {
      return at(Slot.timeoutsInRow);
    },
    get sentBytes() {
      return at(Slot.sentBytes);
    },
    get retransmissions() {
      return at(Slot.retransmissions);
    },
  };
}

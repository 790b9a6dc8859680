/** How long a transfer waits, and how often it repeats itself. Pure. */
import type { DurationMs } from "../domain/capabilities.ts";

export interface TransferTimings {
  /** Wait before the first packet is sent again, when nothing is known of the path yet. */
  readonly firstRetransmitMs: DurationMs;
  /** A measured round trip never makes the wait shorter than this: firmware stops to breathe. */
  readonly minRetransmitMs: DurationMs;
  /**
   * Back-off never makes the wait longer than this; the client's `timeout` option can make it shorter. Longer than the 5 s
   * after which most clients repeat themselves.
   */
  readonly maxRetransmitMs: DurationMs;
  /** Silence after which the transfer ends. */
  readonly giveUpAfterMs: DurationMs;
  /** How often the first packet is sent at most: its source may be forged, and we would be flooding a stranger. */
  readonly firstPacketSends: number;
  /** Silence after which a client that was never heard is taken for a forged source. */
  readonly unansweredAfterMs: DurationMs;
}

export const DefaultTimings: TransferTimings = {
  firstRetransmitMs: 200,
  minRetransmitMs: 50,
  maxRetransmitMs: 6000,
  giveUpAfterMs: 25_000,
  firstPacketSends: 4,
  unansweredAfterMs: 3000,
};

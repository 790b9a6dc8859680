import { createTransfer, step, type TransferInput } from "../../server/tftp/transfer.ts";
import { negotiateOptions } from "../../server/tftp/wire/options.ts";
import { decodePacket, type TftpPacket } from "../../server/tftp/wire/packet.ts";
import { seededRandom } from "./lossy-udp.ts";

/** Content in which every place looks different, so that a block in the wrong place shows. */
export const contentOf = (size: number) =>
  Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >>> 8) * 7) & 0xff);

/** Server reducer and a correct client on a made-up network; the client repeats its last packet every second. */
export function simulateTransfer(it: {
  seed: number;
  size: number;
  blockSize: number;
  window: number;
  loss: number;
  doubling: number;
  jitterMs: number;
  /** Whether the client acknowledges each block that it has already, and not the end of a window only. */
  acksRepeats: boolean;
}) {
  const random = seededRandom(it.seed);
  const content = contentOf(it.size);
  const asked = [
    ["blksize", String(it.blockSize)],
    ["windowsize", String(it.window)],
  ] as const;
  const transfer = createTransfer(
    it.size,
    negotiateOptions(asked, it.size, { maxBlockSizeBytes: 65_464, maxWindowBlocks: 64 }),
    0,
  );
  const events: { at: number; order: number; run: () => void }[] = [];
  const received: Uint8Array[] = [];
  let [now, order, armed, lastAcked, gapAcked, isDone] = [0, 0, Infinity, 0, -1, false];
  let [outcome, overrun, clientSilentSince] = ["", false, 0];
  let lastAck = 0;

  const later = (delay: number, run: () => void) => events.push({ at: now + delay, order: order++, run });
  const carry = (run: () => void) => {
    if (random() >= it.loss) later(0.1 + random() * it.jitterMs, run);
    if (random() < it.doubling) later(0.1 + random() * it.jitterMs, run);
  };
  const give = (input: TransferInput) => {
    for (const effect of step(transfer, input, now)) {
      if (effect.kind === "arm") armed = effect.atMs;
      else if (effect.kind === "finish") outcome = effect.outcome;
      else if (effect.kind === "read") {
        const { offset, length } = effect;
        later(random() * 3, () => give({ kind: "chunk", bytes: content.subarray(offset, offset + length) }));
      } else {
        if (transfer.sentBlock > transfer.ackedBlock + it.window) overrun = true;
        const packet = decodePacket(effect.datagram);
        carry(() => hear(packet));
      }
    }
  };
  const ack = (block: number) => {
    lastAck = block;
    clientSilentSince = now;
    carry(() => give({ kind: "ack", block: block % 65_536 }));
  };
  const hear = (packet: TftpPacket) => {
    if (packet.kind === "oack" && received.length === 0) ack(0);
    if (packet.kind !== "data") return;
    if (packet.block !== (received.length + 1) % 65_536) {
      const aheadBy = (packet.block - received.length + 65_536) % 65_536;
      const isAhead = aheadBy > 0 && aheadBy < 32_768;
      const isWindowEnd = aheadBy === 0 && lastAcked === received.length;
      if (isAhead ? gapAcked === received.length : !it.acksRepeats && !isWindowEnd) return;
      gapAcked = lastAcked = received.length;
      ack(received.length);
      return;
    }
    received.push(packet.payload);
    isDone = packet.payload.length < it.blockSize;
    if (isDone || received.length - lastAcked >= it.window) ack((lastAcked = received.length));
  };

  give({ kind: "start" });
  while (outcome === "" && order < 200_000) {
    events.sort((a, b) => a.at - b.at || a.order - b.order);
    const next = events[0];
    const repeatAt = clientSilentSince + 1000;
    now = Math.max(now, Math.min(next?.at ?? Infinity, armed, repeatAt));
    if (next !== undefined && next.at <= now) events.shift()?.run();
    else if (armed <= now) give({ kind: "timeout" });
    else ack(lastAck);
  }
  return {
    outcome,
    overrun,
    tookMs: now,
    sentBytes: transfer.sentBytes,
    retransmissions: transfer.retransmissions,
    isSame: Buffer.concat(received).equals(content),
  };
}

import fc from "fast-check";
import t from "tap";
import { DefaultTimings } from "../../server/tftp/timings.ts";
import { createTransfer, step, type TransferEffect, type TransferInput } from "../../server/tftp/transfer.ts";
import { negotiateOptions } from "../../server/tftp/wire/options.ts";
import { decodePacket, type TftpPacket, type WireOption } from "../../server/tftp/wire/packet.ts";
import { contentOf, simulateTransfer } from "../support/tftp-simulation.ts";

const caps = { maxBlockSizeBytes: 65_464, maxWindowBlocks: 64 };
/** A transfer in the hand: reads are answered at once unless told otherwise. */
function handle(content: Uint8Array, asked: readonly WireOption[] = [], { reads = true } = {}) {
  const transfer = createTransfer(content.length, negotiateOptions(asked, content.length, caps), 0);
  let armedMs = Infinity;
  const sent: TftpPacket[] = [];
  const reading: { offset: number; length: number }[] = [];
  const result: { outcome?: string; reason?: string } = {};
  function give(input: TransferInput, nowMs: number): TftpPacket[] {
    const before = sent.length;
    const queue: TransferEffect[] = [...step(transfer, input, nowMs)];
    for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
      if (effect.kind === "send") sent.push(decodePacket(effect.datagram));
      else if (effect.kind === "arm") armedMs = effect.atMs;
      else if (effect.kind === "finish") Object.assign(result, effect);
      else if (reads) {
        const bytes = content.subarray(effect.offset, effect.offset + effect.length);
        queue.push(...step(transfer, { kind: "chunk", bytes }, nowMs));
      } else reading.push(effect);
    }
    return sent.slice(before);
  }
  return {
    transfer,
    sent,
    reading,
    result,
    give,
    ack: (block: number, nowMs = 0) => give({ kind: "ack", block }, nowMs),
    armedMs: () => armedMs,
    /** Lets time pass until the transfer ends, with nobody answering. Returns the times at which it sent. */
    abandon(fromMs: number): number[] {
      const times: number[] = [];
      for (let now = armedMs; result.outcome === undefined; now = armedMs) {
        if (give({ kind: "timeout" }, now).length > 0) times.push(now - fromMs);
        if (times.length > 1000) throw new Error("never ends");
      }
      return times;
    },
  };
}

const blocks = (packets: readonly TftpPacket[]) =>
  packets.map((packet) => (packet.kind === "data" ? packet.block : packet.kind));

t.test("lockstep (RFC 1350)", (t) => {
  t.test("each ACK brings the next block; a short block ends the transfer (section 6)", (t) => {
    const hand = handle(contentOf(1000));
    t.same(blocks(hand.give({ kind: "start" }, 0)), [1]);
    t.same(blocks(hand.ack(1)), [2]);
    t.same(hand.ack(2), []);
    t.match(hand.result, { outcome: "complete" });
    t.match(hand.sent, [{ payload: { length: 512 } }, { payload: { length: 488 } }]);
    t.end();
  });
  t.test(
    "a file that fills its last block is ended by an empty block, and an empty file is one empty block",
    (t) => {
      const full = handle(contentOf(1024));
      full.give({ kind: "start" }, 0);
      full.ack(1);
      t.match(full.ack(2), [{ block: 3, payload: { length: 0 } }]);
      t.match(handle(contentOf(0)).give({ kind: "start" }, 0), [{ block: 1, payload: { length: 0 } }]);
      t.end();
    },
  );
  t.test("a duplicate ACK never makes DATA be sent again (RFC 1123 section 4.2.3.1)", (t) => {
    const hand = handle(contentOf(5000));
    hand.give({ kind: "start" }, 0);
    hand.ack(1);
    t.same(hand.ack(1), []);
    t.same(hand.ack(0), [], "an older one neither");
    t.same(hand.ack(7), [], "nor one of a block that was never sent");
    t.same(blocks(hand.ack(2)), [3]);
    t.end();
  });
  t.test("an ERROR of the client ends the transfer without an answer", (t) => {
    const hand = handle(contentOf(10), [["tsize", "0"]]);
    t.same(blocks(hand.give({ kind: "start" }, 0)), ["oack"]);
    t.same(hand.give({ kind: "error", code: 8, message: "size was all I wanted" }, 1), []);
    t.match(hand.result, { outcome: "cancelled", reason: "client error 8" });
    t.same(hand.ack(0), [], "and nothing revives it");
    t.end();
  });
  t.test("a file that became shorter, or fails, ends in an ERROR and not in a short block", (t) => {
    for (const input of [{ kind: "chunk", bytes: contentOf(99) }, { kind: "read-failed" }] as const) {
      const hand = handle(contentOf(1000), [], { reads: false });
      hand.give({ kind: "start" }, 0);
      t.match(hand.give(input, 1), [{ kind: "error", code: 0 }]);
      t.match(hand.result, { outcome: "refused" });
    }
    t.end();
  });
  t.end();
});

t.test("options (RFC 2347)", (t) => {
  t.test("after an OACK the first block waits for ACK 0", (t) => {
    const hand = handle(contentOf(3000), [["blksize", "1000"]]);
    t.match(hand.give({ kind: "start" }, 0), [{ kind: "oack", options: [["blksize", "1000"]] }]);
    t.same(hand.ack(1), [], "no other ACK will do");
    t.same(blocks(hand.ack(0)), [1]);
    t.same(hand.ack(0), [], "and a second one does nothing");
    t.end();
  });
  t.test("a lost OACK is sent again", (t) => {
    const hand = handle(contentOf(10), [["tsize", "0"]]);
    hand.give({ kind: "start" }, 0);
    t.equal(hand.armedMs(), 200);
    t.match(hand.give({ kind: "timeout" }, 200), [{ kind: "oack" }]);
    t.equal(hand.armedMs(), 600, "back-off");
    t.end();
  });
  t.end();
});

t.test("windows (RFC 7440)", (t) => {
  const windowed = () => {
    const hand = handle(contentOf(100 * 512 + 1), [["windowsize", "4"]]);
    hand.give({ kind: "start" }, 0);
    hand.ack(0);
    return hand;
  };
  t.test("a window is sent at once, the next after its ACK, and the last one is short", (t) => {
    const hand = windowed();
    t.same(blocks(hand.sent.slice(1)), [1, 2, 3, 4]);
    t.same(blocks(hand.ack(4)), [5, 6, 7, 8]);
    for (let block = 8; block < 100; block += 4) hand.ack(block);
    t.same(blocks(hand.ack(100)), [101]);
    t.end();
  });
  t.test("an ACK inside the window goes back to the block after it, once (section 4)", (t) => {
    const hand = windowed();
    t.same(blocks(hand.ack(2)), [3, 4, 5, 6]);
    t.same(hand.ack(2), [], "the same report twice");
    t.same(blocks(hand.ack(6)), [7, 8, 9, 10]);
    t.equal(hand.transfer.retransmissions, 2);
    t.end();
  });
  t.test("a late ACK of blocks sent before going back counts", (t) => {
    const hand = windowed();
    hand.ack(1);
    t.same(blocks(hand.ack(4)), [5, 6, 7, 8]);
    t.end();
  });
  t.test("after silence the whole window is sent again", (t) => {
    const hand = windowed();
    hand.ack(4, 10);
    t.same(blocks(hand.give({ kind: "timeout" }, hand.armedMs())), [5, 6, 7, 8]);
    t.end();
  });
  t.end();
});

t.test("block numbers after 65535", (t) => {
  for (const [rollover, next] of [
    [undefined, 0],
    ["0", 0],
    ["1", 1],
  ] as const) {
    t.test(
      `the next is ${next} ${rollover === undefined ? "when nothing was asked" : `with rollover ${rollover}`}`,
      (t) => {
        const size = 8 * 140_000 + 3;
        const content = contentOf(size);
        const hand = handle(content, [
          ["blksize", "8"],
          ...(rollover ? ([["rollover", rollover]] as const) : []),
        ]);
        hand.give({ kind: "start" }, 0);
        let [packet] = hand.ack(0);
        let received = 0;
        let wrong = 0;
        const numbers: number[] = [];
        while (packet?.kind === "data") {
          if (
            Buffer.compare(packet.payload, content.subarray(received, received + packet.payload.length)) !== 0
          )
            wrong++;
          received += packet.payload.length;
          if (numbers.length < 65_537) numbers.push(packet.block);
          [packet] = hand.ack(packet.block);
        }
        t.equal(received, size);
        t.equal(wrong, 0);
        t.equal(hand.result.outcome, "complete");
        t.same(numbers.slice(65_533), [65_534, 65_535, next, next + 1]);
        t.end();
      },
    );
  }
  t.test("blocks beyond 4 GiB are read at the right place, in a window over the wrap", (t) => {
    const size = 5 * 2 ** 30 + 17;
    const options = negotiateOptions([["windowsize", "16"]], size, caps);
    const transfer = createTransfer(size, options, 0);
    const block = 65_536 * 128 - 8;
    Object.assign(transfer, {
      phase: "sending",
      ackedBlock: block - 1,
      sentBlock: block - 1,
      highestBlock: block,
    });
    transfer.readOffset = (block - 1) * 512;
    const effects = step(transfer, { kind: "chunk", bytes: contentOf(transfer.chunkBytes) }, 0);
    const sent = effects.flatMap((effect) => (effect.kind === "send" ? [decodePacket(effect.datagram)] : []));
    t.same(
      blocks(sent),
      [65_528, 65_529, 65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1, 2, 3, 4, 5, 6, 7],
    );
    t.match(effects.at(-1), { kind: "read", offset: (block - 1) * 512 + transfer.chunkBytes });
    step(transfer, { kind: "ack", block: 3 }, 1);
    t.equal(transfer.ackedBlock, block + 11);
    t.end();
  });
  t.end();
});

t.test("timer (RFC 1123 section 4.2.3.2)", (t) => {
  t.test("the first packet is sent at most 4 times, with back-off, then all is over within 4 s", (t) => {
    for (const asked of [[], [["tsize", "0"]]] as const) {
      const hand = handle(contentOf(5000), asked);
      hand.give({ kind: "start" }, 0);
      t.same(hand.abandon(0), [200, 600, 1400]);
      t.match(hand.result, { outcome: "timed-out" });
      t.ok(hand.armedMs() <= 4000);
    }
    t.end();
  });
  t.test(
    "the wait follows the round trip, and a block sent twice does not measure it (RFC 6298, Karn)",
    (t) => {
      const hand = handle(contentOf(512 * 100));
      hand.give({ kind: "start" }, 0);
      let now = 0;
      for (let block = 1; block <= 40; block++) hand.ack(block, (now += 120));
      const wait = hand.armedMs() - now;
      t.ok(wait >= 120 && wait < 160, `${wait} ms after round trips of 120 ms`);
      hand.give({ kind: "timeout" }, (now = hand.armedMs()));
      hand.ack(41, now + 1);
      t.equal(Math.round(hand.armedMs() - now - 1), Math.round(wait * 2), "still backed off");
      t.end();
    },
  );
  t.test("the client's timeout option is the longest wait (RFC 2349)", (t) => {
    const hand = handle(contentOf(5000), [["timeout", "1"]]);
    hand.give({ kind: "start" }, 0);
    hand.ack(0, 10);
    const times = [10, ...hand.abandon(0)];
    const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    t.ok(waits.length > 20 && waits.every((wait) => wait <= 1000), `${Math.max(...waits)} ms`);
    t.end();
  });
  t.test("30 s of silence are not reached, and sending slows down on the way", (t) => {
    const hand = handle(contentOf(5000));
    hand.give({ kind: "start" }, 0);
    hand.ack(1, 5);
    const times = hand.abandon(5);
    t.ok(times.length < 15, `${times.length} packets`);
    t.equal(hand.armedMs(), 5 + DefaultTimings.giveUpAfterMs);
    t.end();
  });
  t.test("a disk that is slow makes nothing be sent twice", (t) => {
    const hand = handle(contentOf(5000), [], { reads: false });
    t.same(hand.give({ kind: "start" }, 0), []);
    t.ok(hand.armedMs() >= 25_000);
    t.same(blocks(hand.give({ kind: "chunk", bytes: contentOf(5000) }, 3000)), [1]);
    t.end();
  });
  t.end();
});

t.test("any network that lets something through brings the right octets, and no window is overrun", (t) => {
  const network = fc.record({
    seed: fc.integer(),
    size: fc.integer({ min: 0, max: 6000 }),
    blockSize: fc.integer({ min: 8, max: 700 }),
    window: fc.integer({ min: 1, max: 16 }),
    loss: fc.constantFrom(0, 0.01, 0.05, 0.1),
    doubling: fc.constantFrom(0, 0.1, 0.5),
    jitterMs: fc.constantFrom(0, 1, 60),
    acksRepeats: fc.boolean(),
  });
  const blockSizeFor = (size: number, asked: number) => Math.max(asked, Math.ceil(size / 200));
  fc.assert(
    fc.property(network, (it) => {
      const run = simulateTransfer({ ...it, blockSize: Math.max(8, blockSizeFor(it.size, it.blockSize)) });
      // Four first packets lost in a row: the client has nothing yet, and asks again.
      if (run.outcome === "timed-out" && run.sentBytes === 0 && it.loss > 0) return;
      if (!run.isSame) throw new Error("other octets came out");
      if (run.overrun) throw new Error("sent past the window");
      if (run.outcome !== "complete") throw new Error(`ended ${run.outcome}`);
      const isFair = it.loss === 0 && it.jitterMs === 0 && (it.window === 1 || !it.acksRepeats);
      if (isFair && run.retransmissions > 0) throw new Error("sent twice for nothing");
    }),
    { numRuns: 300 },
  );
  t.pass("300 networks");
  t.end();
});

t.test("1 % loss each way costs well under a second of waiting for 1 MiB", (t) => {
  const run = simulateTransfer({
    seed: 1,
    size: 2 ** 20,
    blockSize: 1432,
    window: 1,
    loss: 0.01,
    doubling: 0,
    jitterMs: 1,
    acksRepeats: true,
  });
  t.equal(run.outcome, "complete");
  t.ok(run.tookMs < 3000, `${Math.round(run.tookMs)} ms`);
  t.ok(run.retransmissions < 40, `${run.retransmissions} retransmissions`);
  t.end();
});

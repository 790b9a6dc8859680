import t from "tap";
import { silentLog } from "../../server/platform/logger.ts";
import { createFallbacks, type FallbackNotice, type TransferEvidence } from "../../server/tftp/fallback.ts";
import type { WireOption } from "../../server/tftp/wire/packet.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createTalker, fetchFile, readRequest } from "../support/tftp-client.ts";
import { eventually, patternRoute, startTftpLab } from "../support/tftp-lab.ts";

const caps = { maxBlockSizeBytes: 1468, maxWindowBlocks: 16 };
const died: TransferEvidence = {
  blockSizeBytes: 1468,
  windowBlocks: 8,
  hasHeardClient: true,
  ackedBlock: 0,
  timeoutsInRow: 3,
  isComplete: false,
};
const hour = 3_600_000;

function make() {
  const clock = new ManualClock();
  const told: FallbackNotice[] = [];
  const fallbacks = createFallbacks({ clock, log: silentLog }, caps, (notice) => told.push(notice));
  const capsOf = (client = "a") => {
    const { maxBlockSizeBytes, maxWindowBlocks } = fallbacks.capsOf(client);
    return [maxBlockSizeBytes, maxWindowBlocks];
  };
  return { clock, told, fallbacks, capsOf };
}

t.test("nothing of a large block came through: the block is smaller, and each goes alone (Q22)", (t) => {
  const { fallbacks, capsOf, told } = make();
  fallbacks.learn("a", died);
  t.same(capsOf(), [1024, 1]);
  fallbacks.learn("a", { ...died, blockSizeBytes: 1024, windowBlocks: 1 });
  t.same(capsOf(), [512, 1]);
  fallbacks.learn("a", { ...died, blockSizeBytes: 512, windowBlocks: 1 });
  t.same(capsOf(), [512, 1], "there is nothing below what RFC 1350 says");
  t.equal(told.length, 2, "and each change is told once");
  t.same(capsOf("b"), [1468, 16], "other clients keep theirs");
  t.end();
});
t.test(
  "blocks came through and a window did not: the window goes first, the block when that was not it (Q23)",
  (t) => {
    const { fallbacks, capsOf } = make();
    fallbacks.learn("a", { ...died, ackedBlock: 8 });
    t.same(capsOf(), [1468, 1]);
    fallbacks.learn("a", { ...died, ackedBlock: 8, windowBlocks: 1 });
    t.same(capsOf(), [1024, 1]);
    t.end();
  },
);
t.test("what says nothing of the path changes nothing", (t) => {
  const { fallbacks, capsOf, told } = make();
  for (const evidence of [
    { ...died, isComplete: true },
    { ...died, hasHeardClient: false },
    { ...died, timeoutsInRow: 1 },
  ])
    fallbacks.learn("a", evidence);
  t.same(capsOf(), [1468, 16]);
  t.same(told, []);
  t.end();
});
t.test(
  "it is forgotten a day after the last time that it was of use, and 4096 clients are known at most",
  (t) => {
    const { clock, fallbacks, capsOf } = make();
    fallbacks.learn("a", died);
    clock.advanceMs(23 * hour);
    fallbacks.learn("a", { ...died, isComplete: true, blockSizeBytes: 1024 });
    clock.advanceMs(23 * hour);
    t.same(capsOf(), [1024, 1]);
    clock.advanceMs(hour);
    t.same(capsOf(), [1468, 16]);
    for (let n = 0; n < 5000; n++) fallbacks.learn(`client ${n}`, died);
    t.same(capsOf("client 0"), [1468, 16]);
    t.same(capsOf("client 4999"), [1024, 1]);
    t.end();
  },
);

t.test(
  "a client that asks anew while its last transfer hangs gets smaller blocks at once, by MAC",
  async (t) => {
    const clock = new ManualClock();
    const told: FallbackNotice[] = [];
    const { address } = await startTftpLab(t, [patternRoute("large", 100_000)], {
      clock,
      clientAt: () => "52:54:00:00:00:01",
      onFallback: (notice) => told.push(notice),
    });
    const asked: WireOption[] = [
      ["blksize", "1468"],
      ["windowsize", "8"],
    ];
    const talker = await createTalker();
    t.teardown(() => talker.close());
    talker.say(readRequest("large", asked), address);
    const { from } = await talker.hear();
    talker.say({ kind: "ack", block: 0 }, from);
    await eventually(() => talker.heard.length >= 8);
    clock.advanceMs(2000);
    const { granted, content } = await fetchFile(address, "large", asked);
    t.same(granted, { blksize: "1024", windowsize: "1" });
    t.equal(content.length, 100_000);
    t.match(told, [{ client: "52:54:00:00:00:01", to: { maxBlockSizeBytes: 1024 } }]);
    clock.advanceMs(60_000);
    t.equal(told.length, 1, "the hanging one is not counted again when it ends");
  },
);

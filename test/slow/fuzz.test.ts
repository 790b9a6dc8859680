import t from "tap";
import { fuzz } from "../support/dhcp-fuzz.ts";

/** Not a part of `npm test`: `node --expose-gc test/slow/fuzz.test.ts [seed]`. */
t.test("1,000,000 random and mutated packets: no crash, no hang, no growth", (t) => {
  const { counts, tookMs, slowestMs, heapGrownBytes } = fuzz(1_000_000, Number(process.argv[2] ?? 1));
  t.comment(`${Math.round(tookMs)} ms, slowest ${slowestMs.toFixed(1)} ms, heap +${heapGrownBytes} octets`);
  for (const [kind, count] of Object.entries(counts)) t.ok(count > 10_000, `${count} times ${kind}`);
  t.ok(heapGrownBytes < 64_000_000, "nothing is kept");
  t.end();
});

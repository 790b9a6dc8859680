import t from "tap";
import { fuzz } from "../support/dhcp-fuzz.ts";

t.test("100,000 random and mutated packets: both codecs and the decision live, none takes long", (t) => {
  const { counts, tookMs, slowestMs, heapGrownBytes } = fuzz(100_000);
  t.comment(`${Math.round(tookMs)} ms, slowest ${slowestMs.toFixed(1)} ms, heap +${heapGrownBytes} octets`);
  for (const [kind, count] of Object.entries(counts)) t.ok(count > 1000, `${count} times ${kind}`);
  t.ok(heapGrownBytes < 64_000_000, "nothing is kept");
  t.end();
});

import type { Test } from "tap";
import { fuzz } from "./dhcp-fuzz.ts";
import { fuzzDhcpServer, fuzzTftpServer } from "./server-fuzz.ts";

/** More than this is no rest of the garbage collector's. */
const growthLimitBytes = 64_000_000;
/** No packet may hold up all others; a busy machine does for a while. */
const hangMs = 5000;

/** So many packets each at the codecs, the DHCP server and the TFTP server. */
export async function checkFuzz(t: Test, packets: number, seed: number): Promise<void> {
  const { counts, tookMs, slowestMs, heapGrownBytes } = fuzz(packets, seed);
  t.comment(
    `codecs: ${Math.round(tookMs)} ms, slowest ${slowestMs.toFixed(1)} ms, heap +${heapGrownBytes} octets`,
  );
  for (const [kind, count] of Object.entries(counts)) t.ok(count > packets / 100, `${count} times ${kind}`);
  t.ok(heapGrownBytes < growthLimitBytes, "nothing is kept");
  const servers = {
    DHCP: () => fuzzDhcpServer("authoritative", packets / 2, seed),
    proxyDHCP: () => fuzzDhcpServer("proxy", packets / 2, seed + 1),
    TFTP: () => fuzzTftpServer(packets, seed),
  };
  for (const [name, run] of Object.entries(servers)) {
    const began = performance.now();
    const result = await run();
    t.comment(`${name} server: ${Math.round(performance.now() - began)} ms, ${JSON.stringify(result)}`);
    t.ok(result.replies > packets / 100, `${name}: ${result.replies} datagrams came back`);
    t.same([...new Set(result.errors)], [], `${name}: nothing failed inside`);
    t.ok(result.slowestMs < hangMs, `${name}: no packet holds up the others`);
    t.ok(result.heapGrownBytes < growthLimitBytes, `${name}: nothing is kept`);
    t.equal(result.timersLeft, 0, `${name}: no timer is left`);
    t.equal(result.socketsLeft, 0, `${name}: no socket is left`);
  }
}

/** Which source addresses are answered at all: our answers are larger than requests, and a source is easily forged. */
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { type Cidr, cidrContains } from "../net/cidr.ts";
import type { Ipv4 } from "../net/ipv4.ts";

/** Silent sources that are counted; the oldest go first. */
const Capacity = 4096;
const CountedForMs: DurationMs = 60_000;

export interface Sources {
  /** Whether the address lies in a network that is served. */
  isServed(address: string): boolean;
  /** Whether the source has answered, or has not yet let too many transfers go unanswered. */
  mayBegin(address: string): boolean;
  /** A transfer of the source ended. */
  noteEnd(address: string, wasHeard: boolean): void;
}

/**
 * @param networks undefined: all
 * @param unansweredPerMinute transfers that a source may leave unanswered before it is ignored for the rest of the minute
 */
export function createSources(
  clock: Pick<Clock, "monotonicMs">,
  networks: readonly Cidr[] | undefined,
  unansweredPerMinute: number,
): Sources {
  const silent = new Map<string, { count: number; untilMs: number }>();

  function countOf(address: string): number {
    const entry = silent.get(address);
    if (entry === undefined) return 0;
    if (clock.monotonicMs() < entry.untilMs) return entry.count;
    silent.delete(address);
    return 0;
  }

  return {
    isServed: (address) =>
      networks === undefined || networks.some((network) => cidrContains(network, address as Ipv4)),
    mayBegin: (address) => countOf(address) < unansweredPerMinute,
    noteEnd(address, wasHeard) {
      if (wasHeard) silent.delete(address);
      else {
        const count = countOf(address) + 1;
        const untilMs = silent.get(address)?.untilMs ?? clock.monotonicMs() + CountedForMs;
        silent.set(address, { count, untilMs });
        const [oldest] = silent.keys();
        if (silent.size > Capacity && oldest !== undefined) silent.delete(oldest);
      }
    },
  };
}

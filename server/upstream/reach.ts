import { lookup as lookUp } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { Agent, buildConnector } from "undici";

/** Addresses at which strangers have nothing to look for. */
export type InnerKind = "this machine" | "link-local";

const addressesOf: Readonly<Record<InnerKind, BlockList>> = {
  "this machine": new BlockList(),
  "link-local": new BlockList(),
};
// RFC 1122 s.3.2.1.3: the whole of 127/8, and 0/8, which the kernel takes for this machine. Addresses of IPv4 in IPv6 count as IPv4.
addressesOf["this machine"].addSubnet("127.0.0.0", 8);
addressesOf["this machine"].addSubnet("0.0.0.0", 8);
addressesOf["this machine"].addAddress("::1", "ipv6");
addressesOf["this machine"].addAddress("::", "ipv6");
// RFC 3927 (clouds tell their machines secrets there), RFC 4291 s.2.5.6.
addressesOf["link-local"].addSubnet("169.254.0.0", 16);
addressesOf["link-local"].addSubnet("fe80::", 10, "ipv6");

/** @param own addresses of this machine @returns undefined for an address of elsewhere */
export function innerKindOf(address: string, own: readonly string[]): InnerKind | undefined {
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const kinds: readonly InnerKind[] = ["link-local", "this machine"];
  const kind = kinds.find((one) => addressesOf[one].check(address, family));
  if (kind) return kind;
  const list = new BlockList();
  for (const one of own) list.addAddress(one, isIP(one) === 6 ? "ipv6" : "ipv4");
  return list.check(address, family) ? "this machine" : undefined;
}

/** An upstream may not lead us there. */
export class OutOfReach extends Error {
  constructor(host: string, address: string, kind: InnerKind) {
    const what = kind === "link-local" ? "a link-local address" : "an address of this machine";
    super(
      `leads to ${host === address ? address : `${host} (${address})`}, ${what}, which is done only where its url in registry.upstreams is one too`,
    );
  }
}

const withoutBrackets = (host: string) => host.replace(/^\[(.*)\]$/, "$1");

/**
 * Connections to whatever an upstream leads to (redirects, token servers), but not to this machine and its link, unless the upstream's
 * own address in the config is one of these. Decided for each connection, by the address that it is made to: names are looked up before.
 * @param url as it is in the config
 */
export function createReachingAgent(
  url: string,
  {
    ownAddresses,
    connect,
    ...options
  }: Omit<Agent.Options, "connect"> & {
    readonly ownAddresses: () => readonly string[];
    readonly connect: buildConnector.BuildOptions;
  },
): Agent {
  const named = withoutBrackets(new URL(url).hostname);
  const isLocal = named === "localhost" || named.endsWith(".localhost");
  const literal = isLocal ? "127.0.0.1" : named;

  /** @throws OutOfReach */
  function check(host: string, addresses: readonly string[]): void {
    const own = ownAddresses();
    const allowed = isIP(literal) === 0 ? undefined : innerKindOf(literal, own);
    for (const address of addresses) {
      const kind = innerKindOf(address, own);
      if (kind !== undefined && kind !== allowed) throw new OutOfReach(host, address, kind);
    }
  }

  const lookup: LookupFunction = (host, asked, tell) => {
    lookUp(host, asked, (error, found: unknown, family) => {
      let fault: Error | null = error;
      try {
        const all = Array.isArray(found) ? (found as { address: string }[]).map((one) => one.address) : [];
        if (!error) check(host, typeof found === "string" ? [found] : all);
      } catch (refusal) {
        fault = refusal as Error;
      }
      tell(fault, found as string, family);
    });
  };
  const connector = buildConnector({ ...connect, lookup } as buildConnector.BuildOptions);
  return new Agent({
    ...options,
    connect(target, tell) {
      // An address needs no lookup.
      const host = withoutBrackets(target.hostname);
      try {
        if (isIP(host) !== 0) check(host, [host]);
      } catch (refusal) {
        return tell(refusal as Error, null);
      }
      connector(target, tell);
    },
  });
}

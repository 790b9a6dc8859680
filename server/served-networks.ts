/** What the config and the interfaces say of the networks that are served. */
import type { Config } from "./config/schema.ts";
import { type Cidr, cidrContains, parseCidr } from "./net/cidr.ts";
import { type Ipv4, parseIpv4 } from "./net/ipv4.ts";

export interface ServedInterface {
  readonly device?: string;
  readonly address: Ipv4;
  /** What it is connected to; undefined where nobody knows. */
  readonly networks?: readonly Cidr[];
}

/** A machine on an interface whose subnet is not configured gets no address, and would never be told. */
export function warnOfSubnets(
  { device, address }: { device?: string; address: Ipv4 },
  config: Config,
): string[] {
  const isServed = config.dhcp.subnets.some(({ subnet }) => {
    const cidr = parseCidr(subnet);
    return cidr !== undefined && cidrContains(cidr, address);
  });
  return isServed
    ? []
    : [
        `no entry of dhcp.subnets holds ${device ?? "this server"}'s own address ${address}: machines there get no address`,
      ];
}

/**
 * Where TFTP clients may be: in authoritative mode we give all addresses and know them. Beside another DHCP server nobody
 * tells us which networks its relays serve, so there everybody is answered unless the config says who.
 */
export function tftpClients(
  { dhcp, tftp }: Pick<Config, "dhcp" | "tftp">,
  interfaces: readonly ServedInterface[],
): Cidr[] | undefined {
  const parse = (texts: readonly string[]) => texts.map(parseCidr).filter((cidr) => cidr !== undefined);
  if (tftp.clients.length > 0) return parse(tftp.clients);
  const own = interfaces.map(({ networks }) => networks);
  if (dhcp.mode !== "authoritative" || own.includes(undefined)) return undefined;
  return [...own.flatMap((networks) => networks ?? []), ...parse(dhcp.subnets.map(({ subnet }) => subnet))];
}

type SubnetConfig = Config["dhcp"]["subnets"][number];

/** The config loader has checked every address. */
export function readSubnet(subnet: SubnetConfig) {
  const cidr = parseCidr(subnet.subnet);
  if (!cidr) throw new Error(`subnet ${subnet.subnet} was not checked`);
  const [from, to] = (subnet.range ?? "").split("-").map((text) => parseIpv4(text.trim()));
  return {
    subnet: cidr,
    range: from && to ? { from, to } : undefined,
    ...(subnet.router === undefined ? {} : { router: subnet.router as Ipv4 }),
    ...(subnet.dns === undefined ? {} : { dns: subnet.dns as Ipv4[] }),
    ...(subnet.domain === undefined ? {} : { domain: subnet.domain }),
    ...(subnet.relay === undefined ? {} : { relay: subnet.relay as Ipv4[] }),
    leaseSeconds: subnet.leaseSeconds,
  };
}

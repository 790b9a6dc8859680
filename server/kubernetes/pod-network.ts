import type { InstructionFile } from "../domain/cluster-node.ts";
import { formatCidr, parseCidr } from "../net/cidr.ts";
import { type Ipv4, ipv4ToOctets } from "../net/ipv4.ts";
import { type Mac, macFromOctets } from "../net/mac.ts";
import { networkScript } from "./network-script.ts";

/** A node as the network of pods sees it. */
export interface NetworkNode {
  /** Of the machine, which its tap0 has too. */
  readonly address: Ipv4;
  /** Of its pods: `Node.spec.podCIDR`. */
  readonly podCidr: string;
}

export interface NetworkInput {
  readonly self: NetworkNode;
  /** All other nodes. */
  readonly peers: readonly NetworkNode[];
  /** Of all pods: what leaves it goes as the machine. */
  readonly podSubnet: string;
}

/** Of pods and tunnel, octets: VXLAN adds 50 (RFC 7348 s.5), and slirp4netns sends what comes out as the machine's own datagrams of 1500. */
const mtu = 1450;

/**
 * The Ethernet address of a node's end of the tunnel. It follows from the network of its pods, so that nobody has to ask for it; 02 makes it locally
 * administered.
 */
export function tunnelMac(podCidr: string): Mac {
  return macFromOctets(Uint8Array.of(0x02, 0x52, ...ipv4ToOctets(networkOf(podCidr).network)));
}

/**
 * The files of a node's network without any pod or image: a CNI configuration of Debian's plugins, a table of the nodes, and the script that makes
 * the tunnel what the table says.
 * @throws when a network can't be read
 */
export function bridgeNetwork({ self, peers, podSubnet }: NetworkInput): InstructionFile[] {
  const row = (kind: string, { address, podCidr }: NetworkNode, ...more: string[]) =>
    [kind, address, formatCidr(networkOf(podCidr)), tunnelMac(podCidr), ...more].join(" ");
  const others = peers.filter(({ podCidr, address }) => podCidr !== self.podCidr && address !== self.address);
  const rows = [
    row("self", self, formatCidr(networkOf(podSubnet)), String(mtu)),
    ...others.map((peer) => row("peer", peer)).sort(),
  ];
  return [
    { path: "/etc/cni/net.d/10-rollcall.conflist", mode: 0o644, content: cniConfiguration(self.podCidr) },
    { path: "/etc/rollcall/network.table", mode: 0o644, content: `${rows.join("\n")}\n` },
    { path: "/etc/rollcall/network.sh", mode: 0o755, content: networkScript },
  ];
}

/** A bridge for the node's pods, addresses of its network, and ports of containers (CNI 0.3.1, which every runtime since 2018 reads). */
function cniConfiguration(podCidr: string): string {
  const plugins = [
    {
      type: "bridge",
      bridge: "cni0",
      isDefaultGateway: true,
      // A pod that asks for its own Service.
      hairpinMode: true,
      // The script does it for all nodes' pods; the plugin would hide pods of one node from another's.
      ipMasq: false,
      mtu,
      ipam: { type: "host-local", ranges: [[{ subnet: formatCidr(networkOf(podCidr)) }]] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ];
  return `${JSON.stringify({ cniVersion: "0.3.1", name: "rollcall", plugins }, null, 2)}\n`;
}

function networkOf(text: string) {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(`no network of pods: ${JSON.stringify(text.slice(0, 50))}`);
  return cidr;
}

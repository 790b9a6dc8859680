import type { Ipv4 } from "../net/ipv4.ts";
import { checkWord } from "./haproxy.ts";

export interface KeepalivedInput {
  /** The endpoint's address, which one of the machines has at a time. */
  readonly virtualAddress: Ipv4;
  /** Of the network that the address is on. */
  readonly prefixLength: number;
  /** Network device of the machine that this is for. */
  readonly device: string;
  readonly port: number;
  /** VRRP's number of the group, 1 to 255 (RFC 5798 s.5.2.3): no other group of that network may have it. */
  readonly routerId: number;
  readonly machine: { readonly address: Ipv4; readonly priority: number };
  /** Addresses of the other machines; with them nothing is sent to a multicast group. */
  readonly peers: readonly Ipv4[];
  /** The cluster's authority on that machine, PEM. */
  readonly authorityFile: string;
  readonly serverName?: string;
}

/**
 * keepalived.conf for one of the machines with haproxy: the address goes to a machine whose own haproxy reaches a ready API server.
 * VRRP has no authentication worth the name (RFC 5798 s.9): whoever is on that network can take the address, but has no certificate for it.
 */
export function renderKeepalived(input: KeepalivedInput): string {
  const { virtualAddress, prefixLength, device, port, routerId, machine, peers, authorityFile } = input;
  const { serverName = "kubernetes" } = input;
  for (const text of [virtualAddress, device, machine.address, authorityFile, serverName, ...peers])
    checkWord(text);
  const inRange = (value: number, least: number, most: number) =>
    Number.isInteger(value) && value >= least && value <= most;
  if (!inRange(routerId, 1, 255) || !inRange(machine.priority, 1, 254) || !inRange(prefixLength, 1, 32))
    throw new Error("a number of keepalived is out of its range");
  const check = [
    "/usr/bin/curl --silent --fail --output /dev/null --max-time 2",
    `--cacert ${authorityFile} --connect-to ${serverName}:${port}:127.0.0.1:${port}`,
    `https://${serverName}:${port}/readyz`,
  ].join(" ");
  return [
    "# The address of the cluster's endpoint, made by Rollcall.",
    "global_defs {",
    "    enable_script_security",
    "    script_user nobody",
    "}",
    "",
    "vrrp_script kube_apiserver {",
    `    script "${check}"`,
    "    interval 2",
    "    timeout 3",
    "    fall 2",
    "    rise 1",
    "}",
    "",
    "vrrp_instance kube_apiserver {",
    "    # All begin as BACKUP, and the priority decides: a machine that comes back takes the address only if it is to have it.",
    "    state BACKUP",
    `    interface ${device}`,
    `    virtual_router_id ${routerId}`,
    `    priority ${machine.priority}`,
    "    advert_int 1",
    ...(peers.length === 0
      ? []
      : [
          `    unicast_src_ip ${machine.address}`,
          "    unicast_peer {",
          ...peers.map((peer) => `        ${peer}`),
          "    }",
        ]),
    "    virtual_ipaddress {",
    `        ${virtualAddress}/${prefixLength} dev ${device}`,
    "    }",
    "    track_script {",
    "        kube_apiserver",
    "    }",
    "}",
    "",
  ].join("\n");
}

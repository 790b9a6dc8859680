import type { Lease } from "../../domain/lease.ts";
import { cidrContains } from "../../net/cidr.ts";
import { type Ipv4, UnspecifiedAddress } from "../../net/ipv4.ts";
import type { DhcpMessage } from "../wire/message.ts";
import { OptionCode } from "../wire/option-codes.ts";
import { ipv4Option, textOption } from "../wire/options.ts";
import { chooseAddress, isAssignable, isBound, isInRange } from "./allocate-address.ts";
import { bootChoice, buildReply } from "./build-reply.ts";
import type { Client } from "./classify-client.ts";
import { type Decision, type DhcpPolicy, type Facts, silence } from "./decision.ts";
import { type Subnet, subnetOf } from "./subnet.ts";

interface Input {
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly facts: Facts;
  readonly policy: DhcpPolicy;
  readonly subnet: Subnet;
}

type ClientMessage = "DISCOVER" | "REQUEST" | "DECLINE" | "RELEASE" | "INFORM";

/** A declined address is nobody's for so long (RFC 2131 s.4.3.3). */
export const declinedMs = 10 * 60_000;
/** One MAC sets aside no more than these, so that a flood of DECLINE can't empty the pool. */
const maximumDeclined = 4;
/** A lease is not written again when it is younger than this, and than this share of its time. */
const freshMs = 60_000;
const freshShare = 0.1;
/** A host name is shown to people and nothing more. */
const maximumHostnameLength = 63;

/** The server that gives the addresses of its subnets (RFC 2131 s.4.3). */
export function decideAuthoritative(
  type: ClientMessage,
  request: DhcpMessage,
  client: Client,
  facts: Facts,
  policy: DhcpPolicy,
): Decision {
  const subnet = subnetOf(request, facts.serverAddress, policy.subnets);
  if (!subnet) return silence("no subnet is configured for where it came from");
  const input: Input = { request, client, facts, policy, subnet };
  switch (type) {
    case "DISCOVER":
      return onDiscover(input);
    case "REQUEST":
      return onRequest(input);
    case "DECLINE":
      return onDecline(input);
    case "RELEASE":
      return onRelease(input);
    case "INFORM":
      return onInform(input);
  }
}

function onDiscover(input: Input): Decision {
  const { request, client, facts, policy, subnet } = input;
  const yiaddr = chooseAddress(facts, subnet, ipv4Option(request.options, OptionCode.RequestedAddress));
  if (yiaddr === undefined) return silence("no free address", { alarm: "pool-exhausted" });
  return buildReply({ ...input, message: "OFFER", yiaddr, boot: bootChoice(client, facts, policy) });
}

/** The four states that a REQUEST comes from, told apart by options 50 and 54 and by ciaddr (RFC 2131 s.4.3.2). */
function onRequest(input: Input): Decision {
  const { request, facts, policy } = input;
  const server = ipv4Option(request.options, OptionCode.ServerId);
  const requested = ipv4Option(request.options, OptionCode.RequestedAddress);
  const ciaddr = request.ciaddr === UnspecifiedAddress ? undefined : request.ciaddr;
  if (server !== undefined) {
    if (!policy.serverAddresses.has(server)) {
      return silence("chose another server", {
        withdrawsOffer: true,
        foreignServer: server,
        address: requested,
      });
    }
    const address = requested ?? ciaddr;
    if (address === undefined) return silence("REQUEST without an address");
    return isGrantable(input, address)
      ? grant(input, address)
      : refuse(input, "that address was not offered to you");
  }
  if (ciaddr !== undefined) {
    // RENEWING and REBINDING: a running machine keeps its address even where a reservation waits for its next boot.
    return isGrantable(input, ciaddr) || isOwnLease(facts, ciaddr)
      ? grant(input, ciaddr)
      : refuse(input, "not your address");
  }
  if (requested === undefined) return silence("REQUEST without an address");
  // INIT-REBOOT: what the client would be offered, else it begins anew. A lease that we lost is taken over if it is free.
  const current = chooseAddress({ ...facts, nextFree: () => undefined }, input.subnet, requested);
  return current === requested ? grant(input, requested) : refuse(input, "not your address");
}

/** True when the client may have this address: free for it, and reserved for it or in the range. */
function isGrantable({ facts, subnet }: Input, address: Ipv4): boolean {
  return (
    facts.isAvailable(address) &&
    (isInRange(subnet, address) || (address === facts.reservation && isAssignable(subnet, address)))
  );
}

/** The client's own lease, in a subnet whose range may have changed since. */
function isOwnLease({ lease, now, isAvailable }: Facts, address: Ipv4): boolean {
  return isBound(lease, now) && lease.address === address && isAvailable(address);
}

function grant(input: Input, address: Ipv4): Decision {
  const { client, facts, policy, request, subnet } = input;
  if (!cidrContains(subnet.subnet, address)) return refuse(input, "not an address of this subnet");
  const hostname = printable(textOption(request.options, OptionCode.HostName) ?? "");
  const boot = bootChoice(client, facts, policy);
  if (isFresh(facts, subnet, address) && (facts.lease?.hostname ?? "") === hostname) {
    const leaseSeconds = Math.floor((facts.lease.expiresAt - facts.now) / 1000);
    return buildReply({ ...input, message: "ACK", yiaddr: address, leaseSeconds, boot });
  }
  const commit: Lease = {
    mac: client.mac,
    address,
    grantedAt: facts.now,
    expiresAt: facts.now + subnet.leaseSeconds * 1000,
    state: "bound",
    ...(hostname === "" ? {} : { hostname }),
  };
  return buildReply({
    ...input,
    message: "ACK",
    yiaddr: address,
    commit,
    boot,
  });
}

/**
 * True for a lease of this address that is on the disk already, and about as long as the subnet's: firmware, iPXE and operating
 * system of one machine each ask for it within a minute, and get what is left of it.
 */
function isFresh(facts: Facts, subnet: Subnet, address: Ipv4): facts is Facts & { readonly lease: Lease } {
  const { lease, now } = facts;
  if (!isBound(lease, now) || lease.address !== address || facts.isBeingSaved) return false;
  const ageMs = now - lease.grantedAt;
  const fullMs = subnet.leaseSeconds * 1000;
  return (
    ageMs >= 0 &&
    ageMs < Math.min(freshMs, fullMs * freshShare) &&
    lease.expiresAt - lease.grantedAt === fullMs &&
    facts.isAvailable(address)
  );
}

function refuse({ request, client, facts, policy }: Input, refusal: string): Decision {
  return buildReply({ message: "NAK", request, client, facts, policy, refusal });
}

/** Another host answered for the address: set it aside, if it is this client's to complain of. */
function onDecline({ request, client, facts, policy }: Input): Decision {
  const server = ipv4Option(request.options, OptionCode.ServerId);
  const address = ipv4Option(request.options, OptionCode.RequestedAddress);
  if (server !== undefined && !policy.serverAddresses.has(server))
    return silence("DECLINE to another server");
  const isOwn = address !== undefined && (address === facts.offered || address === facts.lease?.address);
  if (!isOwn || (facts.lease?.state === "declined" && facts.lease.address === address))
    return silence("DECLINE of an address that is not its own");
  if (facts.declinedCount >= maximumDeclined)
    return silence("declined too many addresses", { withdrawsOffer: true });
  const commit: Lease = {
    mac: client.mac,
    address,
    grantedAt: facts.now,
    expiresAt: facts.now + declinedMs,
    state: "declined",
  };
  return silence("address set aside", { commit, withdrawsOffer: true, address, alarm: "address-conflict" });
}

/** The record stays for the client's next DISCOVER. */
function onRelease({ request, facts }: Input): Decision {
  const { lease, now } = facts;
  if (!isBound(lease, now) || lease.address !== request.ciaddr)
    return silence("RELEASE of an address that is not its own");
  return silence("released", {
    commit: { ...lease, state: "released", expiresAt: now },
    withdrawsOffer: true,
    address: lease.address,
  });
}

/** Parameters for a client that has its address from elsewhere: no lease, no 51 (RFC 2131 s.4.3.5). */
function onInform(input: Input): Decision {
  const { request, client, facts, policy, subnet } = input;
  if (!cidrContains(subnet.subnet, request.ciaddr)) return silence("INFORM without an address of the subnet");
  return buildReply({
    ...input,
    message: "ACK",
    clientAddress: request.ciaddr,
    boot: bootChoice(client, facts, policy),
  });
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "").slice(0, maximumHostnameLength);
}

import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { DeviceNotFound } from "../domain/error-catalogue.ts";
import { type Cidr, networkOf } from "../net/cidr.ts";
import type { Ipv4 } from "../net/ipv4.ts";

/** First IPv4 address of each network device. */
export function ipv4ByDevice(): Map<string, Ipv4> {
  const devices = new Map<string, Ipv4>();
  for (const [device, addresses] of Object.entries(networkInterfaces())) {
    const first = addresses?.find((address) => address.family === "IPv4");
    if (first) devices.set(device, first.address as Ipv4);
  }
  return devices;
}

/** All addresses that this machine has now, IPv4 and IPv6. */
export const ownAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));

/** The networks that a device has an IPv4 address in. */
export function networksOfDevice(device: string): Cidr[] {
  const addresses = networkInterfaces()[device] ?? [];
  return addresses
    .filter(({ family }) => family === "IPv4")
    .map(({ cidr }) => networkOf(cidr ?? ""))
    .filter((network) => network !== undefined);
}

/** @throws DeviceNotFound when the device is not there or has no IPv4 address */
export function addressOfDevice(device: string): Ipv4 {
  const devices = ipv4ByDevice();
  const address = devices.get(device);
  if (!address) throw DeviceNotFound({ device, known: [...devices.keys()] });
  return address;
}

/** The device of the default route with the lowest metric, from `/proc/net/route`; undefined without a default route. */
export function defaultRouteDevice(routes = readRoutes()): string | undefined {
  const defaults = routes
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, destination, , , , , , mask]) => destination === "00000000" && mask === "00000000")
    .sort((left, right) => Number(left[6]) - Number(right[6]));
  return defaults[0]?.[0];
}

/** The devices that were named, or that of the default route, with their addresses. @throws DeviceNotFound */
export function servedInterfaces(
  names: readonly string[],
): { device: string; address: Ipv4; networks: Cidr[] }[] {
  const named = names.length > 0 ? names : [defaultRouteDevice()].filter((device) => device !== undefined);
  if (named.length === 0)
    throw DeviceNotFound({ device: "(no default route)", known: [...ipv4ByDevice().keys()] });
  return named.map((device) => ({
    device,
    address: addressOfDevice(device),
    networks: networksOfDevice(device),
  }));
}

/** True where this host forwards IPv6 packets that come in by the device, as a router does. */
export function forwardsIpv6(device: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv6/conf/${device}/forwarding`, "utf8").trim() !== "0";
  } catch {
    return false;
  }
}

function readRoutes(): string {
  try {
    return readFileSync("/proc/self/net/route", "utf8");
  } catch {
    return "";
  }
}

import { LRUCache } from "lru-cache";
import type { Clock } from "../domain/capabilities.ts";
import type { DhcpContact } from "../domain/contact.ts";
import type { AddressSightings, SeenPacket, TlsService } from "../domain/sighting.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

/** Kept of each machine or address, the newest ones: about 4 KiB. */
const keptOfEach = 16;
/** Machines that somebody added or accepted, and their addresses; those longest silent give way. */
const knownCapacity = 4096;
/** All others, which anybody can make up: they have a place of their own, so that a flood of them hides no machine of the room. */
const strangerCapacity = 512;
/** Of a path; it comes from the network. */
const keptPathCharacters = 160;

export interface SightingsDeps {
  readonly clock: Pick<Clock, "now">;
  /** Did somebody add or accept the machine with this MAC? */
  readonly isKnown: (mac: Mac) => boolean;
  readonly macAt: (address: Ipv4) => Mac | undefined;
}

/**
 * What was seen of machines beside the steps of their boots: DHCP messages, also of machines that begin no boot by them, requests that were
 * refused, handshakes that were broken off. In memory alone, for `boot doctor`; bounded, whoever sends.
 */
export function createSightings({ clock, isKnown, macAt }: SightingsDeps) {
  const packets = createBook<Mac, readonly SeenPacket[]>();
  const addresses = createBook<string, AddressSightings>();
  const nothing: AddressSightings = { requests: [], handshakes: [] };

  function isKnownAddress(address: string): boolean {
    const mac = macAt(address as Ipv4);
    return mac !== undefined && isKnown(mac);
  }
  function note(address: string, change: (before: AddressSightings) => AddressSightings): void {
    addresses.set(address, change(addresses.get(address) ?? nothing), isKnownAddress(address));
  }

  return {
    packet(contact: DhcpContact): void {
      const { mac } = contact;
      const before = packets.get(mac) ?? [];
      const last = before.at(-1);
      const next = seenPacket(contact);
      const merged =
        last && isRepeated(last, next)
          ? [
              ...before.slice(0, -1),
              {
                ...last,
                lastAt: next.at,
                times: last.times + 1,
                serverMs: Math.max(last.serverMs, next.serverMs),
              },
            ]
          : [...before, next].slice(-keptOfEach);
      packets.set(mac, merged, isKnown(mac));
    },

    /** @param url as it was asked for; neither its query nor a claim in it is kept */
    refusal(address: string, refused: { method: string; url: string; status: number; code: string }): void {
      const { method, url, status, code } = refused;
      const path = withoutClaim(url);
      note(address, ({ requests, handshakes }) => ({
        handshakes,
        requests: [...requests, { at: clock.now(), method, path, status, code }].slice(-keptOfEach),
      }));
    },

    brokenHandshake(service: TlsService, address: string, alert: string): void {
      note(address, ({ requests, handshakes }) => ({
        requests,
        handshakes: [...handshakes, { at: clock.now(), service, alert }].slice(-keptOfEach),
      }));
    },

    /** Oldest first. */
    packetsOf: (mac: Mac): readonly SeenPacket[] => packets.get(mac) ?? [],
    at: (address: string): AddressSightings => addresses.get(address) ?? nothing,
  };
}
export type Sightings = ReturnType<typeof createSightings>;

/** Known ones and strangers do not displace each other. */
function createBook<K extends string, V extends object>() {
  const known = new LRUCache<K, V>({ max: knownCapacity });
  const strangers = new LRUCache<K, V>({ max: strangerCapacity });
  return {
    get: (key: K): V | undefined => known.peek(key) ?? strangers.peek(key),
    set(key: K, value: V, isKnown: boolean): void {
      if (!isKnown) return void strangers.set(key, value);
      strangers.delete(key);
      known.set(key, value);
    },
  };
}

function seenPacket(contact: DhcpContact): SeenPacket {
  const { at, speaker, message, port, secs, reply, silence, foreignServer, bootfile, serverMs } = contact;
  return {
    at,
    lastAt: at,
    times: 1,
    speaker,
    message,
    port,
    secs,
    reply,
    silence,
    foreignServer,
    bootfile,
    serverMs,
    firmware: contact.firmware?.name,
  };
}

/** A machine that was silent for so long was switched off in between: its next packet is none of the row. */
const sameRowMs = 60_000;

function isRepeated(last: SeenPacket, next: SeenPacket): boolean {
  return (
    next.at - last.lastAt < sameRowMs &&
    next.secs >= last.secs &&
    (
      ["speaker", "message", "port", "reply", "silence", "foreignServer", "bootfile", "firmware"] as const
    ).every((key) => last[key] === next[key])
  );
}

/** `/callback/<claim>/join` and `/boot/claims/<claim>/...`: whoever has the claim is the machine. */
function withoutClaim(url: string): string {
  return (url.split("?")[0] ?? "")
    .replace(/^\/+(callback|boot\/+claims)\/+[^/]+/, "/$1/...")
    .replaceAll(/[^\x21-\x7e]+/g, "?")
    .slice(0, keptPathCharacters);
}

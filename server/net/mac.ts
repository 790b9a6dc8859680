/** An Ethernet address in the form used everywhere inside: lower case, colons, 17 characters (`52:54:00:00:00:01`). */
export type Mac = string & { readonly __mac: true };

const colonForm = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/**
 * Reads a MAC in one of the forms that people and firmware write: `52:54:00:00:00:01`, `52-54-00-00-00-01`,
 * `5254.0000.0001`, `525400000001`, upper or lower case. Returns undefined for anything else.
 */
export function parseMac(text: string): Mac | undefined {
  if (text.length > 17) return undefined;
  const lower = text.toLowerCase();
  const separated = lower.replaceAll("-", ":");
  if (colonForm.test(separated)) return separated as Mac;
  const bare = /^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}$/.test(lower) ? lower.replaceAll(".", "") : lower;
  if (!/^[0-9a-f]{12}$/.test(bare)) return undefined;
  return (bare.match(/../g) ?? []).join(":") as Mac;
}

const hexOfOctet = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));

/** The MAC from the first six octets of a DHCP `chaddr` field. */
export function macFromOctets(octets: Uint8Array): Mac {
  const hex = (at: number) => hexOfOctet[octets[at] ?? 0];
  return `${hex(0)}:${hex(1)}:${hex(2)}:${hex(3)}:${hex(4)}:${hex(5)}` as Mac;
}

export function macToOctets(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(":"), (part) => Number.parseInt(part, 16));
}

/** `52-54-00-00-00-01`: the form that is safe in a path, and the one iPXE's `:hexhyp` prints. */
export function macWithHyphens(mac: Mac): string {
  return mac.replaceAll(":", "-");
}

/** True for addresses that no single machine owns: all zero, broadcast, and multicast (lowest bit of the first octet). */
export function isUnusableMac(mac: Mac): boolean {
  return mac === "00:00:00:00:00:00" || (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}

/** An SMBIOS UUID, lower case with hyphens. */
export type Uuid = string & { readonly __uuid: true };

/**
 * UUIDs that whole production runs of boards share, so they identify nothing (seen in talos#7694, omni#38, FOG#196); beside those whose
 * octets are all alike, which the SMBIOS specification itself calls unset (DSP0134 s.7.2.1: all zero, all ones).
 */
const sharedByManyBoards = new Set([
  "03000200-0400-0500-0006-000700080009",
  "00020003-0004-0005-0006-000700080009",
  "12345678-1234-5678-90ab-cddeefaabbcc",
  "12345678-1234-5678-1234-567812345678",
  "01234567-8910-1112-1314-151617181920",
  "11111111-2222-3333-4444-555555555555",
  // Dell, with a service tag that nobody wrote
  "4c4c4544-0000-2010-8020-80c04f202020",
]);

export function parseUuid(text: string): Uuid | undefined {
  const lower = text.toLowerCase();
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(lower) ? (lower as Uuid) : undefined;
}

/** True when the UUID can tell one machine from another. Never the only key of a machine all the same. */
export function isUsableUuid(uuid: Uuid): boolean {
  const isOneOctet = /^(..)\1{15}$/.test(uuid.replaceAll("-", ""));
  return !isOneOctet && !sharedByManyBoards.has(uuid);
}

/**
 * The UUID of DHCP option 97 (RFC 4578 s.2.3: type octet 0, then 16 octets). The first three fields come little-endian,
 * as SMBIOS 2.6 stores them; printed like `dmidecode` and iPXE's `${uuid}` do.
 */
export function uuidFromClientMachineId(option: Uint8Array): Uuid | undefined {
  if (option.length !== 17 || option[0] !== 0) return undefined;
  const order = [4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16];
  const hex = order.map((index) => (option[index] ?? 0).toString(16).padStart(2, "0")).join("");
  return parseUuid(
    [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-"),
  );
}

/** What a neighbour tells by LLDP, as texts for people. */
export interface LldpFrame {
  readonly chassisId: string;
  readonly portId: string;
  readonly portDescription: string | undefined;
  readonly systemName: string | undefined;
}

const etherType = 0x88cc;
/** Subtypes of both ids that are a MAC: chassis 4, port 3 (IEEE 802.1AB s.8.5.2.2, s.8.5.3.2). */
const macSubtypes = { 1: 4, 2: 3 } as const;
/** Subtypes that are a network address: its family, then its octets. */
const addressSubtypes = { 1: 5, 2: 4 } as const;
/** A TLV's information has 511 octets at most; names of switches are short. */
const longestText = 255;

/**
 * Reads an LLDP frame from its Ethernet header on (IEEE 802.1AB s.8: TLVs of 7 bits of type, 9 bits of length). Sent by anybody on the
 * wire. @returns undefined where it is none, or its two mandatory ids are missing
 */
export function parseLldpFrame(frame: Uint8Array): LldpFrame | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 14) return undefined;
  // A port that is a trunk may tag the frame (IEEE 802.1Q).
  let at = view.getUint16(12) === 0x8100 ? 18 : 14;
  if (frame.length < at || view.getUint16(at - 2) !== etherType) return undefined;
  const texts = new Map<number, string>();
  while (at + 2 <= frame.length) {
    const head = view.getUint16(at);
    const type = head >> 9;
    const length = head & 0x1ff;
    at += 2;
    if (type === 0 || at + length > frame.length) break;
    const value = frame.subarray(at, at + length);
    at += length;
    // The first of each counts, as s.9.2.7.7.1 says of the ids.
    if (!texts.has(type)) texts.set(type, type === 1 || type === 2 ? idOf(type, value) : textOf(value));
  }
  const chassisId = texts.get(1);
  const portId = texts.get(2);
  if (!chassisId || !portId) return undefined;
  return {
    chassisId,
    portId,
    portDescription: texts.get(4) || undefined,
    systemName: texts.get(5) || undefined,
  };
}

function idOf(type: 1 | 2, value: Uint8Array): string {
  const [subtype] = value;
  const id = value.subarray(1);
  if (subtype === macSubtypes[type] && id.length === 6) return hexOf(id, ":");
  if (subtype === addressSubtypes[type] && id[0] === 1 && id.length === 5) return id.subarray(1).join(".");
  const text = textOf(id);
  // Subtypes are used wrongly so often that what reads as a text is one.
  return text !== "" && /^[\x20-\x7e]+$/.test(text) ? text : hexOf(id, "");
}

const hexOf = (octets: Uint8Array, between: string) =>
  Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join(between);

function textOf(value: Uint8Array): string {
  return new TextDecoder()
    .decode(value.subarray(0, longestText))
    .replaceAll(/[\p{Cc}\p{Cf}\ufffd]/gu, "")
    .trim();
}

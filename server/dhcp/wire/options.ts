import { type Ipv4, ipv4FromOctets, ipv4ToOctets } from "../../net/ipv4.ts";
import { MalformedPacket } from "./malformed-packet.ts";
import { OptionCode } from "./option-codes.ts";

/** Option code to value; iteration order is the order on the wire. */
export type OptionMap = ReadonlyMap<number, Uint8Array>;

/** Longest value that one instance of an option can carry. */
const maximumInstanceOctets = 255;

/**
 * Splits an options field into code and value, adding to `options`.
 *
 * A code that comes again is one long option whose parts are joined in order (RFC 3396 s.7, RFC 2131 s.4.1). Pad has no
 * length octet, End stops the walk, what follows End is ignored (RFC 2132 s.3.1, s.3.2). A missing End is tolerated:
 * several PXE ROMs cut the field at the size of their buffer.
 *
 * @param field octets after the magic cookie, or the overloaded `file` or `sname`; values are views into it
 * @throws MalformedPacket when a length octet is missing or points past the end of the field
 */
export function decodeOptions(
  field: Uint8Array,
  options = new Map<number, Uint8Array>(),
): Map<number, Uint8Array> {
  let at = 0;
  // Joined once at the end: a datagram of 64 KiB can bring one code 20,000 times.
  let repeated: Map<number, Uint8Array[]> | undefined;
  while (at < field.length) {
    const code = field[at++];
    if (code === undefined || code === OptionCode.End) break;
    if (code === OptionCode.Pad) continue;
    const length = field[at++];
    if (length === undefined || at + length > field.length)
      throw new MalformedPacket("option passes the end of its field");
    const part = field.subarray(at, at + length);
    const before = options.get(code);
    if (before === undefined) options.set(code, part);
    else {
      const parts = (repeated ??= new Map<number, Uint8Array[]>()).get(code);
      if (parts) parts.push(part);
      else repeated.set(code, [before, part]);
    }
    at += length;
  }
  for (const [code, parts] of repeated ?? []) options.set(code, joinOctets(parts));
  return options;
}

/**
 * Writes options in the order of the map, End included. A value above 255 octets is split into instances of the same
 * code (RFC 3396 s.5). A Pad follows option 67, since EDK2's HTTP boot writes a NUL over the octet after its value and
 * would destroy the next option.
 */
export function encodeOptions(options: OptionMap): Uint8Array {
  const field = new Uint8Array(encodedLength(options));
  writeOptionsField(field, 0, options);
  return field;
}

/** The same into a datagram, which has room for it. */
export function writeOptionsField(field: Uint8Array, from: number, options: OptionMap): void {
  let at = from;
  for (const [code, value] of options) {
    let done = 0;
    do {
      const end = Math.min(done + maximumInstanceOctets, value.length);
      field[at++] = code;
      field[at++] = end - done;
      // Most values have four octets: a loop is faster than what a call costs.
      for (; done < end; done++) field[at++] = value[done] ?? 0;
    } while (done < value.length);
    if (code === OptionCode.BootfileName) field[at++] = OptionCode.Pad;
  }
  field[at] = OptionCode.End;
}

/** Octets that `encodeOptions` makes of this, End included. */
export function encodedLength(options: OptionMap): number {
  let octets = 1;
  for (const [code, value] of options) octets += encodedOptionLength(code, value);
  return octets;
}

function encodedOptionLength(code: number, value: Uint8Array): number {
  const instances =
    value.length <= maximumInstanceOctets ? 1 : Math.ceil(value.length / maximumInstanceOctets);
  return value.length + 2 * instances + (code === OptionCode.BootfileName ? 1 : 0);
}

const first: readonly number[] = [OptionCode.MessageType, OptionCode.ServerId, OptionCode.LeaseTime];
/** 82 is the last one (RFC 3046 s.2.2), 67 stands before it where the Pad after it does no harm. */
const last: readonly number[] = [OptionCode.BootfileName, OptionCode.RelayAgentInformation];

/**
 * The one order in which we send options: 53, 54, 51, then what the client asked for in its own order (RFC 2132 s.9.8),
 * then the rest by code, then 67, then 82.
 */
export function orderOptions(options: OptionMap, requested: readonly number[]): Map<number, Uint8Array> {
  const ordered = new Map<number, Uint8Array>();
  const put = (code: number) => {
    const value = options.get(code);
    if (value !== undefined) ordered.set(code, value);
  };
  for (const code of first) put(code);
  for (const code of requested) if (!last.includes(code)) put(code);
  const rest: number[] = [];
  for (const code of options.keys()) if (!ordered.has(code) && !last.includes(code)) rest.push(code);
  for (const code of rest.sort((a, b) => a - b)) put(code);
  for (const code of last) put(code);
  return ordered;
}

/** The first of them goes last. */
const echoed: readonly number[] = [OptionCode.ClientId, OptionCode.RelayAgentInformation];

/**
 * Leaves options out, the last first, until the field has at most `maximumOctets`; `kept` are left out only when even
 * that does not help: what the client or the relay agent sent and wants back (RFC 3046 s.2.2), since it alone can be long.
 */
export function fitOptions(options: OptionMap, maximumOctets: number, kept: ReadonlySet<number>): OptionMap {
  let length = encodedLength(options);
  if (length <= maximumOctets) return options;
  const fitting = new Map(options);
  const droppable = [...echoed, ...[...options.keys()].filter((code) => !kept.has(code))];
  while (length > maximumOctets) {
    const code = droppable.pop();
    if (code === undefined) break;
    const value = fitting.get(code);
    if (value) length -= encodedOptionLength(code, value);
    fitting.delete(code);
  }
  return fitting;
}

/** Never in a text field: what tells of the overload, what a client looks for first, and 82 (RFC 3046 s.2.2). */
const neverMoved: ReadonlySet<number> = new Set([
  OptionCode.Overload,
  OptionCode.MessageType,
  OptionCode.ServerId,
  OptionCode.RelayAgentInformation,
]);
/** Octets of option 52 itself. */
const overloadOctets = 3;

export interface SpreadOptions {
  readonly options: OptionMap;
  readonly file: OptionMap | undefined;
  readonly sname: OptionMap | undefined;
}

/**
 * Moves options, the last first, into the header's text fields until the options field has at most `maximumOctets`, and
 * says so in option 52 (RFC 2131 s.4.1, RFC 2132 s.9.3). Nothing is moved when all fit, or when it would not help.
 *
 * @param room octets of `file` and `sname` that carry nothing else, 0 for none
 */
export function spreadOptions(
  options: OptionMap,
  maximumOctets: number,
  room: { readonly file: number; readonly sname: number },
): SpreadOptions {
  if (encodedLength(options) <= maximumOctets) return { options, file: undefined, sname: undefined };
  const left = new Map(options);
  // The smaller field first: what is too long for it may still fit into the other one.
  const sname = moveOptions(left, maximumOctets - overloadOctets, room.sname);
  const file = moveOptions(left, maximumOctets - overloadOctets, room.file);
  if (!file && !sname) return { options, file, sname };
  const marked = new Map<number, Uint8Array>();
  for (const [code, value] of left) {
    marked.set(code, value);
    // Behind option 53, which comes first.
    if (marked.size === 1) marked.set(OptionCode.Overload, Uint8Array.of((file ? 1 : 0) + (sname ? 2 : 0)));
  }
  return { options: marked, file, sname };
}

/** Takes from `left` what fits into a field, End included. */
function moveOptions(
  left: Map<number, Uint8Array>,
  maximumOctets: number,
  roomOctets: number,
): OptionMap | undefined {
  const moved = new Map<number, Uint8Array>();
  let room = roomOctets - 1;
  let length = encodedLength(left);
  for (const [code, value] of [...left].reverse()) {
    if (length <= maximumOctets) break;
    const octets = encodedOptionLength(code, value);
    if (neverMoved.has(code) || octets > room) continue;
    moved.set(code, value);
    left.delete(code);
    room -= octets;
    length -= octets;
  }
  return moved.size > 0 ? moved : undefined;
}

/** The one octet of an option; undefined when the option is absent or has another length. */
export function octetOption(options: OptionMap, code: number): number | undefined {
  const value = options.get(code);
  return value?.length === 1 ? value[0] : undefined;
}

/** An unsigned 16-bit option, network byte order. */
export function uint16Option(options: OptionMap, code: number): number | undefined {
  return uint16List(options.get(code))?.[0];
}

/** A list of unsigned 16-bit numbers; undefined when absent, empty or of odd length. */
export function uint16List(value: Uint8Array | undefined): number[] | undefined {
  if (!value || value.length === 0 || value.length % 2 !== 0) return undefined;
  const list: number[] = [];
  for (let at = 0; at < value.length; at += 2) list.push((value[at] ?? 0) * 256 + (value[at + 1] ?? 0));
  return list;
}

export function ipv4Option(options: OptionMap, code: number): Ipv4 | undefined {
  const value = options.get(code);
  return value?.length === 4 ? ipv4FromOctets(value) : undefined;
}

/** An option as text, one character per octet, trailing NULs off: hostile input, never trusted to be printable. */
export function textOption(options: OptionMap, code: number): string | undefined {
  const value = options.get(code);
  if (!value) return undefined;
  let length = value.length;
  while (length > 0 && value[length - 1] === 0) length--;
  return textFromOctets(value.subarray(0, length));
}

export function textFromOctets(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString("latin1");
}

/** @throws RangeError for a character above 255: everything that we send is ASCII */
export function textToOctets(text: string): Uint8Array {
  const octets = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 255) throw new RangeError(`character ${code} has no octet`);
    octets[at] = code;
  }
  return octets;
}

/** An unsigned 32-bit number, network byte order. */
export function uint32ToOctets(value: number): Uint8Array {
  return Uint8Array.of((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

export function ipv4ListToOctets(addresses: readonly Ipv4[]): Uint8Array {
  return Uint8Array.from(addresses.flatMap((address) => [...ipv4ToOctets(address)]));
}

function joinOctets(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((octets, part) => octets + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

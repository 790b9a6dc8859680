import { type Ipv4, ipv4FromOctets, ipv4ToNumber } from "../../net/ipv4.ts";
import { MalformedPacket } from "./malformed-packet.ts";
import { OptionCode } from "./option-codes.ts";
import {
  decodeOptions,
  encodedLength,
  encodeOptions,
  octetOption,
  type OptionMap,
  textFromOctets,
  textToOctets,
  writeOptionsField,
} from "./options.ts";

/** A BOOTP or DHCP message (RFC 2131 s.2, figure 1). */
export interface DhcpMessage {
  /** 1 BOOTREQUEST, 2 BOOTREPLY. */
  readonly op: number;
  /** Hardware type (IANA ARP): 1 is Ethernet. */
  readonly htype: number;
  /** Octets of `chaddr` in use, at most 16. */
  readonly hlen: number;
  readonly hops: number;
  readonly xid: number;
  /** Seconds since the client began, by its own word. */
  readonly secs: number;
  /** 16 bits; the highest is the broadcast flag. */
  readonly flags: number;
  readonly ciaddr: Ipv4;
  readonly yiaddr: Ipv4;
  readonly siaddr: Ipv4;
  readonly giaddr: Ipv4;
  /** All 16 octets. */
  readonly chaddr: Uint8Array;
  /** Up to the first NUL, one character per octet; empty when the field carries options (overload, option 52). */
  readonly sname: string;
  readonly file: string;
  readonly options: OptionMap;
  /** Options to be written into the header's text fields (option 52 must say so); a decoded message has them in `options`. */
  readonly overload?: OverloadedFields | undefined;
}

export interface OverloadedFields {
  readonly file?: OptionMap | undefined;
  readonly sname?: OptionMap | undefined;
}

export const BootRequest = 1;
export const BootReply = 2;
export const BroadcastFlag = 0x8000;

/** Octets before the options: the BOOTP header and the magic cookie. */
export const HeaderOctets = 240;
/** Longest text that `file` can hold with the NUL that ends it. */
export const MaximumFileLength = 127;

/** Octets of the header's text fields. */
export const FileOctets = 128;
export const SnameOctets = 64;

/** 99, 130, 83, 99 (RFC 2131 s.3). */
const cookie = 0x63825363;
const chaddrOctets = 16;
const snameAt = 44;
const fileAt = 108;
const cookieAt = 236;
/** Relays drop replies that are shorter than a BOOTP message (RFC 951, RFC 1542 s.2.1). */
const minimumOctets = 300;

/**
 * Reads one datagram. Values are views into it.
 *
 * @throws MalformedPacket when it is shorter than 240 octets, has no magic cookie, an `hlen` above 16, an `op` that is
 *   neither 1 nor 2, or an option that passes the end of its field (RFC 2131 s.2, s.3)
 */
export function decodeMessage(datagram: Uint8Array): DhcpMessage {
  if (datagram.length < HeaderOctets) throw new MalformedPacket("shorter than 240 octets");
  if (readUint(datagram, cookieAt, 4) !== cookie) throw new MalformedPacket("no magic cookie");
  const [op = 0, htype = 0, hlen = 0, hops = 0] = datagram;
  if (op !== BootRequest && op !== BootReply) throw new MalformedPacket("op is neither request nor reply");
  if (hlen > chaddrOctets) throw new MalformedPacket("hlen above 16");
  const snameField = datagram.subarray(snameAt, fileAt);
  const fileField = datagram.subarray(fileAt, cookieAt);
  const options = decodeOptions(datagram.subarray(HeaderOctets));
  // RFC 2131 s.4.1: first the options field, then `file`, then `sname`. Other values of 52 mean nothing.
  const overload = octetOption(options, OptionCode.Overload) ?? 0;
  const fileHasOptions = overload === 1 || overload === 3;
  const snameHasOptions = overload === 2 || overload === 3;
  if (fileHasOptions) decodeOptions(fileField, options);
  if (snameHasOptions) decodeOptions(snameField, options);
  return {
    op,
    htype,
    hlen,
    hops,
    xid: readUint(datagram, 4, 4),
    secs: readUint(datagram, 8, 2),
    flags: readUint(datagram, 10, 2),
    ciaddr: ipv4FromOctets(datagram, 12),
    yiaddr: ipv4FromOctets(datagram, 16),
    siaddr: ipv4FromOctets(datagram, 20),
    giaddr: ipv4FromOctets(datagram, 24),
    chaddr: datagram.subarray(28, 28 + chaddrOctets),
    sname: snameHasOptions ? "" : textUpToNul(snameField),
    file: fileHasOptions ? "" : textUpToNul(fileField),
    options,
  };
}

/**
 * Writes a message, options in the order of its map, filled with zeros to at least 300 octets.
 *
 * @throws RangeError when `sname` has more than 64 or `file` more than 128 characters, or one above 255
 */
export function encodeMessage(message: DhcpMessage): Uint8Array {
  const datagram = new Uint8Array(Math.max(minimumOctets, HeaderOctets + encodedLength(message.options)));
  datagram[0] = message.op;
  datagram[1] = message.htype;
  datagram[2] = message.hlen;
  datagram[3] = message.hops;
  writeUint32(datagram, 4, message.xid);
  writeUint16(datagram, 8, message.secs);
  writeUint16(datagram, 10, message.flags);
  writeUint32(datagram, 12, ipv4ToNumber(message.ciaddr));
  writeUint32(datagram, 16, ipv4ToNumber(message.yiaddr));
  writeUint32(datagram, 20, ipv4ToNumber(message.siaddr));
  writeUint32(datagram, 24, ipv4ToNumber(message.giaddr));
  datagram.set(message.chaddr.subarray(0, chaddrOctets), 28);
  const { overload } = message;
  if (overload?.sname) writeOctets(datagram, snameAt, fileAt, encodeOptions(overload.sname));
  else writeText(datagram, snameAt, fileAt, message.sname);
  if (overload?.file) writeOctets(datagram, fileAt, cookieAt, encodeOptions(overload.file));
  else writeText(datagram, fileAt, cookieAt, message.file);
  writeUint32(datagram, cookieAt, cookie);
  writeOptionsField(datagram, HeaderOctets, message.options);
  return datagram;
}

function readUint(datagram: Uint8Array, at: number, octets: number): number {
  let value = 0;
  for (let index = 0; index < octets; index++) value = value * 256 + (datagram[at + index] ?? 0);
  return value;
}

function writeUint32(datagram: Uint8Array, at: number, value: number): void {
  writeUint16(datagram, at, value >>> 16);
  writeUint16(datagram, at + 2, value);
}

function writeUint16(datagram: Uint8Array, at: number, value: number): void {
  datagram[at] = value >>> 8;
  datagram[at + 1] = value;
}

function writeText(datagram: Uint8Array, from: number, to: number, text: string): void {
  if (text !== "") writeOctets(datagram, from, to, textToOctets(text));
}

function writeOctets(datagram: Uint8Array, from: number, to: number, octets: Uint8Array): void {
  if (octets.length > to - from) throw new RangeError(`${octets.length} octets for a field of ${to - from}`);
  datagram.set(octets, from);
}

function textUpToNul(field: Uint8Array): string {
  if (field[0] === 0) return "";
  const end = field.indexOf(0);
  return textFromOctets(end === -1 ? field : field.subarray(0, end));
}

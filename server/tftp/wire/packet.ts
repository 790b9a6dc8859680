/** TFTP packets as values and as octets: RFC 1350 section 5, with the options of RFC 2347. Pure. */

export const Opcode = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const;

/** RFC 1350 section 5 and, for the last one, RFC 2347. */
export const ErrorCode = {
  undefined: 0,
  fileNotFound: 1,
  accessViolation: 2,
  diskFull: 3,
  illegalOperation: 4,
  unknownTransferId: 5,
  fileExists: 6,
  noSuchUser: 7,
  optionRefused: 8,
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** An option as it stands in the packet; names compare without case (RFC 2347). */
export type WireOption = readonly [name: string, value: string];

export interface RequestPacket {
  readonly kind: "rrq" | "wrq";
  /** One character for each octet (ISO 8859-1), never NUL; not cleaned in any way. */
  readonly file: string;
  /** Lower case: `octet`, `netascii`, or whatever the client wrote. */
  readonly mode: string;
  readonly options: readonly WireOption[];
}

export interface DataPacket {
  readonly kind: "data";
  /** 0 to 65535. */
  readonly block: number;
  readonly payload: Uint8Array;
}

export interface AckPacket {
  readonly kind: "ack";
  /** 0 to 65535. */
  readonly block: number;
}

export interface ErrorPacket {
  readonly kind: "error";
  /** 0 to 65535: clients invent codes of their own. */
  readonly code: number;
  readonly message: string;
}

export interface OptionAckPacket {
  readonly kind: "oack";
  readonly options: readonly WireOption[];
}

export type TftpPacket = RequestPacket | DataPacket | AckPacket | ErrorPacket | OptionAckPacket;

/** The only error that this codec throws. */
export class MalformedPacket extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "MalformedPacket";
  }
}

/** Octets before the payload of a DATA packet. */
export const DataHeaderBytes = 4;

/** "The maximum size of a request packet is 512 octets" (RFC 2347): a longer one comes from no firmware. */
const MaxRequestBytes = 512;

/**
 * Reads one datagram.
 * @returns the packet; the payload of DATA is a view into `octets`
 * @throws MalformedPacket and nothing else
 */
export function decodePacket(octets: Uint8Array): TftpPacket {
  if (octets.length < 4) throw new MalformedPacket("shorter than 4 octets");
  const opcode = readUint16(octets, 0);
  switch (opcode) {
    case Opcode.ack:
      // Some clients pad their ACK to the smallest Ethernet frame: what follows is not looked at.
      return { kind: "ack", block: readUint16(octets, 2) };
    case Opcode.data:
      return { kind: "data", block: readUint16(octets, 2), payload: octets.subarray(DataHeaderBytes) };
    case Opcode.rrq:
    case Opcode.wrq:
      return decodeRequest(opcode === Opcode.rrq ? "rrq" : "wrq", octets);
    case Opcode.error:
      return { kind: "error", code: readUint16(octets, 2), message: decodeErrorMessage(octets) };
    case Opcode.oack:
      return { kind: "oack", options: decodeOptions(octets, 2) };
    default:
      throw new MalformedPacket(`unknown opcode ${opcode}`);
  }
}

/**
 * What somebody hears who sends to the port of another's transfer. A stranger is told off and the transfer goes on (RFC 1350 section 4); an ERROR is never answered by an ERROR.
 */
export function answerToStranger(datagram: Uint8Array): Uint8Array | undefined {
  const packet = decodeOrNothing(datagram);
  if (packet === undefined || packet.kind === "error") return undefined;
  return encodeError(ErrorCode.unknownTransferId, "unknown transfer id");
}

export function decodeOrNothing(datagram: Uint8Array): TftpPacket | undefined {
  try {
    return decodePacket(datagram);
  } catch (error) {
    if (error instanceof MalformedPacket) return undefined;
    throw error;
  }
}

/**
 * Whether a datagram that does not decode was meant as a request: its sender waits for an answer, any other sender does not.
 */
export function looksLikeRequest(octets: Uint8Array): boolean {
  return octets[0] === 0 && (octets[1] === Opcode.rrq || octets[1] === Opcode.wrq);
}

/** Writes one packet. @throws MalformedPacket when a text holds a NUL or a character above U+00FF */
export function encodePacket(packet: TftpPacket): Uint8Array {
  switch (packet.kind) {
    case "rrq":
    case "wrq":
      return encodeTexts(packet.kind === "rrq" ? [0, Opcode.rrq] : [0, Opcode.wrq], [
        packet.file,
        packet.mode,
        ...packet.options.flat(),
      ]);
    case "oack":
      return encodeTexts([0, Opcode.oack], packet.options.flat());
    case "error":
      return encodeTexts([0, Opcode.error, packet.code >>> 8, packet.code & 0xff], [packet.message]);
    case "ack":
      return Uint8Array.of(0, Opcode.ack, packet.block >>> 8, packet.block & 0xff);
    case "data": {
      const octets = new Uint8Array(DataHeaderBytes + packet.payload.length);
      writeData(octets, packet.block, packet.payload);
      return octets;
    }
  }
}

/** Writes a DATA packet into `target`, which is exactly as long as header and payload together. */
export function writeData(target: Uint8Array, block: number, payload: Uint8Array): void {
  target[0] = 0;
  target[1] = Opcode.data;
  target[2] = block >>> 8;
  target[3] = block & 0xff;
  target.set(payload, DataHeaderBytes);
}

export function encodeError(code: ErrorCode, message: string): Uint8Array {
  return encodePacket({ kind: "error", code, message });
}

function decodeRequest(kind: "rrq" | "wrq", octets: Uint8Array): RequestPacket {
  if (octets.length > MaxRequestBytes) throw new MalformedPacket("request longer than 512 octets");
  const [file, afterFile] = readText(octets, 2);
  if (file === "") throw new MalformedPacket("request without a file name");
  const [mode, afterMode] = readText(octets, afterFile);
  return { kind, file, mode: mode.toLowerCase(), options: decodeOptions(octets, afterMode) };
}

/** An empty name ends the list: some ROMs send their whole zeroed buffer. */
function decodeOptions(octets: Uint8Array, from: number): WireOption[] {
  const options: WireOption[] = [];
  let at = from;
  while (at < octets.length && octets[at] !== 0) {
    const [name, afterName] = readText(octets, at);
    const [value, afterValue] = readText(octets, afterName);
    options.push([name, value]);
    at = afterValue;
  }
  return options;
}

/** The text of an ERROR is for people; several ROMs leave out its NUL, or the text. */
function decodeErrorMessage(octets: Uint8Array): string {
  const end = octets.indexOf(0, 4);
  return latin1(octets, 4, end < 0 ? octets.length : end);
}

/** @returns the text before the next NUL, and where the octet after that NUL is */
function readText(octets: Uint8Array, from: number): [text: string, next: number] {
  const end = octets.indexOf(0, from);
  if (end < 0) throw new MalformedPacket("text without its final NUL");
  return [latin1(octets, from, end), end + 1];
}

function latin1(octets: Uint8Array, from: number, end: number): string {
  let text = "";
  for (let at = from; at < end; at++) text += String.fromCharCode(octets[at] ?? 0);
  return text;
}

function readUint16(octets: Uint8Array, at: number): number {
  return ((octets[at] ?? 0) << 8) | (octets[at + 1] ?? 0);
}

function encodeTexts(header: readonly number[], texts: readonly string[]): Uint8Array {
  const octets = new Uint8Array(texts.reduce((sum, text) => sum + text.length + 1, header.length));
  octets.set(header);
  let at = header.length;
  for (const text of texts) {
    for (let index = 0; index < text.length; index++) {
      const code = text.charCodeAt(index);
      if (code === 0 || code > 0xff) throw new MalformedPacket("text that TFTP can't carry");
      octets[at++] = code;
    }
    at++;
  }
  return octets;
}

import { type Ipv4, ipv4ToOctets, UnspecifiedAddress } from "../../server/net/ipv4.ts";
import { type Mac, macToOctets, parseMac } from "../../server/net/mac.ts";
import { BootRequest, type DhcpMessage } from "../../server/dhcp/wire/message.ts";
import { MessageType, OptionCode } from "../../server/dhcp/wire/option-codes.ts";
import { textToOctets } from "../../server/dhcp/wire/options.ts";

export const ip = (text: string): Ipv4 => text as Ipv4;

export function macOf(text: string): Mac {
  const mac = parseMac(text);
  if (!mac) throw new Error(`not a MAC: ${text}`);
  return mac;
}

/** `52:54:00:..` made of a number. */
export function macNumber(number: number): Mac {
  const hex = number.toString(16).padStart(8, "0");
  return macOf(`5254${hex}`);
}

type OptionValue = string | Uint8Array | readonly number[];

export interface RequestShape {
  readonly type: keyof typeof MessageType;
  readonly mac?: Mac;
  readonly xid?: number;
  readonly secs?: number;
  readonly hops?: number;
  readonly flags?: number;
  readonly ciaddr?: string;
  readonly giaddr?: string;
  /** Option 50. */
  readonly requested?: string;
  /** Option 54. */
  readonly server?: string;
  /** Further options by code: text, octets. */
  readonly options?: Readonly<Record<number, OptionValue>>;
}

export const defaultMac = macOf("52:54:00:00:00:01");

/** A message as a client sends it. */
export function requestMessage(shape: RequestShape): DhcpMessage {
  const options = new Map<number, Uint8Array>([
    [OptionCode.MessageType, Uint8Array.of(MessageType[shape.type])],
  ]);
  if (shape.requested) options.set(OptionCode.RequestedAddress, ipv4ToOctets(ip(shape.requested)));
  if (shape.server) options.set(OptionCode.ServerId, ipv4ToOctets(ip(shape.server)));
  for (const [code, value] of Object.entries(shape.options ?? {})) {
    options.set(Number(code), typeof value === "string" ? textToOctets(value) : Uint8Array.from(value));
  }
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(shape.mac ?? defaultMac));
  return {
    op: BootRequest,
    htype: 1,
    hlen: 6,
    hops: shape.hops ?? 0,
    xid: shape.xid ?? 0x3903f326,
    secs: shape.secs ?? 0,
    flags: shape.flags ?? 0,
    ciaddr: shape.ciaddr ? ip(shape.ciaddr) : UnspecifiedAddress,
    yiaddr: UnspecifiedAddress,
    siaddr: UnspecifiedAddress,
    giaddr: shape.giaddr ? ip(shape.giaddr) : UnspecifiedAddress,
    chaddr,
    sname: "",
    file: "",
    options,
  };
}

/** The 35 options that EDK2 asks for (PxeBcDhcp4.c). */
const edk2Requested = [
  1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128,
  129, 130, 131, 132, 133, 134, 135,
];
// prettier-ignore
export const machineId = Uint8Array.of(
  0, 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15,
);

/** What real programs put into their DISCOVER. */
export const clientOptions = {
  bios: {
    55: [1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135],
    57: [4, 236],
    60: "PXEClient:Arch:00000:UNDI:002001",
    93: [0, 0],
    94: [1, 2, 1],
    97: machineId,
  },
  ovmf: {
    55: edk2Requested,
    57: [5, 196],
    60: "PXEClient:Arch:00007:UNDI:003016",
    93: [0, 7],
    94: [1, 3, 16],
    97: machineId,
  },
  ovmfArm64: {
    55: edk2Requested,
    60: "PXEClient:Arch:00011:UNDI:003016",
    93: [0, 11],
    94: [1, 3, 16],
    97: machineId,
  },
  ovmfHttp: {
    55: edk2Requested,
    57: [5, 196],
    60: "HTTPClient:Arch:00016:UNDI:003016",
    93: [0, 16],
    94: [1, 3, 16],
    97: machineId,
  },
  ipxe: {
    55: [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203],
    57: [5, 192],
    60: "PXEClient:Arch:00000:UNDI:002001",
    77: "iPXE",
    93: [0, 0],
    94: [1, 2, 1],
    97: machineId,
    // bus-id, then the features pxe-ext, iscsi, http, tftp, dns, menu ...
    175: [177, 5, 1, 26, 244, 16, 0, 16, 1, 2, 17, 1, 1, 19, 1, 1, 21, 1, 1, 23, 1, 1, 39, 1, 1],
  },
  ipxeWithoutHttp: {
    60: "PXEClient:Arch:00000:UNDI:002001",
    77: "iPXE",
    93: [0, 0],
    94: [1, 2, 1],
    175: [16, 1, 2, 21, 1, 1],
  },
  linux: { 55: [1, 28, 2, 3, 15, 6, 12], 60: "dhcpcd", 12: "seat-1", 61: [1, 82, 84, 0, 0, 0, 1] },
} as const satisfies Record<string, RequestShape["options"]>;

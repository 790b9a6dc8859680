/** Capture files of tcpdump (draft-ietf-opsawg-pcap), as far as UDP over Ethernet needs them. */

/** One UDP datagram of a capture. */
export interface CapturedDatagram {
  /** Milliseconds since 1970 UTC. */
  readonly atMs: number;
  readonly from: { readonly address: string; readonly port: number };
  readonly to: { readonly address: string; readonly port: number };
  readonly payload: Uint8Array;
}

const magicMicroseconds = 0xa1b2c3d4;
const magicNanoseconds = 0xa1b23c4d;
const linkEthernet = 1;
const fileHeaderOctets = 24;
const recordHeaderOctets = 16;
const ethernetOctets = 14;
const etherTypeIpv4 = 0x0800;
const ipv4Octets = 20;
const protocolUdp = 17;
const udpOctets = 8;

/** The UDP datagrams of a capture; other frames and fragments are passed over. @throws when it is no capture of Ethernet */
export function readPcap(file: Uint8Array): CapturedDatagram[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isMagic = (little: boolean) =>
    [magicMicroseconds, magicNanoseconds].includes(view.getUint32(0, little));
  if (file.length < fileHeaderOctets || !(isMagic(true) || isMagic(false)))
    throw new Error("not a pcap file");
  const little = isMagic(true);
  const perMs = view.getUint32(0, little) === magicNanoseconds ? 1_000_000 : 1000;
  if ((view.getUint32(20, little) & 0xffff) !== linkEthernet)
    throw new Error("not a capture of Ethernet frames");
  const datagrams: CapturedDatagram[] = [];
  let at = fileHeaderOctets;
  while (at + recordHeaderOctets <= file.length) {
    const atMs = view.getUint32(at, little) * 1000 + view.getUint32(at + 4, little) / perMs;
    const octets = view.getUint32(at + 8, little);
    at += recordHeaderOctets;
    const datagram = readFrame(file.subarray(at, at + octets));
    if (datagram) datagrams.push({ atMs, ...datagram });
    at += octets;
  }
  return datagrams;
}

function readFrame(frame: Uint8Array): Omit<CapturedDatagram, "atMs"> | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const ip = ethernetOctets;
  if (frame.length < ip + ipv4Octets + udpOctets || view.getUint16(12) !== etherTypeIpv4) return undefined;
  const isFragment = (view.getUint16(ip + 6) & 0x3fff) !== 0;
  const udp = ip + (view.getUint8(ip) & 15) * 4;
  if (view.getUint8(ip + 9) !== protocolUdp || isFragment || udp + udpOctets > frame.length) return undefined;
  return {
    from: { address: frame.subarray(ip + 12, ip + 16).join("."), port: view.getUint16(udp) },
    to: { address: frame.subarray(ip + 16, ip + 20).join("."), port: view.getUint16(udp + 2) },
    payload: frame.subarray(udp + udpOctets, udp + view.getUint16(udp + 4)),
  };
}

/** A capture file with these datagrams; MACs are zero, the UDP checksum is left out (RFC 768). */
export function writePcap(datagrams: readonly CapturedDatagram[]): Uint8Array {
  const frames = datagrams.map(writeFrame);
  const file = new Uint8Array(
    frames.reduce((sum, frame) => sum + recordHeaderOctets + frame.length, fileHeaderOctets),
  );
  const view = new DataView(file.buffer);
  view.setUint32(0, magicMicroseconds, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 65_535, true);
  view.setUint32(20, linkEthernet, true);
  let at = fileHeaderOctets;
  frames.forEach((frame, index) => {
    const atMs = datagrams[index]?.atMs ?? 0;
    view.setUint32(at, Math.floor(atMs / 1000), true);
    view.setUint32(at + 4, Math.round((atMs % 1000) * 1000), true);
    view.setUint32(at + 8, frame.length, true);
    view.setUint32(at + 12, frame.length, true);
    file.set(frame, at + recordHeaderOctets);
    at += recordHeaderOctets + frame.length;
  });
  return file;
}

function writeFrame({ from, to, payload }: CapturedDatagram): Uint8Array {
  const frame = new Uint8Array(ethernetOctets + ipv4Octets + udpOctets + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint16(12, etherTypeIpv4);
  const ip = ethernetOctets;
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, ipv4Octets + udpOctets + payload.length);
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, protocolUdp);
  frame.set(from.address.split(".").map(Number), ip + 12);
  frame.set(to.address.split(".").map(Number), ip + 16);
  view.setUint16(ip + 10, checksum(frame.subarray(ip, ip + ipv4Octets)));
  const udp = ip + ipv4Octets;
  view.setUint16(udp, from.port);
  view.setUint16(udp + 2, to.port);
  view.setUint16(udp + 4, udpOctets + payload.length);
  frame.set(payload, udp + udpOctets);
  return frame;
}

/** Of an IPv4 header whose checksum field is zero (RFC 791 s.3.1). */
function checksum(header: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += (header[at] ?? 0) * 256 + (header[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

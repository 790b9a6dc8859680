import { deepStrictEqual } from "node:assert/strict";
import { createRequire } from "node:module";
import fc from "fast-check";
import t from "tap";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { ipv4FromNumber } from "../../server/net/ipv4.ts";
import { MalformedPacket } from "../../server/dhcp/wire/malformed-packet.ts";
import { decodeMessage, type DhcpMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import {
  decodeOptions,
  encodedLength,
  encodeOptions,
  fitOptions,
  orderOptions,
  textToOctets,
} from "../../server/dhcp/wire/options.ts";
import {
  decodeIpxeFeatures,
  decodeSubOptions,
  encodePxeOptions,
  encodeSubOptions,
} from "../../server/dhcp/wire/pxe-vendor.ts";
import { clientOptions, requestMessage } from "../support/dhcp-messages.ts";

const optionCode = fc.integer({ min: 1, max: 254 }).filter((code) => code !== 52);
const optionValue = fc.uint8Array({ maxLength: 600 });
const optionMap = fc
  .array(fc.tuple(optionCode, optionValue), { maxLength: 12 })
  .map((entries) => new Map(entries));
const address = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((value): Ipv4 => ipv4FromNumber(value));
const text = (maxLength: number) =>
  fc.array(fc.integer({ min: 1, max: 255 }), { maxLength }).map((codes) => String.fromCharCode(...codes));
const octet = fc.integer({ min: 0, max: 255 });

const message: fc.Arbitrary<DhcpMessage> = fc.record(
  {
    op: fc.constantFrom(1, 2),
    htype: octet,
    hlen: fc.integer({ min: 0, max: 16 }),
    hops: octet,
    xid: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    secs: fc.integer({ min: 0, max: 65535 }),
    flags: fc.integer({ min: 0, max: 65535 }),
    ciaddr: address,
    yiaddr: address,
    siaddr: address,
    giaddr: address,
    chaddr: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    sname: text(64),
    file: text(128),
    options: optionMap,
  },
  { noNullPrototype: true },
);

/** A message with this options field and these overloaded fields, octet by octet. */
function datagram({ options = [255], file = [], sname = [] }: Record<string, number[]>): Uint8Array {
  const octets = new Uint8Array(240 + options.length);
  octets.set([1, 1, 6, 0]);
  octets.set(sname, 44);
  octets.set(file, 108);
  octets.set([99, 130, 83, 99, ...options], 236);
  return octets;
}

const isMalformed = (octets: Uint8Array): boolean => {
  try {
    decodeMessage(octets);
    return false;
  } catch (error) {
    if (error instanceof MalformedPacket) return true;
    throw error;
  }
};

t.test("a message is the same after encode and decode (RFC 2131 s.2)", (t) => {
  fc.assert(
    fc.property(message, (original) => {
      deepStrictEqual(decodeMessage(encodeMessage(original)), original);
    }),
    { numRuns: 300 },
  );
  t.pass("300 messages");
  t.end();
});

t.test("random octets are a message or MalformedPacket, and nothing else", (t) => {
  const valid = encodeMessage(requestMessage({ type: "Discover", options: clientOptions.ovmf }));
  const mutated = fc
    .tuple(fc.array(fc.tuple(fc.nat(valid.length - 1), octet), { maxLength: 20 }), fc.nat(valid.length))
    .map(([changes, length]) => {
      const octets = valid.slice();
      for (const [at, value] of changes) octets[at] = value;
      return octets.subarray(0, length);
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 700 })), (octets) => {
      isMalformed(octets);
    }),
    { numRuns: 3000 },
  );
  t.pass("3000 datagrams");
  t.end();
});

t.test("encoding is deterministic and does not depend on where the octets lie in their buffer", (t) => {
  const original = requestMessage({ type: "Discover", options: clientOptions.bios });
  const once = encodeMessage(original);
  t.strictSame(encodeMessage(original), once);
  const shifted = new Uint8Array(once.length + 7);
  shifted.set(once, 7);
  t.strictSame(decodeMessage(shifted.subarray(7)), decodeMessage(once), "a view into a larger buffer");
  t.end();
});

t.test("what is no DHCP message is malformed (RFC 2131 s.2, s.3)", (t) => {
  const good = datagram({ options: [53, 1, 1, 255] });
  const changed = (at: number, value: number) => {
    const octets = good.slice();
    octets[at] = value;
    return octets;
  };
  t.notOk(isMalformed(good));
  t.ok(isMalformed(good.subarray(0, 239)), "shorter than 240 octets");
  t.ok(isMalformed(changed(236, 0)), "no magic cookie");
  t.ok(isMalformed(changed(2, 17)), "hlen above 16");
  t.ok(isMalformed(changed(0, 3)), "op neither request nor reply");
  t.end();
});

t.test("PAD is skipped, END stops, what follows END is ignored (RFC 2132 s.3.1, s.3.2)", (t) => {
  const options = decodeOptions(Uint8Array.of(0, 0, 53, 1, 1, 0, 12, 1, 65, 255, 15, 200));
  t.strictSame(
    [...options],
    [
      [53, Uint8Array.of(1)],
      [12, Uint8Array.of(65)],
    ],
  );
  t.equal(decodeOptions(Uint8Array.of(53, 1, 1)).size, 1, "a missing END is tolerated");
  t.end();
});

t.test(
  "an option that passes the end of its field makes the packet malformed, in the overloaded fields too",
  (t) => {
    t.ok(isMalformed(datagram({ options: [53, 1, 1, 12, 9, 65] })), "value too long");
    t.ok(isMalformed(datagram({ options: [53, 1, 1, 12] })), "length octet missing");
    const sname = Array.from({ length: 64 }, () => 0);
    sname[62] = 12;
    sname[63] = 9;
    t.ok(
      isMalformed(datagram({ options: [53, 1, 1, 52, 1, 2, 255], sname })),
      "it does not read on into file",
    );
    t.end();
  },
);

t.test("overload: options of file come before those of sname (RFC 2131 s.4.1, RFC 2132 s.9.3)", (t) => {
  const file = [12, 1, 66, 255];
  const sname = [12, 1, 67, 255];
  const host = (value: number) =>
    decodeMessage(datagram({ options: [12, 1, 65, 52, 1, value, 255], file, sname })).options.get(12);
  t.strictSame(host(1), Uint8Array.of(65, 66));
  t.strictSame(host(2), Uint8Array.of(65, 67));
  t.strictSame(host(3), Uint8Array.of(65, 66, 67));
  t.strictSame(host(4), Uint8Array.of(65), "other values mean nothing");
  const plain = decodeMessage(datagram({ options: [52, 1, 1, 255], file, sname }));
  t.equal(plain.file, "", "a field full of options is no name");
  t.equal(plain.sname, String.fromCharCode(...sname), "the other one is");
  t.end();
});

t.test("long options are split and joined again exactly (RFC 3396)", (t) => {
  const url = `http://10.0.0.1/${"x".repeat(300)}`;
  const field = encodeOptions(
    new Map([
      [67, textToOctets(url)],
      [121, new Uint8Array(600).fill(7)],
    ]),
  );
  t.equal(field[1], 255, "first instance is full");
  t.equal(field[257], 67, "and the next has the same code");
  t.strictSame(decodeOptions(field).get(67), textToOctets(url));
  const parts = Array.from({ length: 20_000 }, (_, part) => [200, 1, part & 255]).flat();
  const joined = decodeOptions(Uint8Array.from([...parts, 255])).get(200);
  t.strictSame(
    joined,
    Uint8Array.from({ length: 20_000 }, (_, part) => part & 255),
    "one code in 64 KiB",
  );
  fc.assert(
    fc.property(optionMap, (options) => {
      const octets = encodeOptions(options);
      deepStrictEqual([...decodeOptions(octets)], [...options]);
      return octets.length === encodedLength(options);
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test(
  "53, 54 and 51 come first, then what was asked for in that order, 67 and then 82 last (RFC 2132 s.9.8, RFC 3046 s.2.2)",
  (t) => {
    const value = Uint8Array.of(0);
    const options = new Map([82, 1, 3, 67, 6, 43, 51, 60, 54, 53].map((code) => [code, value]));
    t.strictSame(
      [...orderOptions(options, [6, 67, 82, 3, 99, 53]).keys()],
      [53, 54, 51, 6, 3, 1, 43, 60, 67, 82],
    );
    t.end();
  },
);

t.test("a PAD follows option 67, which EDK2 overwrites with a NUL", (t) => {
  const field = encodeOptions(
    new Map([
      [67, textToOctets("ab")],
      [82, Uint8Array.of(1, 1, 9)],
    ]),
  );
  t.strictSame([...field], [67, 2, 97, 98, 0, 82, 3, 1, 1, 9, 255]);
  t.end();
});

t.test("a reply has at least 300 octets (RFC 951, firmware-quirk Q28)", (t) => {
  t.equal(encodeMessage(requestMessage({ type: "Ack" })).length, 300);
  t.end();
});

t.test("what does not fit is left out from the end, what is essential never (RFC 2131 s.4.1)", (t) => {
  const options = new Map([53, 54, 3, 6, 15, 67, 82].map((code) => [code, new Uint8Array(20)]));
  const kept = new Set([53, 54, 67, 82]);
  t.strictSame([...fitOptions(options, 1000, kept).keys()], [53, 54, 3, 6, 15, 67, 82]);
  t.strictSame([...fitOptions(options, 115, kept).keys()], [53, 54, 3, 67, 82]);
  t.strictSame([...fitOptions(options, 80, kept).keys()], [53, 54, 67], "82 goes when nothing else helps");
  t.strictSame([...fitOptions(options, 10, kept).keys()], [53, 54, 67]);
  const echo = new Map([
    [53, Uint8Array.of(1)],
    [61, new Uint8Array(5000)],
  ]);
  t.strictSame(
    [...fitOptions(echo, 1000, new Set([53, 61])).keys()],
    [53],
    "a client id of 5000 octets is not echoed",
  );
  t.end();
});

t.test("PXE sub-options end with an END of their own, iPXE's do not (PXE 2.1 s.2.4)", (t) => {
  const bootAtOnce = [{ code: 6, value: Uint8Array.of(8) }];
  t.strictSame([...encodePxeOptions(bootAtOnce)], [6, 1, 8, 255]);
  t.strictSame([...encodeSubOptions([{ code: 176, value: Uint8Array.of(1) }])], [176, 1, 1]);
  t.strictSame([...decodeSubOptions(encodePxeOptions(bootAtOnce))], [[6, Uint8Array.of(8)]]);
  t.throws(() => encodeSubOptions([{ code: 9, value: new Uint8Array(256) }]), RangeError);
  t.end();
});

t.test("garbage in option 43 or 175 is read as far as it goes and never thrown at", (t) => {
  t.strictSame([...decodeSubOptions(Uint8Array.of(0, 6, 1, 8, 9, 200, 1)).keys()], [6]);
  fc.assert(fc.property(fc.uint8Array(), (octets) => decodeSubOptions(octets).size <= octets.length));
  t.end();
});

t.test("iPXE features are read from option 175; zero means absent", (t) => {
  t.strictSame([...decodeIpxeFeatures(Uint8Array.from(clientOptions.ipxe[175]))].sort(), [
    "dns",
    "http",
    "iscsi",
    "menu",
    "pxe-ext",
    "tftp",
  ]);
  t.strictSame([...decodeIpxeFeatures(Uint8Array.of(19, 1, 0, 36, 1, 1, 99, 1, 1))], ["efi"]);
  t.end();
});

t.test("another implementation reads what we write (npm dhcp)", (t) => {
  const { parse } = createRequire(import.meta.url)("dhcp/lib/protocol.js") as {
    parse(datagram: Buffer): {
      xid: number;
      file: string;
      siaddr: string;
      chaddr: string;
      options: Record<number, unknown>;
    };
  };
  const reply: DhcpMessage = {
    ...requestMessage({
      type: "Ack",
      server: "10.0.0.1",
      options: { 1: [255, 255, 255, 0], 66: "10.0.0.1", 67: "ipxe.efi\0" },
    }),
    op: 2,
    siaddr: "10.0.0.1" as Ipv4,
    file: "ipxe.efi",
  };
  const read = parse(Buffer.from(encodeMessage(reply)));
  t.match(read, { xid: 0x3903f326, siaddr: "10.0.0.1", chaddr: "52-54-00-00-00-01" });
  t.equal(read.file.replace(/\0+$/, ""), "ipxe.efi");
  t.match(read.options, { 53: 5, 54: "10.0.0.1", 1: "255.255.255.0", 66: "10.0.0.1" });
  t.end();
});

t.test("text above one octet per character is refused", (t) => {
  t.throws(() => textToOctets("ü€"), RangeError);
  t.throws(() => encodeMessage({ ...requestMessage({ type: "Ack" }), file: "x".repeat(129) }), RangeError);
  t.end();
});

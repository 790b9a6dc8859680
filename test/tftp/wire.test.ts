import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { encodeNetascii } from "../../server/tftp/wire/netascii.ts";
import { negotiateOptions } from "../../server/tftp/wire/options.ts";
import {
  decodePacket,
  encodePacket,
  looksLikeRequest,
  MalformedPacket,
  type TftpPacket,
  type WireOption,
} from "../../server/tftp/wire/packet.ts";

const octets = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const caps = { maxBlockSizeBytes: 1468, maxWindowBlocks: 16 };
const grant = (...asked: WireOption[]) => negotiateOptions(asked, 123_456, caps);

const character = fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code));
const text = (minLength: number, maxLength: number) => fc.string({ unit: character, minLength, maxLength });
const uint16 = fc.integer({ min: 0, max: 65_535 });
const option = fc.tuple(text(1, 12), text(0, 12));
const options = fc.array(option, { maxLength: 6 });
const anyPacket: fc.Arbitrary<TftpPacket> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("rrq" as const, "wrq" as const),
    file: text(1, 200),
    mode: fc.constantFrom("octet", "netascii", "mail", ""),
    options,
  }),
  fc.record({
    kind: fc.constant("data" as const),
    block: uint16,
    payload: fc.uint8Array({ maxLength: 600 }),
  }),
  fc.record({ kind: fc.constant("ack" as const), block: uint16 }),
  fc.record({ kind: fc.constant("error" as const), code: uint16, message: text(0, 60) }),
  fc.record({
    kind: fc.constant("oack" as const),
    options: fc.array(option, { minLength: 1, maxLength: 6 }),
  }),
);

t.test("packets (RFC 1350 section 5, RFC 2347)", (t) => {
  t.test("what was encoded decodes to the same", (t) => {
    fc.assert(fc.property(anyPacket, (packet) => same(decodePacket(encodePacket(packet)), packet)));
    t.pass("for every generated packet");
    t.end();
  });
  t.test("any octets decode or throw MalformedPacket, nothing else", (t) => {
    const nearly = fc.tuple(anyPacket, fc.nat(), fc.nat(255)).map(([packet, at, octet]) => {
      const bytes = encodePacket(packet).slice();
      bytes[at % bytes.length] = octet;
      return bytes.subarray(0, at % 7 === 0 ? at % bytes.length : bytes.length);
    });
    const survives = (bytes: Uint8Array) => {
      try {
        decodePacket(bytes);
      } catch (error) {
        if (!(error instanceof MalformedPacket)) throw error;
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 700 }), survives), { numRuns: 2000 });
    fc.assert(fc.property(nearly, survives), { numRuns: 2000 });
    t.pass("4000 datagrams");
    t.end();
  });
  t.test("the mode is read without case (RFC 1350 section 5)", (t) => {
    t.match(decodePacket(octets("\0\x01f\0OcTeT\0")), { kind: "rrq", file: "f", mode: "octet" });
    t.end();
  });
  t.test("a request without its final NUL, without a name, or over 512 octets is malformed", (t) => {
    const bad = [
      "\0\x01f\0octet",
      "\0\x01f",
      "\0\x01\0octet\0",
      "\0\x02f\0octet\0blksize\0",
      `\0\x01${"x".repeat(505)}\0octet\0`,
    ];
    for (const text of bad) {
      t.throws(() => decodePacket(octets(text)), MalformedPacket);
      t.ok(looksLikeRequest(octets(text)));
    }
    t.notOk(looksLikeRequest(octets("\0\x05\0\0")));
    t.end();
  });
  t.test("zeros after a request end its options: a ROM sends its whole buffer", (t) => {
    t.match(decodePacket(octets("\0\x01f\0octet\0tsize\x000\0\0\0\0\0")), { options: [["tsize", "0"]] });
    t.end();
  });
  t.test("an ERROR without NUL or text, and a padded ACK, are understood", (t) => {
    t.match(decodePacket(octets("\0\x05\0\x08")), { kind: "error", code: 8, message: "" });
    t.match(decodePacket(octets("\0\x05\0\x00gone")), { code: 0, message: "gone" });
    t.match(decodePacket(octets("\0\x04\x12\x34\0\0\0\0\0\0")), { kind: "ack", block: 0x1234 });
    t.end();
  });
  t.test("a text with a NUL or a character that is no octet can't be encoded", (t) => {
    for (const message of ["a\0b", "\u0100"]) {
      t.throws(() => encodePacket({ kind: "error", code: 0, message }), MalformedPacket);
    }
    t.end();
  });
  t.end();
});

t.test("options (RFC 2347, 2348, 2349, 7440)", (t) => {
  t.test("without options everything is as in RFC 1350 and nothing is acknowledged", (t) => {
    t.same(grant(), {
      blockSizeBytes: 512,
      windowBlocks: 1,
      retransmitWithinMs: undefined,
      rolloverTo: 0,
      acknowledged: [],
    });
    t.end();
  });
  t.test("only what was asked is acknowledged, spelled and ordered as asked (RFC 2347)", (t) => {
    t.same(grant(["TSize", "0"], ["BLKSIZE", "1024"]).acknowledged, [
      ["TSize", "123456"],
      ["BLKSIZE", "1024"],
    ]);
    t.same(grant(["multicast", ""], ["utimeout", "500"], ["x", "1"]).acknowledged, []);
    t.end();
  });
  t.test("blksize is capped to what fits an Ethernet frame, and below 8 it is ignored (RFC 2348)", (t) => {
    t.equal(grant(["blksize", "8"]).blockSizeBytes, 8);
    t.equal(grant(["blksize", "1468"]).blockSizeBytes, 1468);
    t.same(grant(["blksize", "65464"]).acknowledged, [["blksize", "1468"]]);
    for (const bad of ["7", "0", "", "-1", "1e3", " 512", "0x200", "9".repeat(40)]) {
      t.same(grant(["blksize", bad]).acknowledged, [], bad);
    }
    t.end();
  });
  t.test(
    "windowsize is never answered larger than asked, and 0 or above 65535 is ignored (RFC 7440 section 3)",
    (t) => {
      t.equal(grant(["windowsize", "4"]).windowBlocks, 4);
      t.same(grant(["windowsize", "65535"]).acknowledged, [["windowsize", "16"]]);
      t.same(grant(["windowsize", "0"], ["windowsize", "65536"]).windowBlocks, 1);
      t.end();
    },
  );
  t.test("timeout is echoed within 1 to 255 s (RFC 2349)", (t) => {
    t.match(grant(["timeout", "3"]), { retransmitWithinMs: 3000, acknowledged: [["timeout", "3"]] });
    t.match(grant(["timeout", "0"]), { retransmitWithinMs: undefined });
    t.match(grant(["timeout", "256"]), { retransmitWithinMs: undefined });
    t.end();
  });
  t.test("tsize tells the size, also above 4 GiB (RFC 2349)", (t) => {
    t.same(negotiateOptions([["tsize", "0"]], 5_000_000_000, caps).acknowledged, [["tsize", "5000000000"]]);
    t.end();
  });
  t.test("of an option that comes twice the first counts", (t) => {
    t.same(grant(["blksize", "1000"], ["BlkSize", "1400"]).acknowledged, [["blksize", "1000"]]);
    t.end();
  });
  t.test("rollover is honoured when asked", (t) => {
    t.match(grant(["rollover", "1"]), { rolloverTo: 1, acknowledged: [["rollover", "1"]] });
    t.match(grant(["rollover", "2"]), { rolloverTo: 0, acknowledged: [] });
    t.end();
  });
  t.end();
});

t.test("netascii (RFC 1350 section 1, RFC 764)", (t) => {
  t.equal(Buffer.from(encodeNetascii(octets("a\nb\rc\r\n"))).toString(), "a\r\nb\r\0c\r\0\r\n");
  const plain = octets("no line end");
  t.equal(encodeNetascii(plain), plain, "a text without line ends is not copied");
  t.end();
});

function same(actual: TftpPacket, expected: TftpPacket): boolean {
  return isDeepStrictEqual(plain(actual), plain(expected));
}

/** The payload of a decoded packet is a view into a larger buffer, and only its octets count. */
function plain(packet: TftpPacket) {
  return packet.kind === "data" ? { ...packet, payload: Array.from(packet.payload) } : { ...packet };
}

import fc from "fast-check";
import t from "tap";
import { cidrContains, formatCidr, netmask, parseCidr } from "../server/net/cidr.ts";
import {
  type Ipv4,
  ipv4FromNumber,
  ipv4FromOctets,
  ipv4ToNumber,
  ipv4ToOctets,
  parseIpv4,
} from "../server/net/ipv4.ts";
import { isUnusableMac, macFromOctets, macToOctets, macWithHyphens, parseMac } from "../server/net/mac.ts";
import { isUsableUuid, parseUuid, uuidFromClientMachineId } from "../server/net/uuid.ts";

const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const sixOctets = fc.uint8Array({ minLength: 6, maxLength: 6 });
/** Texts that look nearly right: what a typing error or a hostile machine sends. */
const nearly = (alphabet: string, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...Array.from(alphabet)), maxLength });

t.test("MAC addresses", (t) => {
  t.test("every form that people and firmware write is read as the same address", (t) => {
    for (const text of [
      "52:54:00:00:00:0a",
      "52:54:00:00:00:0A",
      "52-54-00-00-00-0a",
      "5254.0000.000a",
      "52540000000a",
    ])
      t.equal(parseMac(text), "52:54:00:00:00:0a", text);
    t.end();
  });
  t.test("what is nearly a MAC is none", (t) => {
    for (const text of [
      "",
      "52:54:00:00:00",
      "52:54:00:00:00:01:02",
      "52:54:00:00:00:1",
      "52:54:00:00:00:0g",
      "52 54 00 00 00 01",
      " 52:54:00:00:00:01",
      "52:54:00:00:00:01\n",
      "525400000001\n",
      "5254.00.000001",
      "52::54:00:00:01",
      "5254000000012",
      "٥2:54:00:00:00:01",
      "52:54:00:00:00:01 || reboot",
      "../52:54:00:00:00:01",
    ])
      t.equal(parseMac(text), undefined, JSON.stringify(text));
    t.end();
  });
  t.test("whatever is read is 17 characters of lower-case hex and colons", (t) => {
    fc.assert(
      fc.property(nearly("0123456789abcdefABCDEF:-. \n", 18), (text) => {
        const mac = parseMac(text);
        return mac === undefined || /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac);
      }),
      { numRuns: 2000 },
    );
    t.pass("2000 texts");
    t.end();
  });
  t.test("octets, text and the form for paths are one address", (t) => {
    fc.assert(
      fc.property(sixOctets, (octets) => {
        const mac = macFromOctets(octets);
        t.same([...macToOctets(mac)], [...octets]);
        return parseMac(mac) === mac && parseMac(macWithHyphens(mac)) === mac;
      }),
      { numRuns: 100 },
    );
    t.end();
  });
  t.test("the form for paths is the one that iPXE's hexhyp prints", (t) => {
    t.equal(macWithHyphens("52:54:00:00:00:0a" as never), "52-54-00-00-00-0a");
    t.end();
  });
  t.test("only the first six octets of chaddr are the address (RFC 2131 s.2)", (t) => {
    const field = new Uint8Array(16).fill(0xff);
    field.set([0x52, 0x54, 0, 0, 0, 1]);
    t.equal(macFromOctets(field), "52:54:00:00:00:01");
    t.end();
  });
  t.test("zero, broadcast and multicast addresses belong to no machine (IEEE 802 s.8.2)", (t) => {
    const isUnusable = (text: string) => isUnusableMac(parseMac(text) ?? ("" as never));
    for (const text of ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"])
      t.equal(isUnusable(text), true, text);
    for (const text of ["52:54:00:00:00:01", "02:00:00:00:00:00", "00:00:00:00:00:01"])
      t.equal(isUnusable(text), false, text);
    t.end();
  });
  t.end();
});

t.test("IPv4 addresses", (t) => {
  t.test("four decimal numbers without leading zeros, and nothing else", (t) => {
    for (const text of ["0.0.0.0", "10.0.0.1", "255.255.255.255", "192.168.100.200"])
      t.equal(parseIpv4(text), text);
    for (const text of [
      "",
      "10.0.0",
      "10.0.0.1.2",
      "10.0.0.256",
      "10.0.0.01",
      "010.0.0.1",
      "10.0.0.1 ",
      "10.0.0.1\n",
      "10.0.0.-1",
      "10.0.0.1e1",
      "0x0a.0.0.1",
      "10..0.1",
      "10.0.0.1/24",
      "::1",
      "localhost",
      "10.0.0.٣",
    ])
      t.equal(parseIpv4(text), undefined, JSON.stringify(text));
    t.end();
  });
  t.test("text, number and octets are one address, in network byte order", (t) => {
    t.equal(ipv4ToNumber("1.2.3.4" as Ipv4), 0x01020304);
    fc.assert(
      fc.property(uint32, (value) => {
        const address = ipv4FromNumber(value);
        return (
          parseIpv4(address) === address &&
          ipv4ToNumber(address) === value &&
          ipv4FromOctets(ipv4ToOctets(address)) === address
        );
      }),
    );
    t.end();
  });
  t.test("an address is read from the middle of a packet", (t) => {
    t.equal(ipv4FromOctets(Uint8Array.of(9, 9, 10, 0, 0, 1, 9), 2), "10.0.0.1");
    t.end();
  });
  t.end();
});

t.test("IPv4 networks (RFC 4632 s.3.1)", (t) => {
  t.test("host bits must be zero, since nobody notices that typing error later", (t) => {
    for (const text of ["10.0.0.0/24", "0.0.0.0/0", "10.0.0.4/30", "10.0.0.7/32", "128.0.0.0/1"]) {
      const cidr = parseCidr(text);
      t.equal(cidr && formatCidr(cidr), text);
    }
    for (const text of [
      "10.0.0.1/24",
      "10.0.0.2/30",
      "10.0.0.0/33",
      "10.0.0.0/-1",
      "10.0.0.0/08",
      "10.0.0.0/",
      "10.0.0.0",
      "10.0.0/24",
      "10.0.0.0/24/24",
      "10.0.0.0/2 4",
      "10.0.0.0/24\n",
      "/24",
      "",
    ])
      t.equal(parseCidr(text), undefined, JSON.stringify(text));
    t.end();
  });
  t.test("a network contains the addresses that share its first bits, and no others", (t) => {
    fc.assert(
      fc.property(uint32, fc.integer({ min: 0, max: 32 }), uint32, (base, prefixLength, other) => {
        const size = 2 ** (32 - prefixLength);
        const first = base - (base % size);
        const cidr = parseCidr(`${ipv4FromNumber(first)}/${prefixLength}`);
        if (!cidr) return false;
        const sameBits = Math.floor(other / size) === Math.floor(first / size);
        return (
          cidrContains(cidr, ipv4FromNumber(other)) === sameBits &&
          cidrContains(cidr, ipv4FromNumber(cidr.first)) &&
          cidrContains(cidr, ipv4FromNumber(cidr.last)) &&
          cidr.last - cidr.first + 1 === size
        );
      }),
    );
    t.end();
  });
  t.test("the mask of each length has that many bits", (t) => {
    t.equal(netmask(0), "0.0.0.0");
    t.equal(netmask(1), "128.0.0.0");
    t.equal(netmask(20), "255.255.240.0");
    t.equal(netmask(24), "255.255.255.0");
    t.equal(netmask(31), "255.255.255.254");
    t.equal(netmask(32), "255.255.255.255");
    t.end();
  });
  t.end();
});

t.test("UUIDs of machines", (t) => {
  const text = "4c4c4544-0035-3510-8052-b4c04f4a3732";
  t.test("upper case is the same UUID; another shape is none", (t) => {
    t.equal(parseUuid(text.toUpperCase()), text);
    for (const wrong of [
      "",
      text.slice(1),
      `${text}0`,
      `{${text}}`,
      text.replaceAll("-", ""),
      text.replace("4", "g"),
      `${text}\n`,
    ])
      t.equal(parseUuid(wrong), undefined, JSON.stringify(wrong));
    t.end();
  });
  t.test(
    "option 97 has its first three fields little-endian, as dmidecode prints them (RFC 4578 s.2.3)",
    (t) => {
      const octets = Uint8Array.from(Buffer.from("0044454c4c350010358052b4c04f4a3732", "hex"));
      t.equal(uuidFromClientMachineId(octets), text);
      t.end();
    },
  );
  t.test("an option 97 of another type or length names no machine (RFC 4578 s.2.3)", (t) => {
    t.equal(uuidFromClientMachineId(new Uint8Array(17).fill(1)), undefined, "type 1");
    t.equal(uuidFromClientMachineId(new Uint8Array(16)), undefined, "16 octets");
    t.equal(uuidFromClientMachineId(new Uint8Array(18)), undefined, "18 octets");
    t.equal(uuidFromClientMachineId(new Uint8Array(0)), undefined, "empty");
    t.end();
  });
  t.test("a UUID that whole production runs share tells no machine from another", (t) => {
    for (const shared of [
      "00000000-0000-0000-0000-000000000000",
      "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
      "03000200-0400-0500-0006-000700080009",
      "12345678-1234-5678-90AB-CDDEEFAABBCC",
    ])
      t.equal(isUsableUuid(parseUuid(shared) ?? ("" as never)), false, shared);
    t.equal(isUsableUuid(text as never), true);
    t.end();
  });
  t.end();
});

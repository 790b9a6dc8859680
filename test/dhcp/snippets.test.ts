import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { dhcpSnippet, snippetDialects } from "../../server/dhcp/policy/dhcp-snippets.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import { decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { textOption } from "../../server/dhcp/wire/options.ts";
import { clientOptions, ip, macNumber, requestMessage } from "../support/dhcp-messages.ts";
import { createLan, type Lan } from "../support/namespaces.ts";
import { createUdpProbe } from "../support/udp-probe-client.ts";

const input = {
  serverAddress: ip("10.72.0.1"),
  urls: {
    script: "http://10.72.0.1:8080/boot.ipxe",
    nbp: (name: string) => `http://10.72.0.1:8080/nbp/${name}`,
  },
  available: new Set(["undionly.kpxe", "snponly.efi", "ipxe.efi"]),
  subnets: [network("10.72.0.0/24")],
};

function network(text: string) {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(`${text} is no network`);
  return cidr;
}

/** DISCOVERs of a BIOS, a UEFI, UEFI HTTP boot, iPXE and an operating system. @returns what each is told to boot */
async function bootFilesOf(lan: Lan): Promise<Record<string, string>> {
  const probe = createUdpProbe(lan, "client");
  const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
  const told: Record<string, string> = {};
  const kinds = ["bios", "ovmf", "ovmfHttp", "ipxe", "linux"] as const;
  for (const [index, kind] of kinds.entries()) {
    const shape = {
      type: "Discover",
      xid: index + 1,
      mac: macNumber(index + 1),
      flags: 0x8000,
      options: clientOptions[kind],
    } as const;
    const discover = encodeMessage(requestMessage(shape));
    for (let turn = 0; turn < 10 && told[kind] === undefined; turn++) {
      await probe.send(socket, discover, { address: "255.255.255.255", port: 67 });
      const offers = (await probe.received(socket)).map(({ datagram }) => decodeMessage(datagram));
      const offer = offers.find(({ xid }) => xid === index + 1);
      if (!offer) continue;
      const file = offer.file || (textOption(offer.options, 67) ?? "");
      told[kind] = [textOption(offer.options, 60), file.includes("://") ? undefined : offer.siaddr, file]
        .filter((part) => part !== undefined && part !== "")
        .join(" ");
    }
  }
  return told;
}

const expected = {
  bios: "10.72.0.1 undionly.kpxe",
  ovmf: "10.72.0.1 snponly.efi",
  ovmfHttp: "HTTPClient http://10.72.0.1:8080/nbp/snponly.efi",
  ipxe: "http://10.72.0.1:8080/boot.ipxe",
};
/** Some servers answer option 60 to whoever asks for it, or name themselves as siaddr where there is no boot file. */
const withoutOwnWords = (told: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(told)
      .filter(([kind]) => kind !== "linux")
      .map(([kind, words]) => [kind, words.replace(/^PXEClient /, "")]),
  );

function foreignLan(test: Parameters<typeof createLan>[0]): Lan {
  return createLan(test, { foreign: { f0: "lan 10.72.0.9/24" }, client: { c0: "lan" } });
}

/** The network of the client is the snippet's, or it is another one of the same server. */
type Place = "in the room" | "elsewhere";
const nothing = /undionly|snponly|http/;

/** Runs the check twice: the room is told, another network of the same server is not. */
async function checkBoth(t: Test, start: (lan: Lan, t: Test, place: Place) => void): Promise<void> {
  for (const place of ["in the room", "elsewhere"] as const)
    await t.test(place, async (t) => {
      const lan = foreignLan(t);
      start(lan, t, place);
      const told = await bootFilesOf(lan);
      t.equal(Object.keys(told).length, 5, "everyone is answered");
      if (place === "in the room") t.same(withoutOwnWords(told), expected);
      for (const [kind, words] of Object.entries(told))
        if (place === "elsewhere" || kind === "linux") t.notMatch(words, nothing, `${kind} is told nothing`);
    });
}

t.test(
  "Q1: what dnsmasq is told by the snippet makes it send each firmware here, and iPXE to the script, in the room only",
  (t) =>
    checkBoth(t, (lan, t, place) => {
      const tag = place === "in the room" ? "set:rollcall," : "";
      const directory = t.testdir({
        "dnsmasq.conf": `port=0\nuser=root\ninterface=f0\nno-ping\nleasefile-ro\ndhcp-range=${tag}10.72.0.50,10.72.0.60,1h\n${dhcpSnippet("dnsmasq", input)}`,
      });
      const words = [
        "dnsmasq",
        "--keep-in-foreground",
        `--conf-file=${join(directory, "dnsmasq.conf")}`,
        "--log-facility=/dev/null",
      ];
      lan.start("foreign", words, ["ignore", "ignore", "inherit"]);
    }),
);

/** Packages that start a service are not installed for the unit tests; where they are (for the bench), they are asked. */
const keaProgram = "/usr/sbin/kea-dhcp4";
t.test("Q1: the same of Kea", { skip: existsSync(keaProgram) ? false : "no Kea on this machine" }, (t) =>
  checkBoth(t, (lan, t, place) => {
    const [classes, required] = dhcpSnippet("kea", input)
      .split(/^\/\/.*$/m)
      .slice(1);
    const directory = t.testdir({});
    const file = join(directory, "kea.json");
    writeFileSync(
      file,
      `{"Dhcp4": {"interfaces-config": {"interfaces": ["f0"]}, "lease-database": {"type": "memfile", "persist": false},
      "subnet4": [{"subnet": "10.72.0.0/24", "pools": [{"pool": "10.72.0.50 - 10.72.0.60"}]${place === "in the room" ? `, ${required}` : ""}}], ${classes}}}`,
    );
    lan.start(
      "foreign",
      ["env", `KEA_PIDFILE_DIR=${directory}`, `KEA_LOCKFILE_DIR=${directory}`, keaProgram, "-c", file],
      ["ignore", "ignore", "inherit"],
    );
  }),
);

const iscProgram = process.env["ISC_DHCPD"] ?? "/usr/sbin/dhcpd";
t.test(
  "Q1: the same of ISC dhcpd",
  { skip: existsSync(iscProgram) ? false : "no ISC dhcpd on this machine" },
  (t) =>
    checkBoth(t, (lan, t, place) => {
      const range = "ping-check false; range 10.72.0.50 10.72.0.60;";
      const subnets = [network(place === "in the room" ? "10.72.0.0/24" : "10.73.0.0/24")];
      const snippet = dhcpSnippet("isc", { ...input, subnets });
      const config =
        place === "in the room"
          ? snippet.replace(/(subnet .* \{)/, `$1 ${range}`)
          : `${snippet}subnet 10.72.0.0 netmask 255.255.255.0 { ${range} }\n`;
      const directory = t.testdir({ "dhcpd.conf": config, leases: "" });
      const file = (name: string) => join(directory, name);
      const words = ["-f", "-4", "-cf", file("dhcpd.conf"), "-lf", file("leases"), "-pf", file("pid"), "f0"];
      lan.start("foreign", [iscProgram, ...words], ["ignore", "ignore", "inherit"]);
    }),
);

t.test(
  "each snippet names the files that are there, this address and nothing else; what is not there is left out",
  (t) => {
    for (const dialect of snippetDialects) {
      const text = dhcpSnippet(dialect, input);
      for (const word of [
        "undionly.kpxe",
        "snponly.efi",
        "http://10.72.0.1:8080/boot.ipxe",
        "http://10.72.0.1:8080/nbp/snponly.efi",
        "HTTPClient",
      ])
        t.match(text, word, `${dialect}: ${word}`);
      t.notMatch(text, /arm64|i386|undefined/, dialect);
      for (const [address] of text.matchAll(/\d+\.\d+\.\d+\.\d+/g))
        t.match(address, /^10\.72\.0\.[01]$|^255\.255\.255\.0$/);
      const rooms = [network("10.50.1.0/24"), network("10.50.2.0/23")];
      const wide = dhcpSnippet(dialect, { ...input, subnets: rooms });
      for (const room of ["10.50.1.0", "10.50.2.0"]) t.match(wide, room, `${dialect}: ${room} is named`);
      const small = dhcpSnippet(dialect, { ...input, available: new Set(["snponly.efi"]) });
      t.notMatch(small, /undionly|bios/i, `${dialect}: no binary, no line`);
    }
    t.end();
  },
);

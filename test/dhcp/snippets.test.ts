import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { dhcpSnippet, snippetDialects } from "../../server/dhcp/policy/dhcp-snippets.ts";
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
};

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

t.test(
  "Q1: what dnsmasq is told by the snippet makes it send each firmware here, and iPXE to the script",
  async (t) => {
    const lan = foreignLan(t);
    const directory = t.testdir({
      "dnsmasq.conf": `port=0\nuser=root\ninterface=f0\nno-ping\nleasefile-ro\ndhcp-range=10.72.0.50,10.72.0.60,1h\n${dhcpSnippet("dnsmasq", input)}`,
    });
    const words = [
      "dnsmasq",
      "--keep-in-foreground",
      `--conf-file=${join(directory, "dnsmasq.conf")}`,
      "--log-facility=/dev/null",
    ];
    lan.start("foreign", words, ["ignore", "ignore", "inherit"]);
    const told = await bootFilesOf(lan);
    t.same(withoutOwnWords(told), expected);
    t.notMatch(told["linux"], /undionly|snponly|http/, "an operating system is told nothing");
  },
);

/** Kea's own package starts it as a service, so the unit tests don't install it; where it is (for the bench), it is asked. */
const keaProgram = "/usr/sbin/kea-dhcp4";
t.test(
  "Q1: the same of Kea",
  { skip: existsSync(keaProgram) ? false : "no Kea on this machine" },
  async (t) => {
    const lan = foreignLan(t);
    const classes = dhcpSnippet("kea", input).replace(/^\/\/.*$/m, "");
    const directory = t.testdir({});
    const file = join(directory, "kea.json");
    writeFileSync(
      file,
      `{"Dhcp4": {"interfaces-config": {"interfaces": ["f0"]}, "lease-database": {"type": "memfile", "persist": false},
      "subnet4": [{"subnet": "10.72.0.0/24", "pools": [{"pool": "10.72.0.50 - 10.72.0.60"}]}], ${classes}}}`,
    );
    lan.start(
      "foreign",
      ["env", `KEA_PIDFILE_DIR=${directory}`, `KEA_LOCKFILE_DIR=${directory}`, keaProgram, "-c", file],
      ["ignore", "ignore", "inherit"],
    );
    t.same(withoutOwnWords(await bootFilesOf(lan)), expected);
  },
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
      for (const [address] of text.matchAll(/\d+\.\d+\.\d+\.\d+/g)) t.equal(address, "10.72.0.1");
      const small = dhcpSnippet(dialect, { ...input, available: new Set(["snponly.efi"]) });
      t.notMatch(small, /undionly|bios/i, `${dialect}: no binary, no line`);
    }
    t.end();
  },
);

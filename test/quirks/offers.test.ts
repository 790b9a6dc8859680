/** Firmware-quirks of OFFER, ACK and port 4011: one test a row, packets over real sockets (docs/conformance.md). */
import t from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import type { DhcpMessage } from "../../server/dhcp/wire/message.ts";
import { decodeSubOptions } from "../../server/dhcp/wire/pxe-vendor.ts";
import { createDhcpLab, until } from "../support/dhcp-lab.ts";
import {
  clientOptions,
  defaultMac,
  machineId,
  macNumber,
  macOf,
  type RequestShape,
} from "../support/dhcp-messages.ts";
import { typeOf } from "../support/dhcp-relay.ts";

/** Every octet of the option, the NUL at its end too. */
const text = ({ options }: DhcpMessage, code: number) =>
  Buffer.from(options.get(code) ?? []).toString("latin1");
const has = ({ options }: DhcpMessage, ...codes: number[]) => codes.every((code) => options.has(code));
/** A client on the segment, not behind a relay agent: port 4011 answers it where it is. */
const direct = { giaddr: "0.0.0.0", ciaddr: "127.0.0.1" } as const;

/** A proxy on a segment where 10.0.0.2 gives the addresses, as another machine's REQUEST has shown. */
async function besideAnotherServer(t: Tap) {
  const events: NewEvent[] = [];
  const lab = await createDhcpLab(t, { mode: "proxy", record: (event) => events.push(event) });
  lab.relay.send(
    { type: "Request", mac: macNumber(99), requested: "10.0.0.99", server: "10.0.0.2" },
    lab.dhcp,
  );
  await until(() => lab.contacts.length === 1, "the other machine's REQUEST");
  return {
    ...lab,
    events: (type: NewEvent["type"]) => events.filter((event) => event.type === type),
    async discoverAt(...seconds: number[]): Promise<DhcpMessage[]> {
      const began = lab.clock.monotonicMs();
      const offers = [];
      for (const at of seconds) {
        lab.clock.advanceMs(began + at * 1000 - lab.clock.monotonicMs());
        offers.push(await lab.relay.ask({ type: "Discover", options: clientOptions.ovmf }, lab.dhcp));
      }
      return offers;
    },
  };
}
type Tap = Parameters<typeof createDhcpLab>[0];

t.test(
  "Q1: DISCOVER at 0, 4, 12 and 28 s, two offers and no REQUEST: an event names the cause and the way out, once",
  async (t) => {
    const lab = await besideAnotherServer(t);
    await lab.discoverAt(0, 4, 12);
    t.strictSame(lab.events("boot.offers-ignored"), [], "three might be a slow server's fault");
    lab.clock.advanceMs(16_000);
    await lab.relay.ask({ type: "Discover", options: clientOptions.ovmf }, lab.dhcp);
    t.match(lab.events("boot.offers-ignored"), [
      {
        level: "warning",
        message:
          /^52:54:00:00:00:01 asked 4 times in 28 s and took nothing, though 10\.0\.0\.2 offers an address .*boot config dhcp-snippet/,
        data: { mac: defaultMac, rounds: 4, forMs: 28_000, server: "10.0.0.2" },
      },
    ]);
    lab.clock.advanceMs(60_000);
    await lab.discoverAt(0, 4, 12, 28);
    t.equal(lab.events("boot.offers-ignored").length, 1, "once is enough");
  },
);

t.test(
  "Q1: whoever takes an offer, asks port 4011, or asks where nobody gives addresses, is not told of",
  async (t) => {
    const taker = await besideAnotherServer(t);
    await taker.discoverAt(0, 4, 12);
    taker.relay.send(
      { type: "Request", requested: "10.0.0.50", server: "10.0.0.2", options: clientOptions.ovmf },
      taker.dhcp,
    );
    await until(() => taker.contacts.at(-1)?.message === "REQUEST", "the REQUEST");
    taker.clock.advanceMs(16_000);
    await taker.discoverAt(0);
    t.strictSame(taker.events("boot.offers-ignored"), []);

    const asker = await besideAnotherServer(t);
    await asker.discoverAt(0, 4, 12);
    await asker.relay.ask({ type: "Request", options: clientOptions.ovmf, ...direct }, asker.pxe);
    asker.clock.advanceMs(16_000);
    await asker.discoverAt(0);
    t.strictSame(asker.events("boot.offers-ignored"), []);

    const events: NewEvent[] = [];
    const alone = await createDhcpLab(t, { mode: "proxy", record: (event) => events.push(event) });
    for (const waitMs of [0, 4000, 8000, 16_000]) {
      alone.clock.advanceMs(waitMs);
      await alone.relay.ask({ type: "Discover", options: clientOptions.ovmf }, alone.dhcp);
    }
    t.notMatch(events, [{ type: "boot.offers-ignored" }]);
  },
);

t.test(
  "Q2: firmware that keeps no proxy offer at all boots where this server gives the addresses: all is in one offer",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const offer = await relay.ask({ type: "Discover", options: clientOptions.ovmf }, dhcp);
    t.match(offer, { yiaddr: "10.0.0.10", siaddr: "127.0.0.1", file: "snponly.efi" });
    t.match(await relay.lease({ options: clientOptions.ovmf }, dhcp), {
      yiaddr: "10.0.0.10",
      file: "snponly.efi",
    });
  },
);

t.test(
  "Q3: UEFI by proxy gets an OFFER without 43 and with us as siaddr, then an ACK from port 4011 to itself",
  async (t) => {
    const { relay, dhcp, pxe } = await createDhcpLab(t, {
      mode: "proxy",
      nbp: { available: new Set(["snponly.efi", "snponly-arm64.efi"]) },
    });
    for (const options of [
      clientOptions.ovmf,
      clientOptions.ovmfArm64,
      { ...clientOptions.ovmf, 93: [0, 9] },
    ]) {
      const architecture = (options[93] as readonly number[])[1];
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      t.notOk(has(offer, 43), `architecture ${architecture}: no option 43`);
      t.match(offer, { yiaddr: "0.0.0.0", siaddr: "127.0.0.1" });
      t.equal(text(offer, 60), "PXEClient");
    }
    const ack = await relay.ask({ type: "Request", options: clientOptions.ovmf, ...direct }, pxe);
    t.equal(typeOf(ack), "Ack");
    t.match(ack, { siaddr: "127.0.0.1", sname: "127.0.0.1", file: "snponly.efi", yiaddr: "0.0.0.0" });
    t.ok(has(ack, 54, 60, 97), "54, 60 and 97");
    t.equal(relay.datagrams.at(-1)?.from, pxe, "it comes from port 4011, to the port that asked");
  },
);

t.test(
  "Q4: port 4011 is served in both modes, and UEFI that gets nowhere is offered 43.6 = 8 with 43.10",
  async (t) => {
    for (const mode of ["proxy", "authoritative"] as const) {
      const { relay, pxe } = await createDhcpLab(t, { mode });
      const ack = await relay.ask(
        {
          type: "Request",
          options: clientOptions.ovmf,
          ...direct,
          giaddr: mode === "proxy" ? "0.0.0.0" : "127.0.0.1",
        },
        pxe,
      );
      t.match(ack, { file: "snponly.efi" }, mode);
    }
    const lab = await besideAnotherServer(t);
    const offers = await lab.discoverAt(0, 4, 12);
    t.notOk(has(offers[1] as DhcpMessage, 43));
    const vendor = decodeSubOptions(offers[2]?.options.get(43) ?? new Uint8Array());
    t.strictSame([...(vendor.get(6) ?? [])], [8]);
    t.equal(Buffer.from(vendor.get(10) ?? []).toString("latin1"), "\0PXE");
  },
);

t.test(
  "Q5: the boot server is the server of the proxy offer: siaddr, 54 and the sender are one address",
  async (t) => {
    for (const mode of ["proxy", "authoritative"] as const) {
      const { relay, dhcp } = await createDhcpLab(t, { mode });
      const offer = await relay.ask({ type: "Discover", options: clientOptions.ovmf }, dhcp);
      t.equal(offer.siaddr, "127.0.0.1", mode);
      t.strictSame([...(offer.options.get(54) ?? [])], [127, 0, 0, 1]);
      t.equal(relay.datagrams.at(-1)?.from, dhcp);
    }
  },
);

t.test(
  "Q6: option 97 is echoed when it came, 17 octets of type 0; without it, or with another, a machine boots too",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const offer = async (value: Uint8Array | undefined, number: number) => {
      const { 97: _, ...rest } = clientOptions.bios;
      return relay.ask(
        { type: "Discover", mac: macNumber(number), options: value ? { ...rest, 97: value } : rest },
        dhcp,
      );
    };
    t.strictSame(Buffer.from((await offer(machineId, 1)).options.get(97) ?? []), Buffer.from(machineId));
    for (const [number, value] of [
      undefined,
      machineId.subarray(0, 16),
      Uint8Array.from(machineId).fill(1, 0, 1),
    ].entries()) {
      const answer = await offer(value, number + 2);
      t.notOk(has(answer, 97), "not echoed");
      t.equal(answer.file, "undionly.kpxe", "and it boots");
    }
  },
);

t.test("Q7: a ROM without options 93 and 94 gets its REQUEST answered too, with the boot file", async (t) => {
  const options = { 60: "PXEClient:Arch:00000:UNDI:002001" };
  const full = await createDhcpLab(t);
  t.match(await full.relay.lease({ options }, full.dhcp), { file: "undionly.kpxe", yiaddr: "10.0.0.10" });
  const proxy = await createDhcpLab(t, { mode: "proxy" });
  const request = { type: "Request", options, server: "127.0.0.1" } as const;
  t.match(await proxy.relay.ask(request, proxy.dhcp), { file: "undionly.kpxe", yiaddr: "0.0.0.0" });
});

t.test(
  "Q8: the boot file stands in the header's file, and option 67 ends with a NUL and a PAD behind it",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    for (const options of [clientOptions.bios, clientOptions.ovmf, clientOptions.ovmfHttp]) {
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      t.match(text(offer, 67), /^[^\0\xff]+\0$/, options[60]);
      if (options !== clientOptions.ovmfHttp) t.equal(`${offer.file}\0`, text(offer, 67));
      const octets = Buffer.from(relay.datagrams.at(-1)?.octets ?? []);
      const name = Buffer.from(text(offer, 67) ?? "", "latin1");
      const at = octets.lastIndexOf(Buffer.concat([Buffer.of(67, name.length), name]));
      t.equal(octets[at + 2 + name.length], 0, "what EDK2 overwrites behind option 67 is a PAD (H-02)");
    }
  },
);

t.test("Q9: siaddr, file, 66 and 67 say the same, for firmware reads any of them", async (t) => {
  const { relay, dhcp } = await createDhcpLab(t);
  for (const options of [clientOptions.bios, clientOptions.ovmf])
    for (const type of ["Discover", "Request"] as const) {
      const reply = await relay.ask(
        { type, options, ...(type === "Request" ? { requested: "10.0.0.10", server: "127.0.0.1" } : {}) },
        dhcp,
      );
      t.equal(reply.siaddr, "127.0.0.1");
      t.equal(text(reply, 66), reply.siaddr);
      t.equal(text(reply, 67), `${reply.file}\0`);
      t.not(reply.file, "");
    }
});

t.test("Q10: UEFI HTTP boot gets a URL and HTTPClient, in every mode, and never a TFTP name", async (t) => {
  for (const mode of ["proxy", "authoritative"] as const) {
    const { relay, dhcp } = await createDhcpLab(t, {
      mode,
      nbp: { available: new Set(["snponly.efi", "snponly-arm64.efi", "snponly-i386.efi"]) },
    });
    for (const architecture of [15, 16, 19]) {
      const options = { ...clientOptions.ovmfHttp, 93: [0, architecture] };
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      t.equal(text(offer, 60), "HTTPClient");
      t.match(
        text(offer, 67),
        /^http:\/\/127\.0\.0\.1\/nbp\/snponly(-i386|-arm64)?\.efi\0$/,
        `${mode} ${architecture}`,
      );
      t.notOk(has(offer, 66), "no TFTP server");
      t.match(offer.file, /^http:|^$/);
    }
  }
});

t.test(
  "Q12: every URL of DHCP has an address in it and no name, for firmware forgets the DNS server",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    for (const options of [clientOptions.ovmfHttp, clientOptions.ipxe, clientOptions.ipxeWithoutHttp]) {
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      t.match(text(offer, 67), /^(http|tftp):\/\/127\.0\.0\.1\//);
    }
  },
);

t.test(
  "Q13: iPXE need not wait 2 s for a proxy where this server is the only one: 175.176 = 1",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const offer = await relay.ask({ type: "Discover", options: clientOptions.ipxe }, dhcp);
    t.strictSame([...(decodeSubOptions(offer.options.get(175) ?? new Uint8Array()).get(176) ?? [])], [1]);
    const proxy = await createDhcpLab(t, { mode: "proxy" });
    const beside = await proxy.relay.ask({ type: "Discover", options: clientOptions.ipxe }, proxy.dhcp);
    t.notOk(has(beside, 175), "beside another server it has to wait for us");
  },
);

t.test(
  "Q14: an iPXE ROM that says BIOS is no BIOS: a script if it has HTTP, else a full tftp:// URL",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const boot = async (options: RequestShape["options"] & object) =>
      (await relay.ask({ type: "Discover", options }, dhcp)).file;
    t.equal(await boot(clientOptions.ipxe), "http://127.0.0.1/boot.ipxe");
    t.equal(
      await boot({ ...clientOptions.ipxe, 77: "" }),
      "http://127.0.0.1/boot.ipxe",
      "by option 175 alone",
    );
    const { 175: _, ...old } = clientOptions.ipxe;
    t.equal(await boot(old), "http://127.0.0.1/boot.ipxe", "by the user class alone");
    t.equal(await boot(clientOptions.ipxeWithoutHttp), "tftp://127.0.0.1/undionly.kpxe");
  },
);

t.test("Q15: 20 rounds of ROM and iPXE: each iPXE gets the script and no program again", async (t) => {
  const { relay, dhcp, clock } = await createDhcpLab(t);
  for (let round = 0; round < 20; round++) {
    const rom = await relay.lease({ options: clientOptions.bios }, dhcp);
    t.equal(rom.file, "undionly.kpxe");
    clock.advanceMs(3000);
    const ipxe = await relay.lease({ options: clientOptions.ipxe }, dhcp);
    t.match(ipxe, { file: "http://127.0.0.1/boot.ipxe", yiaddr: rom.yiaddr });
    clock.advanceMs(3000);
  }
});

t.test("Q37: another DHCP server beside this one is an alarm", async (t) => {
  const events: NewEvent[] = [];
  const { relay, dhcp, contacts } = await createDhcpLab(t, { record: (event) => events.push(event) });
  relay.send(
    { type: "Request", options: clientOptions.ipxe, requested: "10.0.0.77", server: "10.0.0.2" },
    dhcp,
  );
  await until(() => contacts.length === 1, "the REQUEST");
  t.match(events, [{ type: "dhcp.other-server", level: "alarm", data: { server: "10.0.0.2" } }]);
});

t.test(
  "Q40: Apple's BSDP is out of scope: it is asked for by INFORM and gets nothing of booting",
  async (t) => {
    const options = { 60: "AAPLBSDPC/i386/iMac14,2", 43: [1, 1, 1], 55: [43, 60] };
    const { relay, dhcp } = await createDhcpLab(t);
    const ack = await relay.ask({ type: "Inform", options, ciaddr: "10.0.0.40" }, dhcp);
    t.notOk(has(ack, 43) || has(ack, 60) || has(ack, 67));
    t.equal(ack.file, "");
  },
);

t.test("Q41: Hyper-V of the second generation is a UEFI like any other, with its own MACs", async (t) => {
  const { relay, dhcp } = await createDhcpLab(t);
  const ack = await relay.lease({ mac: macOf("00:15:5d:01:02:03"), options: clientOptions.ovmf }, dhcp);
  t.match(ack, { file: "snponly.efi", siaddr: "127.0.0.1" });
});

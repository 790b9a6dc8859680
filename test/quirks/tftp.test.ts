/** Firmware-quirks of TFTP: one test a row, packets over real sockets (docs/conformance.md). */
import t from "tap";
import type { Log } from "../../server/domain/capabilities.ts";
import { bufferRoute } from "../../server/tftp/file-routes.ts";
import { fateOf, lossyUdp } from "../support/lossy-udp.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { createTalker, fetchFile, readRequest } from "../support/tftp-client.ts";
import { eventually, filesRoute, fillPattern, startTftpLab } from "../support/tftp-lab.ts";
import { recordingLog } from "../support/dhcp-lab.ts";
import { startServer } from "../support/http-fixture.ts";
import { createBootLab } from "../support/boot-lab.ts";
import { macOf } from "../support/samples.ts";

const binary = fillPattern(new Uint8Array(5000), 0);
const files = () => filesRoute({ "undionly.kpxe": binary });
const oneBlock = { blksize: "1468" };
const asked = (options: Readonly<Record<string, string>>) => Object.entries(options);

t.test(
  "Q8: the name with 0xFF or other octets behind it, as old ROMs take it from option 67, is the file",
  async (t) => {
    const { address } = await startTftpLab(t, [files()]);
    for (const tail of ["\xff", "\xff\xff", "\x00", "\r\n", "\x01\xff", "\x7f"]) {
      if (tail.includes("\0")) continue;
      const { content } = await fetchFile(address, `undionly.kpxe${tail}`);
      t.ok(content.equals(binary), JSON.stringify(tail));
    }
    await t.rejects(fetchFile(address, "undionly\xff.kpxe"), /ERROR 1/, "in the middle it is another name");
  },
);

t.test(
  "Q16: TFTP has autoexec.ipxe, as a script that names the address that was asked; others are told at once",
  async (t) => {
    const server = await startServer(t);
    const [address] = server.app.addresses.tftp;
    if (!address) throw new Error("no TFTP");
    const { content } = await fetchFile(address, "autoexec.ipxe", asked({ tsize: "0", blksize: "1432" }));
    t.match(content.toString(), /^#!ipxe\n/);
    t.match(content.toString(), `http://127.0.0.1:${server.port}/boot/`);
    await t.rejects(fetchFile(address, "none.ipxe"), /ERROR 1/);
    t.same(
      server.logged.filter((line) => /^(warn|error)/.test(line)),
      [],
      "without a word in the log",
    );
  },
);

t.test(
  "Q19: EDK2's request for the size, ended by ERROR 8, leaves no log, no session and no step of the boot",
  async (t) => {
    const log = recordingLog();
    const { address, contacts } = await startTftpLab(t, [files()], {
      log: { ...log, child: () => log } as Log,
    });
    const talker = await createTalker();
    t.teardown(() => talker.close());
    talker.say(readRequest("undionly.kpxe", asked({ tsize: "0", blksize: "1468" })), address);
    const { packet, from } = await talker.hear();
    t.match(packet, { kind: "oack" });
    talker.say({ kind: "error", code: 8, message: "User aborted the transfer" }, from);
    await eventually(() => contacts.length === 1);
    t.match(contacts, [{ outcome: "cancelled", sentBytes: 0, retransmissions: 0 }]);
    const { content, granted } = await fetchFile(address, "undionly.kpxe", asked(oneBlock));
    t.ok(content.equals(binary));
    t.notOk(granted?.["tsize"], "the second request asks for no size and is told none");
    t.same(log.entries, []);
    const boot = await createBootLab(t);
    await boot.add(1, "s1");
    await boot.dhcp(1);
    boot.tftp(1, { outcome: "cancelled", sentBytes: 0 });
    await boot.settle();
    const steps = boot.tracker.current(boot.inventory.findByMac(macOf(1))?.id ?? "")?.steps ?? [];
    t.notOk(steps.some(({ step }) => step === "nbp"));
  },
);

t.test("Q20: what was not asked for is not in the OACK, and without an option there is none", async (t) => {
  const { address } = await startTftpLab(t, [files()]);
  for (const options of [
    { blksize: "1024" },
    { tsize: "0" },
    { windowsize: "4" },
    { timeout: "3" },
    { blksize: "512", timeout: "1" },
  ]) {
    const { granted } = await fetchFile(
      address,
      "undionly.kpxe",
      asked(options as unknown as Record<string, string>),
    );
    t.same(Object.keys(granted ?? {}), Object.keys(options));
  }
  t.equal((await fetchFile(address, "undionly.kpxe")).granted, undefined);
  t.equal((await fetchFile(address, "undionly.kpxe", asked({ multicast: "", x: "1" }))).granted, undefined);
});

t.test(
  "Q21: the size is told for whatever is served, files made at the moment too, and it is the true one",
  async (t) => {
    const made = bufferRoute("made", (name, { serverAddress }) =>
      name === "autoexec.ipxe" ? Buffer.from(`#!ipxe\nchain http://${serverAddress}/\n`) : undefined,
    );
    const { address } = await startTftpLab(t, [made, files()]);
    for (const name of ["autoexec.ipxe", "undionly.kpxe"])
      for (const mode of ["octet", "netascii"]) {
        const { content, granted } = await fetchFile(address, name, asked({ tsize: "0" }), { mode });
        t.equal(Number(granted?.["tsize"]), content.length, `${name}, ${mode}`);
      }
  },
);

t.test("Q22: a block size is granted as asked up to what fits a frame, and never a larger one", async (t) => {
  const { address } = await startTftpLab(t, [files()]);
  for (const [blksize, granted] of [
    ["512", "512"],
    ["1024", "1024"],
    ["1432", "1432"],
    ["1456", "1456"],
    ["1468", "1468"],
    ["8192", "1468"],
    ["65464", "1468"],
  ] as const) {
    const answer = await fetchFile(address, "undionly.kpxe", asked({ blksize }));
    t.equal(answer.granted?.["blksize"], granted, blksize);
    t.ok(answer.content.equals(binary));
  }
});

t.test("Q23: windows are granted, no more than 16 blocks, and the file arrives whole in each", async (t) => {
  const { address } = await startTftpLab(t, [filesRoute({ big: fillPattern(new Uint8Array(100_000), 0) })]);
  for (const [windowsize, granted] of [
    ["1", "1"],
    ["4", "4"],
    ["8", "8"],
    ["64", "16"],
  ] as const) {
    const answer = await fetchFile(address, "big", asked({ windowsize }));
    t.equal(answer.granted?.["windowsize"], granted);
    t.equal(answer.content.length, 100_000);
    t.equal(answer.dataPackets, Math.floor(100_000 / 512) + 1, "nothing twice");
  }
});

t.test("Q24: a doubled ACK makes nothing be sent again; a lost block is sent once more", async (t) => {
  const blocks = Math.floor(binary.length / 512) + 1;
  const doubled = lossyUdp(loopbackUdp, (direction) => (direction === "received" ? "duplicate" : "pass"));
  const twice = await startTftpLab(t, [files()], { udp: doubled });
  const all = await fetchFile(twice.address, "undionly.kpxe");
  t.ok(all.content.equals(binary));
  t.equal(all.dataPackets, blocks, "every ACK came twice, and every block once");
  const losing = lossyUdp(loopbackUdp, fateOf("sent", { 3: "drop" }));
  const once = await startTftpLab(t, [files()], { udp: losing });
  t.ok((await fetchFile(once.address, "undionly.kpxe")).content.equals(binary));
  t.equal(losing.counts.sent.pass, blocks, "all of them, one after its time");
  t.equal(losing.counts.sent.drop, 1);
});

t.test("Q26: the answer comes from the address that was asked, on a host with several", async (t) => {
  const bindings = ["127.0.0.1", "127.0.0.2"].map((address) => ({ address: address as never, port: 0 }));
  const { server } = await startTftpLab(t, [files()], { bindings });
  for (const address of server.addresses) {
    const talker = await createTalker();
    talker.say(readRequest("undionly.kpxe"), address);
    const { from } = await talker.hear();
    t.equal(from.address, address.address);
    await talker.close();
  }
});

/** Firmware-quirks that need a network: relay agents and addresses of others' programs (docs/conformance.md). As root. */
import { execFile } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { ipv4Option } from "../../server/dhcp/wire/options.ts";
import { startDhcpProcess } from "../support/dhcp-process.ts";
import { clientOptions, requestMessage } from "../support/dhcp-messages.ts";
import { createLan, type Lan } from "../support/namespaces.ts";
import { createUdpProbe } from "../support/udp-probe-client.ts";

/** udhcpc to its lease. @returns the variables that its script was given */
async function udhcpc(t: Test, lan: Lan, ...words: string[]): Promise<string> {
  const directory = t.testdir({
    "script.sh": '#!/bin/sh\n[ "$1" = bound ] && env > "$RESULT"\nexit 0\n',
    result: "",
  });
  const script = join(directory, "script.sh");
  const result = join(directory, "result");
  chmodSync(script, 0o755);
  const command = [
    "netns",
    "exec",
    lan.namespaceOf("client"),
    "busybox",
    "udhcpc",
    "-i",
    "c0",
    "-f",
    "-q",
    "-n",
  ];
  await promisify(execFile)("ip", [...command, "-t", "8", "-T", "1", "-s", script, ...words], {
    env: { ...process.env, RESULT: result },
  });
  return readFileSync(result, "utf8");
}

const room = {
  cidr: "10.73.0.0/24",
  from: "10.73.0.100",
  to: "10.73.0.120",
  router: "10.73.0.1",
  leaseSeconds: 3600,
};
const asRom = ["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000", "-O", "66", "-O", "67"];

t.test(
  "Q27: through a real relay agent (dnsmasq): lease and boot file arrive, with and without the broadcast flag",
  async (t) => {
    const lan = createLan(t, {
      server: { s0: "lan 10.72.0.1/24" },
      relay: { r0: "lan 10.72.0.2/24", r1: "room 10.73.0.1/24" },
      client: { c0: "room" },
    });
    lan.run("server", "ip", "route", "add", "10.73.0.0/24", "via", "10.72.0.2");
    const server = await startDhcpProcess(lan, {
      mode: "authoritative",
      device: "s0",
      address: "10.72.0.1",
      subnet: room,
    });
    lan.start(
      "relay",
      [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--dhcp-relay=10.73.0.1,10.72.0.1",
        "--log-facility=/dev/null",
      ],
      ["ignore", "ignore", "ignore"],
    );
    for (const flag of [[], ["-B"]]) {
      const given = await udhcpc(t, lan, ...asRom, ...flag);
      t.match(given, /^ip=10\.73\.0\.100$/m, flag.join());
      t.match(given, /^serverid=10\.72\.0\.1$/m);
      t.match(given, /^boot_file=undionly\.kpxe$/m);
      t.match(given, /^siaddr=10\.72\.0\.1$/m);
    }
    await server.contact(({ reply, bootfile }) => reply === "ACK" && bootfile === "undionly.kpxe", "the ACK");
  },
);

t.test(
  "Q26: on a host with two addresses replies come from ports 67 and 4011, and 4011 answers from the address that was asked",
  async (t) => {
    for (const address of ["10.72.0.1", "10.72.0.7"]) {
      const lan = createLan(t, { server: { s0: "lan 10.72.0.1/24" }, client: { c0: "lan 10.72.0.50/24" } });
      lan.run("server", "ip", "address", "add", "10.72.0.7/24", "dev", "s0");
      const subnet = { ...room, cidr: "10.72.0.0/24", from: "10.72.0.100", to: "10.72.0.120" };
      await startDhcpProcess(lan, { mode: "authoritative", device: "s0", address, subnet });
      const probe = createUdpProbe(lan, "client");
      const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
      const discover = encodeMessage(requestMessage({ type: "Discover", options: clientOptions.ovmf }));
      await probe.send(socket, discover, { address: "255.255.255.255", port: 67 });
      const [offer] = await probe.received(socket, 1);
      const message = decodeMessage(offer?.datagram ?? Buffer.alloc(0));
      t.equal(ipv4Option(message.options, 54), address);
      t.equal(offer?.from.port, 67);
      const { socket: pxe } = await probe.bind({ device: "c0", port: 4011 });
      const request = requestMessage({ type: "Request", ciaddr: "10.72.0.50", options: clientOptions.ovmf });
      await probe.send(pxe, encodeMessage(request), { address, port: 4011 });
      const [ack] = await probe.received(pxe, 1);
      t.same(ack?.from, { address, port: 4011 });
    }
  },
);

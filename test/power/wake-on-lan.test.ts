import { once } from "node:events";
import { resolve } from "node:path";
import t from "tap";
import { parseCidr } from "../../server/net/cidr.ts";
import { parseIpv4 } from "../../server/net/ipv4.ts";
import type { Udp } from "../../server/domain/capabilities.ts";
import type { Mac } from "../../server/net/mac.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { magicPacket } from "../../server/power/magic-packet.ts";
import { createWakeOnLan } from "../../server/power/wake-on-lan.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createLan } from "../support/namespaces.ts";

const mac = "52:54:00:0a:0b:0c" as Mac;
const endless = new AbortController().signal;

/** Sockets that keep what is sent: `device>address:port`. */
function memory() {
  const sent: string[] = [];
  let open = 0;
  const udp: Udp = {
    bind: async ({ device = "any" }) => {
      open += 1;
      return {
        local: { address: "0.0.0.0", port: 1 },
        send: (datagram, { address, port }) =>
          void sent.push(
            `${device}>${address}:${port} ${Buffer.from(datagram.subarray(6, 12)).toString("hex")}`,
          ),
        onMessage() {},
        close: async () => void (open -= 1),
      };
    },
  };
  return { udp, sent, open: () => open };
}

t.test("a magic packet is six octets FF and sixteen times the MAC", (t) => {
  const packet = Buffer.from(magicPacket(mac));
  t.equal(packet.length, 102);
  t.equal(packet.toString("hex"), "ff".repeat(6) + "5254000a0b0c".repeat(16));
  t.end();
});

t.test(
  "each MAC is woken three times on each served device, and behind relays by their network's broadcast",
  async (t) => {
    const clock = new ManualClock();
    const { udp, sent, open } = memory();
    const relayed = ["10.1.0.0/24", "10.2.0.0/24"].flatMap((text) => parseCidr(text) ?? []);
    const wake = createWakeOnLan({ clock, udp, interfaces: [{ device: "s0" }, { device: "s1" }], relayed });
    const waking = wake({ macs: [mac, "52:54:00:00:00:02" as Mac] }, parseIpv4("10.2.0.9"), endless);
    await new Promise(setImmediate);
    t.strictSame(sent, [
      "s0>255.255.255.255:9 5254000a0b0c",
      "s0>10.2.0.255:9 5254000a0b0c",
      "s1>255.255.255.255:9 5254000a0b0c",
      "s1>10.2.0.255:9 5254000a0b0c",
      "s0>255.255.255.255:9 525400000002",
      "s0>10.2.0.255:9 525400000002",
      "s1>255.255.255.255:9 525400000002",
      "s1>10.2.0.255:9 525400000002",
    ]);
    for (const round of [2, 3]) {
      clock.advanceMs(200);
      await new Promise(setImmediate);
      t.equal(sent.length, 8 * round);
    }
    await waking;
    t.equal(open(), 0, "its sockets are closed");
  },
);

t.test("an order that is cancelled sends no more, and leaves no socket behind", async (t) => {
  const clock = new ManualClock();
  const { udp, sent, open } = memory();
  const wake = createWakeOnLan({ clock, udp, interfaces: [{}], relayed: [] });
  const order = new AbortController();
  const waking = wake({ macs: [mac] }, undefined, order.signal);
  await new Promise(setImmediate);
  order.abort(new Error("cancelled"));
  await t.rejects(waking, { message: "cancelled" });
  t.equal(sent.length, 1);
  t.equal(open(), 0);
  t.equal(clock.pendingTimers, 0);
});

t.test("the packet is on the wire of the served device, and of no other one", async (t) => {
  const lan = createLan(t, {
    server: { s0: "lab 10.75.0.1/24", s1: "campus 10.76.0.1/24" },
    asleep: { c0: "lab" },
    campus: { c0: "campus" },
  });
  const listen = async (host: string) => {
    const tcpdump = lan.start(
      host,
      ["tcpdump", "-i", "c0", "-n", "-l", "--immediate-mode", "-XX", "udp", "port", "9"],
      ["ignore", "pipe", "pipe"],
    );
    let heard = "";
    tcpdump.stdout?.on("data", (text: Buffer) => (heard += text.toString()));
    let said = "";
    // Read to its end: a pipe that is closed ends tcpdump at its next word.
    await new Promise<void>((resolve) => {
      tcpdump.stderr?.on("data", (text: Buffer) => {
        said += text.toString();
        if (said.includes("listening on")) resolve();
      });
    });
    return () => heard;
  };
  const [lab, campus] = [await listen("asleep"), await listen("campus")];
  const script = resolve(import.meta.dirname, "../support/wake-on-lan-process.ts");
  const waker = lan.start("server", [process.execPath, script, mac, "s0"], ["ignore", "inherit", "inherit"]);
  const [code] = (await once(waker, "exit")) as [number];
  t.equal(code, 0);
  const until = systemClock.monotonicMs() + 60_000;
  const packets = () => lab().match(/> 255\.255\.255\.255\.9: UDP, length 102/g)?.length ?? 0;
  while (packets() < 3 && systemClock.monotonicMs() < until)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(packets(), 3);
  t.match(lab(), /ffff ffff ffff/, "for everybody: a card that sleeps answers no ARP");
  t.match(lab().replaceAll(/\s/g, ""), /52540*00a0b0c|5254000a/);
  t.equal(campus().trim(), "");
});

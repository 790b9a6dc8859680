import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import t, { type Test } from "tap";
import type { Log } from "../../server/domain/capabilities.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { loadDeviceSockets } from "../../server/platform/device-socket.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { systemdSocketNames, systemdSockets } from "../../server/platform/systemd-sockets.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { createLan } from "../support/namespaces.ts";
import { createUdpProbe, probeScript, UdpProbe } from "../support/udp-probe-client.ts";

const everybody = "255.255.255.255";
const nobody = 65534;

/** A server with two network devices and a neighbour on each. */
function twoNetworks(t: Test) {
  const lan = createLan(t, {
    server: { s0: "left 10.73.0.1/24", s1: "right 10.74.0.1/24" },
    left: { n0: "left 10.73.0.2/24" },
    right: { n0: "right 10.74.0.2/24" },
  });
  return {
    lan,
    server: createUdpProbe(lan, "server"),
    left: createUdpProbe(lan, "left"),
    right: createUdpProbe(lan, "right"),
  };
}

function recordingLog(): Log & { messages: string[] } {
  const messages: string[] = [];
  const write = (_: Record<string, unknown>, message: string) => void messages.push(message);
  return { messages, debug() {}, info: write, warn: write, error: write, child: () => silentLog };
}

t.test(
  "a socket of one device never hears the other one's broadcasts, and broadcasts into its own network only",
  async (t) => {
    const { server, left, right } = twoNetworks(t);
    const port = 6767;
    const [s0, s1] = [
      await server.bind({ device: "s0", port, broadcast: true }),
      await server.bind({ device: "s1", port, broadcast: true }),
    ];
    const [l, r] = [
      await left.bind({ device: "n0", port, broadcast: true }),
      await right.bind({ device: "n0", port, broadcast: true }),
    ];
    t.match(s0.local, { address: "0.0.0.0", port }, "both have the same port");

    await left.send(l.socket, "from the left", { address: everybody, port });
    await right.send(r.socket, "from the right", { address: everybody, port });
    await right.send(r.socket, "unicast", { address: "10.74.0.1", port });
    t.strictSame(await server.texts(s0.socket, 1), ["from the left"]);
    t.strictSame(await server.texts(s1.socket, 2), ["from the right", "unicast"]);

    // A host hears its own broadcasts too.
    t.strictSame(await left.texts(l.socket, 1), ["from the left"]);
    t.strictSame(await right.texts(r.socket, 1), ["from the right"]);
    await server.send(s1.socket, "to the right", { address: everybody, port });
    t.strictSame(await right.texts(r.socket, 1), ["to the right"]);
    t.strictSame(await left.texts(l.socket), []);
    t.strictSame(await server.texts(s0.socket), []);

    await server.send(s1.socket, "who am I", { address: "10.74.0.2", port });
    const [unicast] = await right.received(r.socket, 1);
    t.match(unicast, { from: { address: "10.74.0.1", port } }, "unicast, from the device's address");
  },
);

t.test("what keeps a port from being opened has a name, and nothing is left open", async (t) => {
  const { server } = twoNetworks(t);
  const held = await server.bind({ device: "s0", port: 6767 });
  const plain = await server.bind({ port: 7000 });
  const before = await server.do({ op: "descriptors" });
  const attempts = [
    [{ device: "s0", port: 6767 }, "PORT_IN_USE", "the same device"],
    [{ port: 6767 }, "PORT_IN_USE", "no device, while a device has it"],
    [{ port: 7000 }, "PORT_IN_USE", "no device twice"],
    [{ device: "s1", port: 7000 }, "PORT_IN_USE", "a device, while a socket without has it"],
    [{ device: "eth99", port: 6768 }, "DEVICE_NOT_FOUND", "no such device"],
    [{ device: "a-name-far-too-long", port: 6768 }, "DEVICE_NOT_FOUND", "no device could have this name"],
  ] as const;
  for (const [binding, error, why] of attempts) t.strictSame(await server.tryBind(binding), { error }, why);
  t.strictSame(
    await server.do({ op: "share", port: 6767 }),
    { error: "EADDRINUSE" },
    "a program that would share the port",
  );
  t.strictSame(await server.tryBind({ device: "s0", port: 67 }, nobody), { error: "PORT_NOT_PERMITTED" });
  t.strictSame(await server.tryBind({ port: 67 }, nobody), { error: "PORT_NOT_PERMITTED" });
  t.match(await server.tryBind({ device: "s0", address: "10.99.0.1", port: 0 }), { error: /EADDRNOTAVAIL/ });
  t.equal(await server.do({ op: "descriptors" }), before, "as many descriptors as before");

  await server.do({ op: "close", socket: held.socket });
  await server.do({ op: "close", socket: held.socket });
  await server.do({ op: "close", socket: plain.socket });
  t.equal(await server.do({ op: "descriptors" }), Number(before) - 2, "closed, twice does no harm");
  t.match(await server.bind({ device: "s0", port: 6767 }), { local: { port: 6767 } }, "free again");
});

t.test(
  "port 0 takes a free port; the receive buffer is what was wished, beyond the system's limit as root",
  async (t) => {
    const { server } = twoNetworks(t);
    const receiveBufferBytes = 6 * 1024 * 1024;
    const bound = await server.bind({ device: "s0", port: 0, receiveBufferBytes });
    t.ok(bound.local.port > 1023);
    t.ok(bound.receiveBufferBytes >= 2 * receiveBufferBytes, String(bound.receiveBufferBytes));
    const address = await server.bind({ device: "s0", address: "10.73.0.1", port: 0 });
    t.equal(address.local.address, "10.73.0.1");
    t.ok(address.receiveBufferBytes < receiveBufferBytes, "the kernel's default otherwise");
  },
);

t.test("a receive buffer smaller than wished is told", async (t) => {
  const log = recordingLog();
  const socket = await createUdp({ log, clock: systemClock }).bind({
    address: "127.0.0.1",
    port: 0,
    receiveBufferBytes: 2 ** 30,
  });
  t.teardown(() => socket.close());
  t.match(log.messages, [/^receive buffer is smaller/]);
  t.ok(socket.receiveBufferBytes > 0);
});

t.test("a failed send is counted and logged now and then, never thrown", async (t) => {
  const log = recordingLog();
  const udp = createUdp({ log, clock: systemClock });
  const socket = await udp.bind({ address: "127.0.0.1", port: 0 });
  socket.send(Uint8Array.of(1), { address: everybody, port: 9 });
  socket.send(Uint8Array.of(1), { address: "127.0.0.1", port: 70_000 });
  socket.send(Uint8Array.of(1), { address: "no address", port: 9 });
  socket.send(new Uint8Array(70_000), { address: "127.0.0.1", port: 9 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await socket.close();
  socket.send(Uint8Array.of(1), { address: "127.0.0.1", port: 9 });
  t.equal(udp.counters.sendFailures, 5);
  t.strictSame(log.messages, ["failed to send a datagram"]);
});

t.test("without koffi a device is served only where it is the one network", async (t) => {
  const log = recordingLog();
  const before = readdirSync("/proc/self/fd").length;
  const without = (devices: Record<string, string>) =>
    createUdp({
      log,
      clock: systemClock,
      loadDeviceSockets: async () => undefined,
      devices: () => new Map(Object.entries(devices)),
    });
  await t.rejects(without({ eth0: "10.0.0.1", eth1: "10.1.0.1" }).bind({ device: "eth0", port: 0 }), {
    code: "DEVICE_BINDING_UNAVAILABLE",
    message: /koffi/,
  });
  await t.rejects(without({ eth1: "10.1.0.1" }).bind({ device: "eth0", port: 0 }), {
    code: "DEVICE_NOT_FOUND",
  });
  const socket = await without({ eth0: "10.0.0.1" }).bind({ device: "eth0", port: 0 });
  t.equal(socket.local.address, "0.0.0.0");
  t.match(log.messages, [/^koffi is not installed/]);
  await socket.close();
  t.equal(readdirSync("/proc/self/fd").length, before, "nothing is left open");
});

t.test(
  "the sockets of systemd are told by LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID (sd_listen_fds(3))",
  (t) => {
    const environment = { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "dhcp-eth0:pxe-eth0" };
    t.strictSame(
      [...systemdSockets(environment, 7)],
      [
        ["dhcp-eth0", 3],
        ["pxe-eth0", 4],
      ],
    );
    t.equal(systemdSockets(environment, 8).size, 0, "meant for another process");
    t.equal(systemdSockets({}, 7).size, 0);
    t.equal(systemdSockets({ ...environment, LISTEN_FDS: "many" }, 7).size, 0);
    t.strictSame(
      [...systemdSockets({ LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "one" }, 7)],
      [["one", 3]],
      "a nameless one is not ours",
    );
    t.strictSame(systemdSocketNames("eth0", 67), ["dhcp-eth0", "udp67-eth0"]);
    t.strictSame(systemdSocketNames("eth0", 1067), ["udp1067-eth0"]);
    t.end();
  },
);

t.test(
  "a socket of systemd is used in place when its name fits, and refused when it is bound to another device",
  async (t) => {
    const sockets = await loadDeviceSockets();
    if (!sockets) throw new Error("koffi is not installed");
    const descriptor = sockets.open({
      device: "lo",
      address: "127.0.0.1",
      port: 0,
      broadcast: false,
      receiveBufferBytes: undefined,
    });
    const plain = await createUdp({ log: silentLog, clock: systemClock }).bind({
      address: "127.0.0.1",
      port: 0,
    });
    t.teardown(() => plain.close());
    t.equal(sockets.deviceOf(descriptor), "lo");
    const env = { ...process.env, LISTEN_FDS: "2", LISTEN_FDNAMES: "udp6801-lo:udp6802-elsewhere" };
    const child = spawn("/bin/sh", ["-c", 'LISTEN_PID=$$ exec "$0" "$1"', process.execPath, probeScript], {
      env,
      stdio: ["ignore", "inherit", "inherit", descriptor, descriptor, "ipc"],
    });
    sockets.close(descriptor);
    t.teardown(() => child.kill("SIGKILL"));
    await once(child, "spawn");
    const probe = new UdpProbe(child);
    const bound = await probe.bind({ device: "lo", port: 6801 });
    t.not(bound.local.port, 6801, "it is the handed one, whatever its port");
    plain.send(Buffer.from("hello"), bound.local);
    t.strictSame(await probe.texts(bound.socket, 1), ["hello"]);
    t.strictSame(await probe.tryBind({ device: "elsewhere", port: 6802 }), {
      error: "DEVICE_BINDING_UNAVAILABLE",
    });
  },
);

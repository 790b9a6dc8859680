import t from "tap";
import type { UdpBinding } from "../server/domain/capabilities.ts";
import { DeviceNotFound, PortInUse, PortNotPermitted } from "../server/domain/error-catalogue.ts";
import { createPortOpener } from "../server/open-ports.ts";
import { loopbackUdp } from "./support/loopback-udp.ts";

const config = {
  dhcp: {
    mode: "proxy" as const,
    port: 67,
    pxePort: 4011,
    unknownSharePercent: 50,
    endRouterDiscovery: "auto" as const,
    raspberryPiDelayMs: 0,
    subnets: [],
  },
  tftp: { port: 69, singlePort: false, clients: [] },
};
const ports: readonly UdpBinding[] = [
  { device: "lab0", port: 67 },
  { device: "lab0", address: "10.0.0.1", port: 4011 },
  { device: "lab0", address: "10.0.0.1", port: 69 },
];

/** Refuses what is named; everything else opens. */
function refusing(refusals: Readonly<Record<number, "permission" | "use">>) {
  const opened: number[] = [];
  return {
    opened,
    async bind({ port, address = "0.0.0.0", ...binding }: UdpBinding) {
      if (refusals[port] === "permission") throw PortNotPermitted({ protocol: "udp", port });
      if (refusals[port] === "use") throw PortInUse({ protocol: "udp", port, address });
      opened.push(port);
      return loopbackUdp.bind({ ...binding, port: 0 });
    },
  };
}

/** Opens the UDP ports as three listeners of one port each, and then whatever else is to be opened. */
async function openAll(udp: ReturnType<typeof refusing>, ...others: (() => Promise<void>)[]): Promise<void> {
  const opener = createPortOpener(udp, config);
  const sockets: { close(): Promise<void> }[] = [];
  try {
    await opener.open([
      ...ports.map((port) => async () => void sockets.push(await opener.udp.bind(port))),
      ...others,
    ]);
  } finally {
    for (const socket of sockets) await socket.close();
  }
}

t.test("all ports that need a privilege are named in one error, with protocol and config key", async (t) => {
  await t.rejects(openAll(refusing({ 67: "permission", 69: "permission" })), {
    code: "PORT_NOT_PERMITTED",
    message:
      "this process may not open udp port 67 (config key dhcp.port), udp port 69 (config key tftp.port): ports below 1024 need a privilege",
  });
});

t.test(
  "ports of other programs are named in one error, TCP and UDP, with the place where they are in use",
  async (t) => {
    const http = async () => {
      throw PortInUse({ protocol: "tcp", port: 8080, address: "0.0.0.0", key: "http.port" });
    };
    await t.rejects(openAll(refusing({ 4011: "use" }), http), {
      code: "PORT_IN_USE",
      message:
        "in use by another program: udp port 4011 on lab0 10.0.0.1 (config key dhcp.pxePort), tcp port 8080 (config key http.port)",
    });
  },
);

t.test("with refusals of both kinds, one error names both", async (t) => {
  await t.rejects(openAll(refusing({ 67: "permission", 4011: "use" })), {
    code: "PORT_NOT_PERMITTED",
    message:
      "this process may not open udp port 67 (config key dhcp.port): ports below 1024 need a privilege; in use by another program besides: udp port 4011 on lab0 10.0.0.1 (config key dhcp.pxePort)",
  });
});

t.test("the same port refused on two interfaces is named once", async (t) => {
  const opener = createPortOpener(refusing({ 67: "permission" }), config);
  const both = async () => {
    for (const device of ["lab0", "lab1"]) await opener.udp.bind({ device, port: 67 });
  };
  await t.rejects(opener.open([both]), {
    message: /^this process may not open udp port 67 \(config key dhcp\.port\): /,
  });
});

t.test("the ports after a refused one are still tried", async (t) => {
  const udp = refusing({ 67: "use" });
  await t.rejects(openAll(udp), { code: "PORT_IN_USE" });
  t.strictSame(udp.opened, [4011, 69]);
});

t.test("an error of another kind ends the start at once", async (t) => {
  const udp = refusing({});
  const missing = async () => {
    throw DeviceNotFound({ device: "lab7", known: ["lab0"] });
  };
  await t.rejects(
    createPortOpener(udp, config).open([missing, async () => void t.fail("the next one is started")]),
    {
      code: "DEVICE_NOT_FOUND",
    },
  );
});

t.test("when the server is up, a refused port is the caller's own error", async (t) => {
  const opener = createPortOpener(refusing({ 67: "use" }), config);
  await opener.open([]);
  await t.rejects(opener.udp.bind({ port: 67 }), {
    code: "PORT_IN_USE",
    message: "in use by another program: udp port 67",
  });
});

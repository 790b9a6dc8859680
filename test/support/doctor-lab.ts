import { createSocket } from "node:dgram";
import type { Test } from "tap";
import type { DoctorView } from "../../server/cli/commands/doctor.ts";
import { encodeMessage } from "../../server/dhcp/wire/message.ts";
import type { BootStepName } from "../../server/domain/boot.ts";
import { type RequestShape, requestMessage } from "./dhcp-messages.ts";
import { until } from "./dhcp-lab.ts";
import { loopbackOf, type ServerOptions, startServer } from "./http-fixture.ts";
import { ManualClock } from "./manual-clock.ts";
import { macOf } from "./samples.ts";

/** A segment behind a relay agent, for a server that gives the addresses. */
const behindRelay = {
  "dhcp.subnets": [{ subnet: "10.0.0.0/24", range: "10.0.0.10-10.0.0.20", relay: ["127.0.0.1"] }],
};

/** The whole server on loopback with DHCP and TFTP, on a clock of the test's; machines are raw packets and HTTP requests. */
export async function doctorLab(
  t: Test,
  {
    mode = "proxy",
    settings = {},
    ...options
  }: ServerOptions & { mode?: "off" | "proxy" | "authoritative" } = {},
) {
  const clock = new ManualClock(Date.now());
  const server = await startServer(t, {
    ...options,
    clock,
    settings: {
      "dhcp.mode": mode,
      "dhcp.port": 0,
      "dhcp.pxePort": 0,
      ...(mode === "authoritative" ? behindRelay : {}),
      ...settings,
    },
  });
  const portOf = (service: string) =>
    server.app.addresses.dhcp.find((one) => one.service === service)?.port ?? 0;
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  t.teardown(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  let xid = 1;

  async function doctor(machine: string): Promise<DoctorView> {
    const { status, json, text } = await server.api("GET", `/machines/${machine}/doctor`);
    if (status !== 200) throw new Error(text);
    return json as unknown as DoctorView;
  }

  return {
    ...server,
    clock,
    doctor,
    first: async (machine: string) => (await doctor(machine)).diagnoses[0],
    codes: async (machine: string) => (await doctor(machine)).diagnoses.map(({ code }) => code),
    later: (seconds: number) => clock.advanceMs(seconds * 1000),

    /** Sends a DHCP message in the name of a machine. */
    dhcp(number: number, shape: Omit<RequestShape, "mac">, port: 67 | 4011 = 67): void {
      const giaddr = mode === "authoritative" && port === 67 ? { giaddr: "127.0.0.1" } : {};
      const message = requestMessage({ mac: macOf(number), xid: xid++, ...giaddr, ...shape });
      socket.send(encodeMessage(message), portOf(port === 67 ? "dhcp" : "pxe"), "127.0.0.1");
    },

    /** Waits until the action has brought a machine to this step. */
    async step(step: BootStepName, action: () => unknown): Promise<void> {
      const passed = new Promise<void>((resolve) => {
        const leave = server.store.events.subscribe(({ type, data }) => {
          if (type !== "boot.step" || data["step"] !== step) return;
          leave();
          resolve();
        });
      });
      await action();
      await passed;
    },

    /** Orders a machine to start, as `boot power` does. Magic packets go nowhere: the sockets may not broadcast. */
    async order(machine: string, action: "on" | "cycle"): Promise<void> {
      let isGiven = false;
      const leave = server.store.events.subscribe(({ type }) => void (isGiven ||= type === "machine.power"));
      const { status, text } = await server.api("POST", "/power", { machines: machine, action });
      if (status >= 300) throw new Error(text);
      await until(() => {
        clock.advanceMs(100);
        return isGiven;
      }, `the order to ${machine}`);
      leave();
    },

    /** Waits until the doctor sees it; for packets that are no step of a boot. */
    async seen(machine: string, code: string): Promise<DoctorView> {
      let view = await doctor(machine);
      let asked = Promise.resolve();
      await until(
        () => {
          asked = asked.then(async () => void (view = await doctor(machine)));
          return view.diagnoses[0]?.code === code;
        },
        `${code} instead of ${view.diagnoses.map((one) => one.code).join()}`,
      );
      await asked;
      return view;
    },

    /** A read request from the machine's address, and at most one answer to what comes. Ends when nothing more is to be waited for. */
    async readRequest(
      number: number,
      file: string,
      { options = "", answer }: { options?: string; answer?: Uint8Array } = {},
    ): Promise<void> {
      const client = createSocket("udp4");
      await new Promise<void>((resolve) => client.bind(0, loopbackOf(number), resolve));
      t.teardown(() => new Promise<void>((resolve) => client.close(() => resolve())));
      const heard = new Promise<{ port: number; address: string }>((resolve) =>
        client.once("message", (_datagram, from) => resolve(from)),
      );
      const request = Buffer.from(`\0\u0001${file}\0octet\0${options}`);
      const port = server.app.addresses.tftp[0]?.port ?? 0;
      client.send(request, port, "127.0.0.1");
      const from = await heard;
      if (answer) {
        const next = new Promise<void>((resolve) => client.once("message", () => resolve()));
        client.send(answer, from.port, from.address);
        await next;
      }
    },

    /** The machine's address becomes known by its script, as that of a first boot. */
    async bootedBefore(number: number): Promise<void> {
      await server.script(number);
      clock.advanceMs(6 * 60_000);
    },
  };
}
export type DoctorLab = Awaited<ReturnType<typeof doctorLab>>;

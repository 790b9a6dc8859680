import { setTimeout as sleep } from "node:timers/promises";
import type { Test } from "tap";
import type { Log } from "../../server/domain/capabilities.ts";
import type { DhcpContact } from "../../server/domain/contact.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Mac } from "../../server/net/mac.ts";
import { createDhcpServer, type DhcpServerDeps } from "../../server/dhcp/server.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { ip } from "./dhcp-messages.ts";
import { createDhcpRelay } from "./dhcp-relay.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMemoryLeases } from "./memory-leases.ts";

const subnet = parseCidr("10.0.0.0/16");
if (!subnet) throw new Error("bad CIDR");

export interface LogEntry {
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

export function recordingLog(): Log & { entries: LogEntry[] } {
  const entries: LogEntry[] = [];
  const write = (level: string) => (fields: Record<string, unknown>, message: string) =>
    void entries.push({ level, message, fields });
  return {
    entries,
    debug() {},
    info() {},
    warn: write("warn"),
    error: write("error"),
    child: () => silentLog,
  };
}

/** A server on loopback with a relay agent before it; `last` is the last address of the pool, which begins at 10.0.0.10. */
export async function createDhcpLab(
  t: Test,
  { last = "10.0.0.250", ...more }: Partial<DhcpServerDeps> & { last?: string } = {},
) {
  const clock = new ManualClock();
  const log = recordingLog();
  const leases = createMemoryLeases();
  const contacts: DhcpContact[] = [];
  const relay = await createDhcpRelay();
  t.teardown(() => relay.close());
  const reservations = new Map<Mac, Ipv4>();
  const server = createDhcpServer({
    udp: createUdp({ log: silentLog, clock }),
    clock,
    log,
    mode: "authoritative",
    interfaces: [{ address: ip("127.0.0.1") }],
    port: 0,
    pxePort: 0,
    subnets: [
      {
        subnet: subnet as NonNullable<typeof subnet>,
        range: { from: ip("10.0.0.10"), to: ip(last) },
        leaseSeconds: 3600,
        relay: [ip("127.0.0.1")],
      },
    ],
    leases,
    machines: {
      reservationOf: (mac) => reservations.get(mac),
      ownerOf: (address) => [...reservations].find(([, reserved]) => reserved === address)?.[0],
      mayNetboot: () => true,
    },
    nbp: { available: new Set(["undionly.kpxe", "snponly.efi"]) },
    urls: (address) => ({
      script: `http://${address}/boot.ipxe`,
      nbp: (name) => `http://${address}/nbp/${name}`,
    }),
    onContact: (contact) => contacts.push(contact),
    relayPort: relay.port,
    ...more,
  });
  t.teardown(async () => {
    await Promise.race([server.stop(), sleep(100).then(() => clock.advanceMs(10_000))]);
    await server.stop();
  });
  await server.start();
  const [dhcp = 0, pxe = 0] = server.addresses.map(({ port }) => port);
  return { server, clock, log, leases, contacts, relay, reservations, dhcp, pxe };
}

/** Waits for what other turns of the event loop bring about. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error(`waited in vain for ${what}`);
}

/**
 * A DHCP server with leases in memory, as a process of its own: run inside a network namespace by the tests with real
 * DHCP clients. Its one argument is a JSON `DhcpProcessOptions`; it prints `{"ready":[...]}` and then one line per
 * contact, and ends when its standard input does.
 */
import { createDhcpServer } from "../../server/dhcp/server.ts";
import type { Udp } from "../../server/domain/capabilities.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { parseNeighbours } from "../../server/boot/who-asks.ts";
import { createNeighbourReader } from "../../server/platform/neighbours.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { createLogger } from "../../server/platform/logger.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { createMemoryLeases } from "./memory-leases.ts";

export interface DhcpProcessOptions {
  readonly mode: "off" | "proxy" | "authoritative";
  readonly device: string;
  readonly address: string;
  readonly subnet?: {
    cidr: string;
    from: string;
    to: string;
    router?: string;
    dns?: string[];
    domain?: string;
    leaseSeconds: number;
  };
  readonly reservations?: Readonly<Record<string, string>>;
  /** Packets without these octets (a vendor class, say) are not heard. */
  readonly only?: string;
}

const options = JSON.parse(process.argv[2] ?? "{}") as DhcpProcessOptions;
const log = createLogger(process.env["TEST_LOG_LEVEL"] ?? "warn");
const readNeighbourTable = createNeighbourReader(log);
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const reservations = new Map(Object.entries(options.reservations ?? {}));

/** Sockets that hear only what `only` is in. */
function deafTo(udp: Udp, only: string | undefined): Udp {
  if (only === undefined) return udp;
  return {
    async bind(binding) {
      const socket = await udp.bind(binding);
      return {
        ...socket,
        onMessage: (handler) =>
          socket.onMessage((datagram, from) => {
            if (Buffer.from(datagram).includes(only)) handler(datagram, from);
          }),
      };
    },
  };
}

const { subnet } = options;
const cidr = subnet && parseCidr(subnet.cidr);
const server = createDhcpServer({
  udp: deafTo(createUdp({ log, clock: systemClock }), options.only),
  clock: systemClock,
  log,
  mode: options.mode,
  interfaces: [{ device: options.device, address: options.address as Ipv4 }],
  port: 67,
  pxePort: 4011,
  subnets:
    subnet && cidr
      ? [
          {
            subnet: cidr,
            range: { from: subnet.from as Ipv4, to: subnet.to as Ipv4 },
            router: subnet.router as Ipv4 | undefined,
            dns: subnet.dns as Ipv4[] | undefined,
            domain: subnet.domain,
            leaseSeconds: subnet.leaseSeconds,
          },
        ]
      : [],
  leases: createMemoryLeases(),
  machines: {
    reservationOf: (mac) => reservations.get(mac) as Ipv4 | undefined,
    ownerOf: () => undefined,
    mayNetboot: () => true,
  },
  nbp: { available: new Set(["undionly.kpxe", "snponly.efi", "ipxe-arm64.efi"]) },
  urls: (address) => ({
    script: `http://${address}:8080/boot.ipxe`,
    nbp: (name) => `http://${address}:8080/nbp/${name}`,
  }),
  onContact: (contact) => say({ contact }),
  record: (event) => say({ event }),
  neighbours: () => parseNeighbours(readNeighbourTable()),
});

await server.start();
say({ ready: server.addresses });
process.stdin.on("end", () => void server.stop().then(() => process.exit(0)));
process.stdin.resume();

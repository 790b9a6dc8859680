import type { Config } from "./config/schema.ts";
import type { Udp, UdpSocket } from "./domain/capabilities.ts";
import { PortInUse, PortNotPermitted, type RefusedPort } from "./domain/error-catalogue.ts";
import type { RollcallError } from "./domain/errors.ts";

/** Opens all listeners before it complains, so that whoever starts the server hears at once of every port that it can't have. */
export interface PortOpener {
  /** For the listeners: while they are being opened, a refused port is noted and a socket that does nothing stands in for it. */
  readonly udp: Udp;
  /** Starts one listener after the other. @throws PortNotPermitted, PortInUse naming all refused ports; what did open stays open */
  open(starts: readonly (() => Promise<void>)[]): Promise<void>;
}

export function createPortOpener(udp: Udp, config: Pick<Config, "dhcp" | "tftp">): PortOpener {
  let notPermitted: RefusedPort[] = [];
  let inUse: RefusedPort[] = [];
  let isOpening = false;

  /** @returns whether the error is one of a refused port, which is told later */
  function note(error: unknown, binding: Pick<RefusedPort, "key" | "device">): boolean {
    if (!PortNotPermitted.is(error) && !PortInUse.is(error)) return false;
    for (const port of refusedPorts(error))
      (PortInUse.is(error) ? inUse : notPermitted).push({ ...binding, ...port });
    return true;
  }

  return {
    udp: {
      async bind(binding) {
        try {
          return await udp.bind(binding);
        } catch (error) {
          const key = udpKey(config, binding.port);
          if (!isOpening || !note(error, { key, device: binding.device })) throw error;
          return socketThatIsNotThere(binding.port);
        }
      },
    },
    async open(starts) {
      [notPermitted, inUse, isOpening] = [[], [], true];
      try {
        for (const start of starts)
          await start().catch((error: unknown) => {
            if (!note(error, {})) throw error;
          });
      } finally {
        isOpening = false;
      }
      if (notPermitted.length > 0) throw PortNotPermitted({ ports: notPermitted, inUse });
      if (inUse.length > 0) throw PortInUse({ ports: inUse });
    },
  };
}

function refusedPorts({ details }: RollcallError): readonly RefusedPort[] {
  return "ports" in details ? (details["ports"] as RefusedPort[]) : [details as unknown as RefusedPort];
}

function udpKey({ dhcp, tftp }: Pick<Config, "dhcp" | "tftp">, port: number): string | undefined {
  if (port === dhcp.port) return "dhcp.port";
  if (port === dhcp.pxePort) return "dhcp.pxePort";
  return port === tftp.port ? "tftp.port" : undefined;
}

function socketThatIsNotThere(port: number): UdpSocket {
  return { local: { address: "0.0.0.0", port }, send() {}, onMessage() {}, async close() {} };
}

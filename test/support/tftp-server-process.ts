/**
 * Our TFTP server alone, as a process that serves a directory, for network namespaces: the tests' and the benchmarks'.
 * Run with one argument, a TftpProcess as JSON; prints "listening", and a JSON line for each ended transfer where asked.
 */
import { parseCidr } from "../../server/net/cidr.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { createLogger } from "../../server/platform/logger.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { directoryRoute } from "../../server/tftp/file-routes.ts";
import type { TftpLimits } from "../../server/tftp/admission.ts";
import { startTftpThread } from "../../server/tftp-thread.ts";
import { createTftpServer } from "../../server/tftp/server.ts";

export interface TftpProcess {
  readonly root: string;
  readonly device: string;
  readonly address: string;
  readonly tells?: boolean;
  readonly singlePort?: boolean;
  readonly clients?: readonly string[];
  readonly limits?: Partial<TftpLimits>;
  /** Transfers are played by the main thread, as where koffi is missing. */
  readonly mainThread?: boolean;
}

/** The words that start it, after the program of Node. */
export function tftpProcessWords(what: TftpProcess): string[] {
  return ["--disable-warning=ExperimentalWarning", import.meta.filename, JSON.stringify(what)];
}

async function serve(what: TftpProcess): Promise<void> {
  const log = createLogger("error");
  const tell = (line: object) => what.tells === true && process.stdout.write(`${JSON.stringify(line)}\n`);
  const udp = createUdp({ log, clock: systemClock });
  const thread =
    what.mainThread === true ? undefined : await startTftpThread({ udp, clock: systemClock, log });
  const server = createTftpServer({
    udp,
    engine: thread?.engine,
    clock: systemClock,
    log,
    bindings: [{ device: what.device, address: what.address as Ipv4, port: 69 }],
    routes: [directoryRoute(what.root, undefined)],
    singlePort: what.singlePort === true,
    clients: what.clients?.map(parseCidr).filter((cidr) => cidr !== undefined),
    limits: what.limits ?? {},
    onContact: tell,
    onFallback: (fallback) => tell({ fallback }),
  });
  await server.start();
  process.stdout.write("listening\n");
  process.once("SIGTERM", () => void server.stop().then(() => process.exit(0)));
}

const [, program, words] = process.argv;
if (program === import.meta.filename && words !== undefined) await serve(JSON.parse(words) as TftpProcess);

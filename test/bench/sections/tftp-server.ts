/**
 * Our TFTP server alone, as a process that serves a directory: the first stages of a whole server are a few hundred kilobytes,
 * too short to measure. Run with two arguments, directory and address; started by `startTftpRollcall`.
 */
import { systemClock } from "../../../server/platform/clock.ts";
import { createLogger } from "../../../server/platform/logger.ts";
import { createUdp } from "../../../server/platform/udp.ts";
import type { Ipv4 } from "../../../server/net/ipv4.ts";
import { directoryRoute } from "../../../server/tftp/file-routes.ts";
import { createTftpServer } from "../../../server/tftp/server.ts";
import { type BenchLab, type Running, serverAddress, serverDevice } from "../bench-lab.ts";

export function startTftpRollcall(
  lab: BenchLab,
  root: string,
  profile: string | undefined,
): Promise<Running> {
  const profiling = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
  const words = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    ...profiling,
    import.meta.filename,
  ];
  return lab.serve([...words, root, serverAddress], { ready: /listening/ });
}

async function serve(root: string, address: Ipv4): Promise<void> {
  const log = createLogger("warn");
  const server = createTftpServer({
    udp: createUdp({ log, clock: systemClock }),
    clock: systemClock,
    log,
    bindings: [{ device: serverDevice, address, port: 69 }],
    routes: [directoryRoute(root, undefined, { name: "bench" })],
  });
  await server.start();
  process.stdout.write("listening\n");
  process.once("SIGTERM", () => void server.stop().then(() => process.exit(0)));
}

const [, program, root, address] = process.argv;
if (program === import.meta.filename && root !== undefined) await serve(root, address as Ipv4);

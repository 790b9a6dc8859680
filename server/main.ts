import { existsSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { createApp } from "./app.ts";
import { type ConfigSources, loadConfig, refuseOwnAddresses } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { shareConnections } from "./domain/connection-shares.ts";
import type { Event } from "./domain/event.ts";
import { dashboardPath } from "./http/dashboard/pages.ts";
import type { KeptRegistry } from "./kept-registry.ts";
import { createRouterDiscovery } from "./ndp/router-discovery.ts";
import { readVersion, root } from "./platform/checkout.ts";
import { systemClock } from "./platform/clock.ts";
import { systemIds } from "./platform/ids.ts";
import { createLineWriter } from "./platform/line-writer.ts";
import { openIcmp6 } from "./platform/icmp6-socket.ts";
import { createLogger } from "./platform/logger.ts";
import { forwardsIpv6, servedInterfaces } from "./platform/network-devices.ts";
import { createNeighbourReader } from "./platform/neighbours.ts";
import { openFileLimit } from "./platform/open-file-limit.ts";
import { tidyHeap } from "./platform/tidy-heap.ts";
import { openFileSender } from "./platform/send-file.ts";
import { createUdp } from "./platform/udp.ts";
import { stopOnSignals } from "./stop-signals.ts";
import { startTftpThread } from "./tftp-thread.ts";

/** A command of this server's, as it works from the directory that the server was started in. */
export function commandFor(dataDir: string, from = process.cwd(), command = "status"): string {
  const quoted = (path: string) => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`);
  const checkout = resolve(from) === root ? "" : ` --prefix ${quoted(root)}`;
  const data = resolve(dataDir);
  return `npm run${checkout} boot -- ${data === resolve(root, "data") ? "" : `--data ${quoted(data)} `}${command}`;
}

/** How to get into the dashboard, or why that is no use yet. */
const signInHint = (dataDir: string): string =>
  existsSync(resolve(root, "dist/web/index.html"))
    ? `sign in with a token, or by a link: ${commandFor(dataDir, process.cwd(), "dashboard")}`
    : "not built: npm run boot-assets builds it, or says what is wrong";

/** Where images and their signatures are; empty: the registry is switched off. */
export function registryLine(
  { registry, services, address }: Pick<Config, "registry" | "services" | "address">,
  ownAddress: string,
  { registryPort, registryTlsPort, lookasidePort }: Partial<KeptRegistry["ports"]>,
): string {
  if (registryPort === undefined) return "";
  const place = services.address ?? address ?? ownAddress;
  return `  Registry ${registry.host} at ${place}:${registryPort}, over TLS at ${place}:${registryTlsPort}; lookaside of signatures at ${place}:${lookasidePort}\n`;
}

/** `boot serve`: config -> app -> signals. Returns the exit code when the server has ended. */
export async function serve(sources: ConfigSources): Promise<number> {
  // The store's reads of large assets wait in libuv's pool; four threads are too few for a room.
  process.env["UV_THREADPOOL_SIZE"] ??= "16";
  const loaded = loadConfig(sources);
  const { config } = loaded;
  const interfaces = servedInterfaces(config.interfaces);
  refuseOwnAddresses(
    loaded,
    interfaces.map(({ address }) => address),
  );
  process.umask(0o077);
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const log = createLogger(config.log.level);
  const { mode, endRouterDiscovery } = config.dhcp;
  const endsIt =
    mode !== "off" &&
    (endRouterDiscovery === "auto" ? mode === "authoritative" : endRouterDiscovery === "always");
  const routers = await createRouterDiscovery(endsIt ? interfaces.map(({ device }) => device) : [], {
    open: openIcmp6,
    log,
    isRouter: (device) => endRouterDiscovery === "auto" && forwardsIpv6(device),
  });
  const udp = createUdp({ log, clock: systemClock });
  const tftpThread = await startTftpThread({ udp, clock: systemClock, log });
  const hasCluster = config.cluster.kubernetesVersion !== undefined;
  const app = await createApp({
    connections: shareConnections(openFileLimit(), {
      https: hasCluster,
      endpoint: hasCluster && config.cluster.loadBalancer,
      registry: config.registry.enabled,
    }),
    onIpxe: routers.end,
    config,
    interfaces,
    root,
    clock: systemClock,
    ids: systemIds,
    log,
    udp,
    fileSender: await openFileSender(),
    tftpEngine: tftpThread?.engine,
    readNeighbourTable: createNeighbourReader(log),
    version: readVersion(),
  });
  tidyHeap();
  try {
    await app.start();
  } catch (error) {
    await app.stop().catch(() => undefined);
    await tftpThread?.stop();
    throw error;
  }
  const ended = stopOnSignals(
    process,
    async () => {
      await app.stop();
      await tftpThread?.stop();
    },
    (error) => log.error({ err: error }, "failed to stop cleanly"),
  );
  const token = await app.ensureAdminToken();
  const served = interfaces.map(({ device, address }) => `${device} (${address})`).join(", ");
  // A full disk under the output is no reason to end.
  process.stderr.on("error", () => undefined);
  const output = createLineWriter(1, () => "");
  output.write(`Rollcall is up: ${app.publicUrl()}/\n`);
  output.write(`  Dashboard: ${app.publicUrl()}${dashboardPath} (${signInHint(config.dataDir)})\n`);
  output.write(`  DHCP ${config.dhcp.mode} and TFTP on ${served}; data in ${resolve(config.dataDir)}\n`);
  output.write(registryLine(config, interfaces[0]?.address ?? "127.0.0.1", app.addresses));
  if (config.cluster.kubernetesVersion !== undefined)
    output.write(
      `  Cluster ${config.cluster.name} of Kubernetes ${config.cluster.kubernetesVersion}; agents on port ${config.https.port}. boot cluster show has its endpoint\n`,
    );
  if (token) output.write(`  Admin token, shown this once: ${token}\n`);
  output.write(`  Try: ${commandFor(config.dataDir)}\n`);
  for (const warning of app.warnings) output.write(`  Warning: ${warning}\n`);
  // Whoever sits at this terminal sees the roll being answered; everything else is in `boot events`.
  app.store.events.subscribe((event) => {
    if (isWorthALine(event))
      output.write(
        `${new Date(event.at).toISOString().slice(11, 19)}  ${event.level === "info" ? "" : `${event.level.toUpperCase()} `}${event.message}\n`,
      );
  });

  return ended.finally(routers.close);
}

/** Who came, who is ready, and what went wrong. */
function isWorthALine({ type, level, data }: Event): boolean {
  if (type === "boot.step") return false;
  if (level !== "info" || type === "machine.discovered" || type === "boot.started") return true;
  return type === "machine.phase" && ["assigned", "ready", "failed", "lost"].includes(String(data["to"]));
}

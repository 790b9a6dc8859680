import { join } from "node:path";
import { makeAdminToken } from "./admin-token.ts";
import { createAddressBook } from "./boot/address-book.ts";
import { createBootService } from "./boot/boot-service.ts";
import { createAskerGate } from "./boot/asker-gate.ts";
import { createClaims } from "./boot/claims.ts";
import { createImageHolds } from "./boot/image-holds.ts";
import { createSightings } from "./boot/sightings.ts";
import { createBootTracker } from "./boot/tracker.ts";
import { parseNeighbours } from "./boot/who-asks.ts";
import type { Config } from "./config/schema.ts";
import { createAssetCollector } from "./content/asset-collector.ts";
import { createContentStore } from "./content/content-store.ts";
import { createRecentContent } from "./content/recent-content.ts";
import { configuredNodes } from "./configured-cluster.ts";
import { createRateLimitedLog } from "./domain/rate-limited-log.ts";
import { createDhcpServer } from "./dhcp/server.ts";
import { preferDriver } from "./domain/boot-preferences.ts";
import type { Clock, FileSender, Ids, Log, Udp } from "./domain/capabilities.ts";
import type { ConnectionShares } from "./domain/connection-shares.ts";
import { NotReady } from "./domain/error-catalogue.ts";
import { steadyClock } from "./domain/steady-clock.ts";
import type { NewEvent } from "./domain/event.ts";
import type { Machine } from "./domain/machine.ts";
import { buildHttpServer } from "./http/build-server.ts";
import { createLoginFailures } from "./http/login-failures.ts";
import { createInventory } from "./inventory/inventory.ts";
import type { Ipv4 } from "./net/ipv4.ts";
import type { Mac } from "./net/mac.ts";
import { keepChanges, keepExams } from "./kept-changes.ts";
import { keepCluster, openCluster } from "./kept-cluster.ts";
import { keepDoctor } from "./kept-doctor.ts";
import { keepPower } from "./kept-power.ts";
import { type KeptOperationsDeps, keepOperations } from "./kept-operations.ts";
import { keepRegistry, withoutRegistry } from "./kept-registry.ts";
import { keepSchedules } from "./kept-schedules.ts";
import { createPortOpener } from "./open-ports.ts";
import { createRenderer, loadStandardTemplates } from "./render/documents.ts";
import { remember } from "./reread.ts";
import { createRoleReader } from "./render/role-reader.ts";
import { openFirstFiles, serveFirstFiles } from "./first-files.ts";
import { readSubnet, type ServedInterface, warnOfSubnets } from "./served-networks.ts";
import { lockData } from "./store/data-lock.ts";
import { openStore } from "./store/open-store.ts";
import { createRepeatedAlarms } from "./store/repeated-alarms.ts";
import type { TransferEngine } from "./tftp/player.ts";

export interface AppDeps extends Pick<KeptOperationsDeps, "power" | "operationLimits"> {
  readonly config: Config;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly udp: Udp;
  /** Plays TFTP transfers; the sockets of `udp` do unless told otherwise. */
  readonly tftpEngine?: TransferEngine | undefined;
  readonly fileSender?: FileSender | undefined;
  /** Served interfaces with the address that machines there reach us by. */
  readonly interfaces: readonly ServedInterface[];
  readonly readNeighbourTable: () => string;
  /** Of each listener; undefined: as many as a server ever has. */
  readonly connections?: ConnectionShares | undefined;
  /** An iPXE begins on this device. */
  readonly onIpxe?: (device: string, mac: Mac) => void;
  /** The checkout: templates/ and boot-assets/ lie in it. */
  readonly root: string;
  readonly version: string;
}

/** How often boots without a sign of life are looked for, ms. */
const sweepEveryMs = 30_000;
/** Log lines that anybody's packets can cause: one of a kind per this time, with the number of those left out, ms. */
const strangersLogEveryMs = 60_000;

/** The whole wiring on one screen. Nothing listens before `start`. */
export async function createApp(deps: AppDeps) {
  const { config, clock, ids, log, interfaces, root } = deps;
  const { udp, open } = createPortOpener(deps.udp, config);
  const storePath = config.store.url?.slice("sqlite:".length) ?? join(config.dataDir, "rollcall.db");
  const locks = [
    lockData(join(config.dataDir, "rollcall.lock"), config.dataDir),
    lockData(`${storePath}-lock`, storePath),
  ];
  const store = openStore(storePath, clock);
  const content = createContentStore(join(config.dataDir, "blobs"));
  await content.sweepUploads();
  const recentContent = createRecentContent(content, clock);
  const { assets, problems, boardFiles, nbpNames } = openFirstFiles(deps);

  // What strangers can cause must fill neither the disk nor the log.
  const limitedLog = createRateLimitedLog(log, clock, strangersLogEveryMs);
  const alarms = createRepeatedAlarms(clock, (event: NewEvent): void => {
    store.events
      .append(event)
      .catch((error: unknown) =>
        limitedLog.warn({ err: error, type: event.type }, "failed to record an event"),
      );
  });
  const { record } = alarms;
  const roleDirectories = [
    join(root, "templates/roles"),
    ...(config.rolesDir === undefined ? [] : [config.rolesDir]),
  ];
  const roles = remember(clock, createRoleReader(roleDirectories));
  for (const problem of roles().problems) log.warn({ ...problem }, "a role is broken and left out");
  const renderer = createRenderer(loadStandardTemplates(join(root, "templates")), config.boot.afterFailures);

  const tracker = createBootTracker({
    clock,
    ids,
    log,
    machines: store.machines,
    boots: store.boots,
    record,
    announce: store.events.announce,
  });
  const inventory = createInventory({
    clock,
    ids,
    log: limitedLog,
    record,
    ...store,
    forgetBoots: tracker.forget,
    onChange: followRole,
  });
  const addresses = createAddressBook(clock);
  const gate = createAskerGate({ record, addresses, readNeighbourTable: deps.readNeighbourTable });
  const isRegistered = (mac: Mac) => inventory.findByMac(mac)?.acceptedAt !== undefined;
  const sightings = createSightings({ clock, isKnown: isRegistered, macAt: addresses.macAt });
  const claims = createClaims({
    clock: steadyClock(clock),
    ids,
    claims: store.claims,
    record,
    judgeAddress: (address, { mac, machineId }) =>
      gate.judge(address, [mac, ...(store.machines.find(machineId)?.macs ?? [])]),
  });
  for (const lease of store.leases.all())
    if (lease.state === "bound" && lease.expiresAt > clock.now()) addresses.learn(lease.address, lease.mac);
  // Machines in the middle of a boot when the server ended are known by their claims.
  for (const claim of store.claims.all()) addresses.learn(claim.address, claim.mac);
  const holds = createImageHolds(clock, store.claims);
  const ownAddresses = interfaces.map(({ address }) => address);
  const opened = await openCluster(config, clock, ownAddresses);
  const watched = { record, sightings, failures: createLoginFailures({ clock, record }) };
  const kept = { ...watched, content, store, authority: opened?.authorities.agent, ownAddresses, roles };
  const registry = await keepRegistry({ ...deps, ...kept, isAsset: (one) => collector.needs(one) });
  const collector = createAssetCollector({
    clock,
    log,
    record,
    content: withoutRegistry(content, registry.service.keeps),
    images: store.images,
    loading: holds.digests,
    rules: config.assets,
  });
  const changing = { clock, ids, record, store, inventory, roles, onChange: followRole };
  const exams = keepExams(changing, { boots: () => boots, operations: () => long.operations });
  const power = await keepPower({ ...deps, store, record, addresses, roles });
  const boots = createBootService({
    exams,
    sshKey: power.sshKey,
    nodes: await configuredNodes(config, {
      ids,
      serverAddress: interfaces[0]?.address,
      pathOf: content.pathOf,
      images: registry.clientSettings,
      parts: (_role, family) => (opened ? [opened.agent(family, http.tlsPort ?? config.https.port)] : []),
    }),
    ids,
    log,
    record,
    inventory,
    claims,
    tracker,
    addresses,
    renderer,
    roles,
    assignments: store.assignments,
    images: store.images,
    gate,
    holds,
    hasContent: async (sha256) => (await recentContent.find(sha256)) !== undefined,
    unknownMachines: config.unknownMachines,
    defaultRole: config.defaultRole,
    hearsDhcp: config.dhcp.mode !== "off",
    localBoot: config.boot.localBoot,
    // A program with drivers of its own may speak by another card of the machine than its firmware.
    onProgress: (mac, progress) => {
      for (const one of inventory.findByMac(mac)?.macs ?? [mac]) dhcp.machineProgressed(one, progress);
    },
  });
  const changes = keepChanges(changing, boots, exams);
  const scheduling = keepSchedules({ ...deps, ...changing, ...changes, exams }, () => long.operations);
  function followRole(machine: Machine): void {
    const hasRole = boots.select(machine).source !== "unknown-policy";
    tracker.advance(machine.id, hasRole ? "role.assigned" : "role.released");
  }

  const driverOf = (machine: Machine | undefined) =>
    preferDriver(machine, machine && inventory.groupOf(machine), config.boot.driver);

  let isUp = false;
  let httpPort = config.http.port;
  const urlFor = (address: Ipv4) => `http://${config.address ?? address}:${httpPort}`;
  const publicUrl = () => urlFor(interfaces[0]?.address ?? ("127.0.0.1" as Ipv4));
  const cluster =
    opened &&
    keepCluster({
      ...deps,
      opened,
      record,
      store,
      boots,
      tracker,
      claims,
      inventory,
      nodeRoleOf: (role) => roles().roles.get(role)?.node,
    });
  const served = { record, store, boots, tracker, roles, publicUrl, cluster: cluster?.service, exams };
  const long = keepOperations({ ...power, ...deps, ...served });
  const http = await buildHttpServer({
    ...deps,
    ...store,
    ...power,
    ...long,
    ...registry.api,
    upstreams: registry.upstreams,
    cluster: cluster?.service,
    doctor: keepDoctor({ ...deps, store, boots, tracker, inventory, sightings, cluster }),
    tls: opened?.tls,
    ...watched,
    boots,
    tracker,
    renderer,
    content,
    inventory,
    ...changes,
    exams,
    scheduling,
    roles,
    publicUrl,
    driverOf: (machine) => ({
      ...driverOf(machine),
      learned: machine.macs.map((mac) => dhcp.driverFor(mac)).find((driver) => driver !== undefined),
    }),
    collector,
    registry,
    holds,
    bootHistory: store.boots,
    address: config.address,
    port: config.http.port,
    controlSocket: join(config.dataDir, "control.sock"),
    ready: async () => {
      if (!isUp) throw NotReady({});
      await store.probe();
    },
    names: config.http.names,
    nbp: (name) => {
      const asset = assets.get(name);
      return asset && { content: asset.content, sha256: asset.entry.sha256 };
    },
  });
  const dhcp = createDhcpServer({
    udp,
    clock,
    log,
    interfaces,
    mode: config.dhcp.mode,
    port: config.dhcp.port,
    pxePort: config.dhcp.pxePort,
    subnets: config.dhcp.subnets.map(readSubnet),
    leases: store.leases,
    machines: {
      reservationOf: inventory.reservationOf,
      ownerOf: inventory.ownerOf,
      mayNetboot: boots.mayNetboot,
      driverOf: (mac) => driverOf(inventory.findByMac(mac)).value,
      isRegistered,
      identify: inventory.findByMac,
    },
    record,
    strategies: store.bootStrategies,
    unknownShare: config.dhcp.unknownSharePercent / 100,
    raspberryPiDelayMs: config.dhcp.raspberryPiDelayMs,
    neighbours: () => parseNeighbours(deps.readNeighbourTable()),
    nbp: {
      get available() {
        return nbpNames();
      },
    },
    urls: (address) => ({
      script: `${urlFor(address)}/boot.ipxe`,
      nbp: (name) => `${urlFor(address)}/nbp/${name}`,
    }),
    onContact: (contact) => {
      const { speaker, message, device, mac } = contact;
      if (speaker === "ipxe" && message === "DISCOVER" && device !== undefined) deps.onIpxe?.(device, mac);
      sightings.packet(contact);
      boots
        .dhcpContact(contact)
        .catch((error: unknown) =>
          limitedLog.warn({ err: error, mac: contact.mac }, "failed to note a DHCP contact"),
        );
    },
  });
  const tftp = serveFirstFiles({
    ...deps,
    record,
    bindings: interfaces.map((served) => ({ ...served, port: config.tftp.port })),
    udp,
    urlFor,
    renderer,
    boots,
    inventory,
    macAt: (address) => addresses.macAt(address),
    assets,
    boardFiles,
  });

  let stopSweeping = () => {};
  const sweep = () => {
    tracker.sweep();
    alarms.sweep();
    exams.sweep().catch((error: unknown) => log.warn({ err: error }, "failed to end an exam"));
    stopSweeping = clock.after(sweepEveryMs, sweep);
  };

  return {
    store,
    publicUrl,
    bootAssetProblems: problems,
    /** What the config allows and hardly anybody means. */
    warnings:
      config.dhcp.mode === "authoritative"
        ? interfaces.flatMap((served) => warnOfSubnets(served, config))
        : [],

    /** Binds every listener. @throws PortInUse, PortNotPermitted, DeviceNotFound, DeviceBindingUnavailable */
    async start(): Promise<void> {
      await open([
        async () => void (httpPort = await http.start()),
        dhcp.start,
        tftp.start,
        async () => cluster?.start(),
        ...registry.starts,
      ]);
      isUp = true;
      log.info({ dhcp: dhcp.addresses, tftp: tftp.addresses, httpPort, ...registry.ports }, "listening");
      sweep();
      long.start();
      scheduling.start();
      collector.collectSoon();
      record({
        type: "server.started",
        message: `Rollcall ${deps.version} is up at ${publicUrl()}`,
        data: { interfaces: interfaces.map(({ device }) => device ?? "any"), dhcp: config.dhcp.mode },
      });
    },
    operations: long.operations,
    registryAuthorityPem: registry.authorityPem,
    upstreams: registry.upstreams,
    /** What was bound, for tests and for the line that `boot serve` prints. */
    get addresses() {
      return {
        httpPort,
        tlsPort: http.tlsPort,
        ...registry.ports,
        dhcp: dhcp.addresses,
        tftp: tftp.addresses,
      };
    },

    /** The admin token, made at the first start only. @returns its secret, or undefined when there is one already */
    ensureAdminToken: () => makeAdminToken(store.tokens, deps),

    async stop(): Promise<void> {
      isUp = false;
      stopSweeping();
      exams.stop();
      for (const part of [scheduling, long, dhcp, tftp, cluster, registry, http]) await part?.stop();
      tracker.flush();
      alarms.sweep({ all: true });
      record({ type: "server.stopped", message: "Rollcall stopped" });
      store.close();
      for (const lock of locks) lock.release();
    },
  };
}
export type App = Awaited<ReturnType<typeof createApp>>;

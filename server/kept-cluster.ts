/** The cluster that this server keeps: its keys, its etcd, its endpoint and its machines' way into it, put together. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { BootService } from "./boot/boot-service.ts";
import type { Claims } from "./boot/claims.ts";
import type { BootTracker } from "./boot/tracker.ts";
import { createBridgePodNetwork } from "./cluster/bridge-pod-network.ts";
import { type ClusterService, createClusterService } from "./cluster/cluster-service.ts";
import { createDeclaredObjects } from "./cluster/declared-objects.ts";
import { createEtcdOnServer, snapshotsOfServer } from "./cluster/etcd-on-server.ts";
import { createEtcdOnMasters } from "./cluster/etcd-on-masters.ts";
import { foreignNetwork } from "./cluster/pod-network.ts";
import type { ClusterEndpoint, ClusterEtcd } from "./cluster/ports.ts";
import { createDeclaredReader } from "./config/declared-files.ts";
import type { Config } from "./config/schema.ts";
import { clusterOf } from "./configured-cluster.ts";
import { apiServerPort, type ClusterSpec, formatKubernetesVersion } from "./domain/cluster.ts";
import type { Clock, Log } from "./domain/capabilities.ts";
import type { ConnectionShares } from "./domain/connection-shares.ts";
import { steadyClock } from "./domain/steady-clock.ts";
import { reasonAgainst } from "./domain/reserved-object.ts";
import { ClusterForeign } from "./domain/error-catalogue.ts";
import type { RecordEvent } from "./domain/event.ts";
import { type BackendState, createBackendHealth, type Probe } from "./endpoint/backend-health.ts";
import { createLoadBalancer } from "./endpoint/load-balancer.ts";
import { createEtcdSupervisor } from "./etcd/supervisor.ts";
import { createSnapshotKeeper } from "./etcd/snapshots.ts";
import type { TlsSettings } from "./http/tls-listener.ts";
import type { Inventory } from "./inventory/inventory.ts";
import { initArguments } from "./kubeadm/configuration.ts";
import { isEtcdTooOld } from "./kubeadm/etcd-version.ts";
import { createKubernetesClient } from "./kubernetes/client.ts";
import type { Target } from "./kubernetes/target.ts";
import { identifyCluster } from "./kubernetes/cluster-setup.ts";
import { createClusterHands } from "./kubernetes/cluster-hands.ts";
import { flannelManifests } from "./kubernetes/flannel.ts";
import { createObjectApplier } from "./kubernetes/object-applier.ts";
import type { Ipv4 } from "./net/ipv4.ts";
import { agentPart } from "./node/agent.ts";
import type { Family } from "./node/families.ts";
import type { NodePart } from "./node/node-spec.ts";
import { type ClusterAuthorities, openClusterAuthorities } from "./pki/cluster-authorities.ts";
import { issueServerClient, serverClientLifeMs } from "./pki/master-files.ts";
import { keepStudents } from "./kept-students.ts";
import { serverCertificates } from "./server-certificate.ts";
import type { ClusterRepository } from "./store/cluster.ts";
import type { StudentRepository } from "./store/students.ts";

export interface KeptClusterDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly opened: OpenedCluster;
  readonly store: { readonly cluster: ClusterRepository; readonly students: StudentRepository };
  readonly boots: BootService;
  readonly tracker: BootTracker;
  readonly claims: Claims;
  readonly inventory: Inventory;
  readonly connections?: ConnectionShares | undefined;
  /** What a role makes of a machine in the cluster. */
  readonly nodeRoleOf: (role: string) => "master" | "worker" | undefined;
}

/** Snapshots of the server's etcd. */
const snapshotEveryMs = 5 * 60_000;
const snapshotsKept = 24;
const drainMs = 2000;
/** How long an API server may take to say that it is ready, ms. */
const probeLimitMs = 4000;

/** A cluster with its keys, before anything runs. */
export interface OpenedCluster {
  readonly cluster: ClusterSpec;
  readonly authorities: ClusterAuthorities;
  /** By which the machines reach this server. */
  readonly serverAddress: Ipv4;
  /** What the HTTPS port shows to agents, and whom it believes. */
  readonly tls: TlsSettings;
  /** The agent on a machine. @param port of HTTPS */
  agent(family: Family, port: number): NodePart;
}

/**
 * Opens the keys that the cluster hangs on; made at the first start. Undefined: no cluster is configured.
 * @param addresses of this server, the first one for the machines @throws KeyFileRefused, SealBroken
 */
export async function openCluster(
  config: Config,
  clock: Clock,
  addresses: readonly Ipv4[],
): Promise<OpenedCluster | undefined> {
  const serverAddress = (config.address ?? addresses[0] ?? "127.0.0.1") as Ipv4;
  const cluster = clusterOf(config, serverAddress);
  if (!cluster) return undefined;
  const { passphraseFile } = config.cluster;
  const passphrase =
    passphraseFile === undefined ? undefined : readFileSync(passphraseFile, "utf8").trimEnd();
  const authorities = await openClusterAuthorities(
    { dataDirectory: config.dataDir, passphrase },
    { now: clock.now(), keyAlgorithm: cluster.keyAlgorithm },
  );
  const issue = serverCertificates(
    authorities.agent,
    { dnsNames: [], addresses: [serverAddress, ...addresses] },
    { clock, keyAlgorithm: cluster.keyAlgorithm },
  );
  return {
    cluster,
    authorities,
    serverAddress,
    tls: {
      port: config.https.port,
      credentials: async () => ({ ...(await issue()), authorityPem: authorities.agent.certificatePem }),
    },
    agent: (family, port) =>
      agentPart(family, {
        httpsUrl: `https://${serverAddress}:${port}`,
        authorityPem: authorities.agent.certificatePem,
      }),
  };
}

export interface KeptCluster {
  readonly service: ClusterService;
  /** Binds the endpoint's port, where it is ours. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function keepCluster(deps: KeptClusterDeps): KeptCluster {
  const { config, clock, log, record, boots } = deps;
  const store = deps.store.cluster;
  const { cluster, authorities } = deps.opened;
  const settings = config.cluster;
  const client = (rights: "bootstrap" | "operator") =>
    createKubernetesClient({
      target: (): Target => readyTarget() ?? cluster.endpoint,
      serverName: "kubernetes",
      authorityPem: authorities.cluster.certificatePem,
      issueIdentity: () => issueServerClient(authorities, { cluster, now: clock.now(), rights }),
      identityLifeMs: serverClientLifeMs,
      clock,
    });
  const operator = client("operator");
  const bootstrap = client("bootstrap");
  const probe: Probe = async ({ address, port }) => {
    const began = clock.monotonicMs();
    try {
      await operator.healthz({ host: address, port }, probeLimitMs);
      return "ready";
    } catch (error) {
      if (clock.monotonicMs() - began >= probeLimitMs) return "slow";
      throw error;
    }
  };
  const random = Math.random;
  const onChange = (backend: { id: string; state: string; reason: string | undefined }) =>
    log.info({ master: backend.id, state: backend.state, reason: backend.reason }, "an API server");
  const balancer = settings.loadBalancer
    ? createLoadBalancer({
        port: cluster.endpoint.port,
        probe,
        clock,
        log,
        random,
        onChange,
        ...(deps.connections && { maxConnections: deps.connections.endpoint }),
      })
    : undefined;
  const health = balancer ? undefined : createBackendHealth({ probe, clock, random, onChange });
  const backends = (): readonly BackendState[] => balancer?.state().backends ?? health?.states() ?? [];
  const readyTarget = (): Target | undefined => {
    const ready = backends().find(({ state }) => state === "ready");
    return ready && { host: ready.address, port: ready.port };
  };
  const endpoint: ClusterEndpoint = {
    setMasters(masters) {
      const found = masters.map(({ address }) => ({ address, port: apiServerPort }));
      if (balancer) balancer.setBackends(found);
      else health?.set(found);
    },
    readyMasters: () => backends().filter(({ state }) => state === "ready").length,
  };

  const hands = createClusterHands({
    bootstrap,
    operator,
    cluster,
    clock,
    onAutoApproval: () =>
      log.info({}, "Kubernetes' own approval of joining machines was there, and is taken away"),
    onFlood: () =>
      record({
        type: "cluster.problem",
        level: "alarm",
        message: "there are more certificate requests than are looked at: somebody makes them in a loop",
      }),
  });
  const api = {
    ...hands,
    async setUp(): Promise<void> {
      const identity = await identifyCluster(bootstrap, cluster, authorities.cluster.certificatePem);
      // Another name or network in the config does not change what was made with the old one.
      if (identity.kind === "foreign") throw ClusterForeign({ differences: identity.differences });
      await hands.setUp();
      if (settings.network !== "flannel") return;
      const image = settings.flannelImage ?? "docker.io/flannel/flannel:v0.26.7";
      const pluginImage =
        settings.flannelPluginImage ?? "docker.io/flannel/flannel-cni-plugin:v1.6.2-flannel1";
      for (const manifest of flannelManifests({ cluster, image, pluginImage }))
        await bootstrap.apply(manifest.kind, manifest);
    },
  };

  const { objectsDir } = settings;
  const objects =
    objectsDir === undefined
      ? undefined
      : createDeclaredObjects({
          clock,
          log,
          record,
          random,
          read: createDeclaredReader(objectsDir, {
            clock,
            reasonAgainst: (object) => reasonAgainst(object, settings.network),
          }),
          // What is declared may be anything, rights included.
          begin: createObjectApplier(bootstrap),
        });

  const students = keepStudents({
    ...deps,
    cluster,
    authorities,
    random,
    store: deps.store.students,
    client: bootstrap,
  });

  const service = createClusterService({
    // A step of the wall clock must not end what is under way.
    clock: steadyClock(clock),
    log,
    record,
    store,
    cluster,
    authorities,
    api,
    etcd: etcdOf(deps),
    endpoint,
    network: settings.network === "bridge" ? createBridgePodNetwork(cluster) : foreignNetwork,
    objects,
    students,
    initArguments: initArguments(cluster),
    keepsData: settings.etcd !== "ephemeral",
    workerSlots: settings.workerSlots,
    isArmingAutomatic: settings.arming === "automatic",
    random,
    useClaim: (secret, address) => deps.claims.fetch(secret, address, "join"),
    isLive: ({ machineId, hash }) => deps.claims.ofMachine(machineId)?.hash === hash,
    machineOf: ({ machineId }) => deps.inventory.get(machineId),
    roleOf: ({ target }) => (target.kind === "role" ? deps.nodeRoleOf(target.role) : undefined),
    onClaim: ({ machineId, bootId }) => void boots.joinGoesOn(machineId, bootId),
    onAlive: ({ machineId, bootId }) => void boots.joinGoesOn(machineId, bootId),
    onReady: async ({ machineId, bootId }) => void (await boots.joinComplete(machineId, bootId)),
    onFailed: ({ machineId, problem }) => deps.tracker.fault(machineId, problem ?? "it could not join"),
  });

  return {
    service,
    async start() {
      if (balancer) await balancer.start();
      else health?.start();
      service.start();
    },
    async stop() {
      await service.stop();
      if (balancer) await balancer.stop({ drainMs });
      else health?.stop();
      await Promise.all([operator.close(), bootstrap.close()]);
    },
  };
}

function etcdOf({
  config,
  clock,
  log,
  record,
  opened,
  store: { cluster: store },
}: KeptClusterDeps): ClusterEtcd {
  const { cluster, authorities, serverAddress } = opened;
  const directory = resolve(join(config.dataDir, "etcd"));
  const { etcdProgram: program } = config.cluster;
  if (cluster.etcd.kind === "stacked")
    return createEtcdOnMasters({ clock, log, record, cluster, authorities, store, directory, program });
  const supervisor = createEtcdSupervisor({
    program,
    directory,
    address: serverAddress,
    port: Number(new URL(cluster.etcd.endpoints[0] ?? "https://127.0.0.1:2379").port),
    cluster: cluster.name,
    authority: authorities.etcd,
    keyAlgorithm: cluster.keyAlgorithm,
    clock,
    log,
    record,
  });
  const snapshots = createSnapshotKeeper({
    directory: join(directory, "snapshots"),
    everyMs: snapshotEveryMs,
    keep: snapshotsKept,
    source: snapshotsOfServer(supervisor, store),
    clock,
    log,
    record,
  });
  return createEtcdOnServer({
    supervisor,
    snapshots,
    store,
    onVersion: (etcd) => {
      if (isEtcdTooOld(etcd, cluster.version))
        log.warn(
          { etcd, kubernetes: formatKubernetesVersion(cluster.version) },
          "kubeadm of this Kubernetes asks for etcd 3.5.24 or newer: install one, or name it with cluster.etcdProgram",
        );
    },
  });
}

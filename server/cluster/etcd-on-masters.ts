import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Log } from "../domain/capabilities.ts";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode, InstructionFile } from "../domain/cluster-node.ts";
import type { RecordEvent } from "../domain/event.ts";
import { generationToken } from "../etcd/arguments.ts";
import { createEtcdCredentials } from "../etcd/credentials.ts";
import { createEtcdGateway } from "../etcd/gateway.ts";
import { restoreSnapshot } from "../etcd/restore.ts";
import { createSnapshotKeeper } from "../etcd/snapshots.ts";
import { createEtcdSurgery } from "../etcd/surgery.ts";
import type { ClusterAuthorities } from "../pki/cluster-authorities.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { ClusterEtcd } from "./ports.ts";

const clientPort = 2379;
const peerPort = 2380;
/** Snapshots of members whose data are in RAM: what is written after the last one is lost with all of them. */
const snapshotEveryMs = 60_000;
const snapshotsKept = 60;

export interface EtcdOnMastersDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly cluster: ClusterSpec;
  readonly authorities: Pick<ClusterAuthorities, "etcd">;
  readonly store: Pick<ClusterRepository, "nodes" | "record">;
  readonly directory: string;
  /** etcd; the restore takes etcdctl or etcdutl, which is looked for beside it and on the PATH. */
  readonly program: string;
}

/**
 * A member of etcd on each master, in its RAM, as podsec has it: the server takes the member of a master that was switched off away before
 * its machine joins anew, keeps snapshots, and gives the first master the newest one where all of them were lost.
 */
export function createEtcdOnMasters(deps: EtcdOnMastersDeps): ClusterEtcd {
  const { clock, log, record, cluster, authorities, store, directory } = deps;
  const credentials = createEtcdCredentials({
    authority: authorities.etcd,
    keyAlgorithm: cluster.keyAlgorithm,
    clock,
  });
  const connect = (endpoint: string) =>
    createEtcdGateway({ endpoint, authorityPem: authorities.etcd.certificatePem, credentials });
  const surgery = createEtcdSurgery({ connect, clock, log, record });
  const endpointOf = ({ address }: Pick<ClusterNode, "address">) => `https://${address}:${clientPort}`;
  const peerOf = ({ name, address }: ClusterNode) => ({ name, peerUrl: `https://${address}:${peerPort}` });
  const running = () =>
    store
      .nodes()
      .filter(
        ({ role, state }) => role === "master" && ["ready", "lost", "draining", "removing"].includes(state),
      );
  const others = (node: ClusterNode) =>
    running()
      .filter(({ machineId }) => machineId !== node.machineId)
      .map(endpointOf);
  const snapshots = createSnapshotKeeper({
    directory: join(directory, "snapshots"),
    everyMs: snapshotEveryMs,
    keep: snapshotsKept,
    source: async () => {
      for (const node of running().filter(({ state }) => state === "ready")) {
        const gateway = connect(endpointOf(node));
        if (await gateway.isHealthy()) return { gateway, generation: store.record.generation };
      }
      return undefined;
    },
    clock,
    log,
    record,
  });

  /** The newest snapshot as the data of this master's member. */
  async function restored(node: ClusterNode): Promise<InstructionFile[]> {
    const snapshot = await snapshots.newest();
    const work = await mkdtemp(join(directory, "restore-"));
    try {
      const into = join(work, "data");
      // Another token with each restore: a member of before that is still up must not take this one for its own.
      const token = `${generationToken(cluster.name, store.record.generation)}-${node.bootId}`;
      await restoreSnapshot({
        snapshot: snapshot.file,
        into,
        member: peerOf(node),
        token,
        program: deps.program,
      });
      record({
        type: "cluster.state",
        level: "warning",
        message: `cluster ${cluster.name}: all masters lost their data; ${node.name} begins with the snapshot of ${new Date(snapshot.takenAt).toISOString()}`,
        data: { snapshot: snapshot.file, takenAt: snapshot.takenAt },
      });
      return await filesBelow(
        into,
        cluster.etcd.kind === "stacked" ? cluster.etcd.dataDirectory : "/var/lib/etcd",
      );
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  return {
    async prepareInit(_generation, node) {
      if (store.record.initializedAt === undefined) return [];
      return restored(node);
    },
    async prepareMaster(node) {
      await surgery.removeStale(others(node), peerOf(node));
    },
    async removeMaster(node) {
      const endpoints = others(node);
      if (endpoints.length > 0) await surgery.retire(endpoints, peerOf(node));
    },
    // The data are in the RAM of machines that reboot; the snapshots of before stay, as a way back by hand.
    wipe: async () => undefined,
    async start() {
      snapshots.start();
    },
    stop: () => snapshots.stop(),
  };
}

async function filesBelow(directory: string, target: string): Promise<InstructionFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        return {
          path: `${target}${path.slice(directory.length)}`,
          mode: 0o600 as const,
          content: await readFile(path),
        };
      }),
  );
}

import { mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Log } from "../domain/capabilities.ts";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode, InstructionFile, NodeState } from "../domain/cluster-node.ts";
import { EtcdHasQuorum, EtcdQuorumAtRisk } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { generationToken } from "../etcd/arguments.ts";
import { createEtcdCredentials } from "../etcd/credentials.ts";
import { createEtcdGateway } from "../etcd/gateway.ts";
import { describeMember, type EtcdMember, isMemberOf, isQuorumGone } from "../etcd/membership.ts";
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

/** A master has a member that runs, or may run again. In all others its machine has booted anew, or is about to. */
const withMember: readonly NodeState[] = ["registered", "ready", "lost", "draining", "removing"];
const underWay: readonly NodeState[] = ["initializing", "joining"];

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
  const dataDirectory = cluster.etcd.kind === "stacked" ? cluster.etcd.dataDirectory : "/var/lib/etcd";
  const snapshotDirectory = join(directory, "snapshots");
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
  const masters = () => store.nodes().filter(({ role }) => role === "master");
  const isMemberOfAny = (nodes: readonly ClusterNode[], member: EtcdMember) =>
    nodes.some((node) => isMemberOf(peerOf(node))(member));
  /** Those of an older generation have another etcd, until they reboot. */
  const running = () =>
    masters().filter(
      ({ state, generation }) => withMember.includes(state) && generation === store.record.generation,
    );
  const others = (node: ClusterNode) =>
    running()
      .filter(({ machineId }) => machineId !== node.machineId)
      .map(endpointOf);
  const snapshots = createSnapshotKeeper({
    directory: snapshotDirectory,
    everyMs: snapshotEveryMs,
    keep: snapshotsKept,
    source: async () => {
      // One that was never up may be given up for another.
      if (store.record.initializedAt === undefined) return undefined;
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
  let isStopped = false;
  let isTidy = false;

  /** A new cluster must never be restored to what was before it. As the server's own data those are kept once. */
  async function setSnapshotsAside(): Promise<void> {
    const found = await readdir(snapshotDirectory).catch(() => []);
    if (found.length === 0) return;
    await rm(`${snapshotDirectory}.before`, { recursive: true, force: true });
    await rename(snapshotDirectory, `${snapshotDirectory}.before`);
  }

  /** What a member that is left without a quorum has is newer than any snapshot: it becomes one. @throws EtcdHasQuorum */
  async function saveSurvivor(node: ClusterNode): Promise<void> {
    const endpoints = others(node);
    if (endpoints.length === 0) return;
    const recovery = await surgery.recovery(endpoints);
    if (recovery.kind === "none") throw EtcdHasQuorum({ endpoints });
    if (recovery.kind === "survivor")
      await snapshots.take({ gateway: connect(recovery.endpoint), generation: store.record.generation });
  }

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
        type: "etcd.generation",
        level: "warning",
        message: `cluster ${cluster.name}: too many masters lost their data; ${node.name} begins with those of ${new Date(snapshot.takenAt).toISOString()}`,
        data: { snapshot: snapshot.file, takenAt: snapshot.takenAt },
      });
      return await filesBelow(into, dataDirectory);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  return {
    async prepareInit(_generation, node) {
      if (store.record.initializedAt === undefined) {
        await setSnapshotsAside();
        return { files: [], wentBack: false };
      }
      await saveSurvivor(node);
      return { files: await restored(node), wentBack: true };
    },
    async prepareMaster(node) {
      const endpoints = others(node);
      // The cluster is up by this master alone, and its agent would reset it before it joins.
      if (endpoints.length === 0) throw EtcdQuorumAtRisk({ member: node.name, healthy: 0, quorum: 1 });
      // A try of this boot that failed late has left a member that runs, and that the agent's reset ends.
      if (node.tries > 0) await surgery.retire(endpoints, peerOf(node));
      else await surgery.removeStale(endpoints, peerOf(node));
    },
    async removeMaster(node) {
      const endpoints = others(node);
      if (endpoints.length > 0) await surgery.retire(endpoints, peerOf(node));
    },
    async removeForsaken() {
      const isForsaken = (member: EtcdMember) => !isMemberOfAny(masters(), member);
      // One of them tells who is there; to ask all how they are takes seconds where one is off.
      const [first] = running().filter(({ state }) => state === "ready");
      if (!first || !(await connect(endpointOf(first)).members()).some(isForsaken)) return;
      const endpoints = running().map(endpointOf);
      const { members, healthy } = await surgery.survey(endpoints);
      for (const member of members.filter((one) => isForsaken(one) && !healthy.has(one.id)))
        await surgery.removeStale(endpoints, {
          name: describeMember(member),
          peerUrl: member.peerUrls[0] ?? "",
        });
    },
    async isBeyondRepair() {
      const survey = await surgery.survey(running().map(endpointOf)).catch(() => undefined);
      if (!survey) return false;
      const kept = masters().filter(({ state }) => withMember.includes(state) || underWay.includes(state));
      return isQuorumGone(survey, (member) => !isMemberOfAny(kept, member));
    },
    // The data are in the RAM of machines that reboot; the snapshots are set aside when another cluster begins.
    generation: async () => undefined,
    wipe: async () => undefined,
    async start() {
      if (isStopped) return;
      snapshots.start();
      if (isTidy) return;
      isTidy = true;
      // What a server that was killed left: all secrets of the cluster are in it.
      for (const name of await readdir(directory).catch(() => []))
        if (name.startsWith("restore-")) await rm(join(directory, name), { recursive: true, force: true });
    },
    stop() {
      isStopped = true;
      return snapshots.stop();
    },
  };
}

/** The files of a data directory as they have to lie below `target`. */
async function filesBelow(directory: string, target: string): Promise<InstructionFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const content = await readFile(path);
        return {
          path: `${target}${path.slice(directory.length)}`,
          mode: 0o600 as const,
          content: path.endsWith(".wal") ? withoutRoom(content) : content,
        };
      }),
  );
}

const pageBytes = 4096;

/** etcd makes each log 64 MB long at once, all zeros behind its end, and needs none of them: its end is the first length that is zero. */
function withoutRoom(log: Buffer): Buffer {
  let end = log.length;
  while (end > 0 && log[end - 1] === 0) end--;
  return log.subarray(0, (Math.floor(end / pageBytes) + 1) * pageBytes);
}

import { EtcdDataMissing, EtcdFailed } from "../domain/error-catalogue.ts";
import type { EtcdSupervisor } from "../etcd/supervisor.ts";
import type { SnapshotKeeper, SnapshotSource } from "../etcd/snapshots.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { ClusterEtcd } from "./ports.ts";

/**
 * Whoever of these leads says so in a lease. When a master takes the cluster up again they died with the last one, and those that come would wait
 * until its lease is over before they give any machine a certificate or a place.
 */
const leaders = ["kube-controller-manager", "kube-scheduler"];

/** The cluster's data on this server: masters have none, so that any or all of them may be switched off. */
export function createEtcdOnServer({
  supervisor,
  snapshots,
  store,
  onVersion,
}: {
  readonly supervisor: EtcdSupervisor;
  readonly snapshots: Pick<SnapshotKeeper, "start" | "stop">;
  readonly store: Pick<ClusterRepository, "record">;
  /** Told the version of an etcd that was started. */
  readonly onVersion?: (version: string) => void;
}): ClusterEtcd {
  let isStopped = false;
  /** Other data are put in its place: nobody starts it meanwhile. */
  let changing = 0;
  let starting: Promise<void> | undefined;

  /** Who asks while it starts waits for that start. The supervisor starts again what ended, and leaves a start that failed to us. */
  async function run(): Promise<void> {
    if (isStopped || changing > 0) return;
    starting ??= begin().finally(() => {
      starting = undefined;
    });
    await starting;
  }

  async function begin(): Promise<void> {
    // Of now: with the next election the record no longer says it of the data that are here.
    const wasMade = store.record.initializedAt !== undefined;
    await assertOwnData();
    if (wasMade) await supervisor.markInitialized();
    if (supervisor.state.kind !== "stopped") return;
    await supervisor.start();
    const status = await supervisor.gateway.status().catch(() => undefined);
    if (status) onVersion?.(status.version);
  }

  /**
   * A cluster that was made has data here, of its own generation. A directory that is not mounted or an old backup is no reason to begin
   * with nothing: all machines would do what an empty cluster tells them. @throws EtcdDataMissing
   */
  async function assertOwnData(): Promise<void> {
    const { generation, initializedAt } = store.record;
    if (initializedAt === undefined) return;
    const found = await supervisor.generation();
    if (found !== generation) throw EtcdDataMissing({ generation, found });
  }

  async function changeTo(generation: number): Promise<void> {
    changing++;
    try {
      await starting?.catch(() => undefined);
      await supervisor.wipe(generation);
    } finally {
      changing--;
    }
  }

  /** kubeadm asks etcd at once, and gives up when it does not answer. @throws EtcdFailed */
  async function assertHealthy(): Promise<void> {
    await run();
    const { state } = supervisor;
    if (state.kind === "healthy") return;
    throw EtcdFailed({ reason: state.kind === "waiting" ? state.reason : `it is ${state.kind}` });
  }

  return {
    async prepareInit(generation) {
      await assertOwnData();
      await changeTo(generation);
      await assertHealthy();
      for (const name of leaders) await supervisor.gateway.deleteKey(`/registry/leases/kube-system/${name}`);
      return { files: [], wentBack: false };
    },
    prepareMaster: assertHealthy,
    removeMaster: async () => undefined,
    removeForsaken: async () => undefined,
    isBeyondRepair: async () => false,
    wipe: changeTo,
    generation: () => supervisor.generation(),
    async start(generation) {
      if (isStopped) return;
      snapshots.start();
      // Before the first cluster there is nothing to run for.
      if (generation > 0) await run();
    },
    async stop() {
      isStopped = true;
      // A snapshot under way ends with etcd: the server has seconds to end.
      await Promise.all([snapshots.stop(), supervisor.stop()]);
    },
  };
}

/** Snapshots of it while it runs. A try to make a cluster gives none: those would push out the ones of the last cluster that there was. */
export function snapshotsOfServer(
  supervisor: Pick<EtcdSupervisor, "gateway" | "generation" | "state">,
  store: Pick<ClusterRepository, "record">,
): SnapshotSource {
  return async () => {
    if (store.record.initializedAt === undefined || supervisor.state.kind !== "healthy") return undefined;
    const generation = await supervisor.generation();
    return generation === undefined ? undefined : { gateway: supervisor.gateway, generation };
  };
}

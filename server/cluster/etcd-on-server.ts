import { EtcdFailed } from "../domain/error-catalogue.ts";
import type { EtcdSupervisor } from "../etcd/supervisor.ts";
import type { SnapshotKeeper } from "../etcd/snapshots.ts";
import type { ClusterEtcd } from "./ports.ts";

/** The cluster's data on this server: masters have none, so that any or all of them may be switched off. */
export function createEtcdOnServer({
  supervisor,
  snapshots,
}: {
  readonly supervisor: EtcdSupervisor;
  readonly snapshots: Pick<SnapshotKeeper, "start" | "stop">;
}): ClusterEtcd {
  let isStopped = false;
  let starting: Promise<void> | undefined;

  /** Who asks while it starts waits for that start. The supervisor starts again what ended, and leaves a start that failed to us. */
  async function run(): Promise<void> {
    if (isStopped) return;
    if (supervisor.state.kind === "stopped")
      starting ??= supervisor.start().finally(() => {
        starting = undefined;
      });
    await starting;
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
      await supervisor.wipe(generation);
      await assertHealthy();
      return { files: [], wentBack: false };
    },
    prepareMaster: assertHealthy,
    removeMaster: async () => undefined,
    isBeyondRepair: async () => false,
    wipe: (generation) => supervisor.wipe(generation),
    async start(generation) {
      if (isStopped) return;
      snapshots.start();
      // Before the first cluster there is nothing to run for.
      if (generation > 0) await run();
    },
    async stop() {
      isStopped = true;
      await snapshots.stop();
      await supervisor.stop();
    },
  };
}

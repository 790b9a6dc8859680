import type { EtcdSupervisor } from "../etcd/supervisor.ts";
import type { Log } from "../domain/capabilities.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { SnapshotKeeper } from "../etcd/snapshots.ts";
import type { ClusterEtcd } from "./ports.ts";

/** The cluster's data on this server: masters have none, so that any or all of them may be switched off. */
export function createEtcdOnServer({
  supervisor,
  snapshots,
  log,
  record,
}: {
  readonly supervisor: EtcdSupervisor;
  readonly snapshots: Pick<SnapshotKeeper, "start" | "stop">;
  readonly log: Log;
  readonly record: RecordEvent;
}): ClusterEtcd {
  async function run(): Promise<void> {
    if (supervisor.state.kind === "stopped") await supervisor.start();
  }
  return {
    async prepareInit(generation) {
      await supervisor.wipe(generation);
      await run();
      return [];
    },
    prepareMaster: async () => run(),
    removeMaster: async () => undefined,
    wipe: (generation) => supervisor.wipe(generation),
    async start(generation) {
      snapshots.start();
      // Before the first cluster there is nothing to run for.
      if (generation === 0) return;
      await run().catch((error: unknown) => {
        log.error({ err: error }, "failed to start etcd");
        record({
          type: "cluster.problem",
          level: "warning",
          message: `etcd does not start: ${error instanceof Error ? error.message : String(error)}`,
        });
      });
    },
    async stop() {
      await snapshots.stop();
      await supervisor.stop();
    },
  };
}

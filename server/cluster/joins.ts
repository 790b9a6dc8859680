import { bootstrapTokenLifeMs } from "../kubeadm/bootstrap-token.ts";
import { createBootstrapToken } from "../pki/join-secrets.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { clusterWentBack } from "../domain/cluster-record.ts";
import { operationSeconds } from "./node-book.ts";
import { initFiles, joinFiles } from "./node-files.ts";
import type { PassTools, ReconcilerDeps } from "./reconciler.ts";

/** What a machine in its turn is made ready with, up to the instruction for kubeadm. */
export function createJoins(deps: ReconcilerDeps, { workOn, tell, announceMasters, noteToken }: PassTools) {
  const { clock, store, book, api, etcd, authorities, cluster } = deps;

  /** Takes a machine out of the queue; what follows may take longer than a pass. */
  async function begin(node: ClusterNode, isInit: boolean): Promise<void> {
    const taken = await book.happen(node, "slot", isInit ? "it makes the cluster" : "it has a slot");
    if (!taken) return;
    workOn(taken, "preparing", async () => {
      try {
        await (isInit ? prepareInit(taken) : prepareJoin(taken));
      } catch (error) {
        tell(`preparing ${taken.name}`, error);
        const problem = error instanceof Error ? error.message : String(error);
        await book.failTry(taken, "timed-out", `the server could not prepare it: ${problem}`.slice(0, 400));
      }
    });
  }

  async function prepareInit(node: ClusterNode): Promise<void> {
    const data = await etcd.prepareInit(store.record.generation, node);
    // Kubelets and pods that have seen what is no more would act on it: all that is of an older generation reboots.
    const { generation } = data.wentBack
      ? await store.update((current) => clusterWentBack(current, node, clock.now()), "its data went back")
      : store.record;
    const token = createBootstrapToken();
    const files = await initFiles({ cluster, authorities, node, token, now: clock.now() });
    const begun = await book.happen(node, "init", "kubeadm init", () => ({ tokenId: token.id, generation }));
    if (!begun) return;
    announceMasters();
    await book.instruct(begun, {
      operation: "init",
      message: `makes the cluster ${cluster.name} (kubeadm init)`,
      deadlineSeconds: operationSeconds.init,
      arguments: deps.initArguments,
      files: [...files, ...data.files],
    });
  }

  async function prepareJoin(node: ClusterNode): Promise<void> {
    const { generation } = store.record;
    const statuses = new Map((await api.nodes()).map((status) => [status.name, status]));
    const old = statuses.get(node.name);
    // Of another boot, or of a try that failed late: its kubelet is gone, and kubeadm takes no name whose Node is Ready.
    if (old?.isReady && (old.bootId !== node.report.kernelBootId || node.tries > 0))
      await api.markNotReady(node.name, "the machine joins anew");
    if (node.role === "master") await etcd.prepareMaster(node);
    const token = createBootstrapToken();
    // In the row first: tokens of ours that no row has are taken away.
    await book.change(node, () => ({ tokenId: token.id }));
    noteToken();
    await api.createToken(token, {
      machine: node.name,
      attempt: node.bootId,
      expiresAt: clock.now() + bootstrapTokenLifeMs,
    });
    const files = await joinFiles({ cluster, authorities, node, token, now: clock.now() });
    const known = book.inState("joining", "registered", "ready", "lost");
    const network = deps.network.withJoin(node, known, statuses);
    const begun = await book.happen(node, "join", "kubeadm join", () => ({
      approvedRequest: undefined,
      generation,
    }));
    if (!begun) return;
    announceMasters();
    await book.instruct(begun, {
      operation: "join",
      message: `joins the cluster ${cluster.name} (kubeadm join)`,
      deadlineSeconds: operationSeconds.join,
      files: [...files, ...(network?.files ?? [])],
    });
  }

  return { begin };
}

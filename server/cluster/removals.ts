import type { ClusterNode } from "../domain/cluster-node.ts";
import { operationSeconds } from "./node-book.ts";
import type { PassTools, ReconcilerDeps } from "./reconciler.ts";

/** An operator's reset waits this long for pods to go, ms. */
const drainMs = 10 * 60_000;

/** The way out of the cluster: pods, Node, member of etcd, and a reboot. */
export function createRemovals(deps: ReconcilerDeps, { isWorkingOn, workOn, attempt, isUp }: PassTools) {
  const { clock, store, book, api, etcd } = deps;

  async function drain(): Promise<void> {
    for (const node of book.inState("draining")) {
      if (isWorkingOn(node)) continue;
      workOn(node, "resetting", async () => {
        const deadline = node.since + drainMs;
        const isWanted = () => {
          const current = book.find(node.machineId);
          return current?.bootId === node.bootId && current.state === "draining";
        };
        const isDrained = isUp()
          ? await attempt(
              `draining ${node.name}`,
              async () => (await api.drain(node.name, deadline, isWanted), true),
            )
          : true;
        // A request that failed has drained nothing: the next pass goes on, until the time is up.
        if (!isDrained && clock.now() < deadline) return;
        const removing = await book.happen(node, "drained", "its pods are gone");
        if (removing) await finishRemoval(removing);
      });
    }
    for (const node of book.inState("removing")) if (!isWorkingOn(node)) await finishRemoval(node);
  }

  async function finishRemoval(node: ClusterNode): Promise<void> {
    if (isUp()) {
      // First, and with its Node it stays as long as etcd can't do without its member: the next pass tries it again.
      if (node.role === "master") {
        const removed = await attempt(
          `removing the member ${node.name}`,
          async () => (await etcd.removeMaster(node), true),
        );
        if (!removed) return;
      }
      await attempt(`removing the Node ${node.name}`, () => api.removeNode(node.name));
    }
    const rebooting = await book.happen(node, "removed", "its Node is gone", () => ({ problem: undefined }));
    if (rebooting) await sendReboot(rebooting);
  }

  function sendReboot(node: ClusterNode): Promise<void> {
    return book.instruct(node, {
      operation: "reboot",
      message:
        node.problem === undefined ? "was reset by an operator and reboots" : `reboots: ${node.problem}`,
      deadlineSeconds: operationSeconds.other,
    });
  }

  /** What joined a cluster that is no more has to join anew, and that takes a reboot. */
  async function supersede(node: ClusterNode, why: string): Promise<void> {
    const superseded = await book.happen(node, "superseded", why, () => ({ problem: why }));
    if (superseded) await sendReboot(superseded);
  }

  async function endOlderGenerations(): Promise<void> {
    const { generation } = store.record;
    for (const node of book.inState("joining", "registered", "ready", "lost"))
      if (node.generation < generation)
        await supersede(
          node,
          `the cluster began anew: this machine joined its generation ${node.generation}, and now it is ${generation}`,
        );
  }

  return { drain, finishRemoval, sendReboot, supersede, endOlderGenerations };
}

import type { ClusterNode } from "../domain/cluster-node.ts";
import { operationSeconds } from "./node-book.ts";
import type { NodeStatus } from "./ports.ts";
import type { PassTools, ReconcilerDeps } from "./reconciler.ts";

/** Silence of an agent whose Node is not Ready, ms, until the machine is lost, and until its Node is taken away. */
export const lostAfterMs = 60_000;
const absentAfterMs = 30 * 60_000;
/** Where every machine is ready, the Nodes are looked at this often, ms: with hundreds of them it is a long answer. */
const quietEveryMs = 10_000;

const followed = ["registered", "ready", "lost", "absent"] as const;

/** What the API server says of the machines: their requests for certificates, and their Nodes. */
export function createNodeWatch(deps: ReconcilerDeps, { attempt }: PassTools) {
  const { clock, record, book, mailbox, guests, api, etcd, cluster } = deps;

  async function judgeRequests(): Promise<void> {
    const joins = () => [
      ...book
        .inState("joining", "registered", "initializing")
        .flatMap(({ tokenId, name, approvedRequest }) =>
          tokenId === undefined ? [] : [{ tokenId, machine: name, approved: approvedRequest }],
        ),
      ...guests.open(),
    ];
    for (const judged of await api.judgeRequests(joins)) {
      const { tokenId } = judged;
      const node = book.all().find((one) => tokenId !== undefined && one.tokenId === tokenId);
      if (judged.verdict === "approve") {
        if (node) await book.change(node, () => ({ approvedRequest: judged.request }));
        else if (tokenId !== undefined) guests.approve(tokenId, judged.request);
      } else
        record({
          type: "node.request-denied",
          level: "alarm",
          machineId: node?.machineId,
          bootId: node?.bootId,
          message: `${node?.name ?? "an unknown machine"} asked for a certificate that it may not have: ${judged.message ?? judged.reason ?? ""}`,
          data: { request: judged.request, reason: judged.reason ?? "" },
        });
    }
  }

  /** Boots whose machines were told to be ready by this process. */
  const confirmed = new Set<string>();
  let lookedAtMs = -quietEveryMs;
  async function followNodes(): Promise<void> {
    const watched = book.inState(...followed);
    const isQuiet = watched.every(({ state }) => state === "ready" || state === "absent");
    const now = clock.monotonicMs();
    if (watched.length === 0 || (isQuiet && now - lookedAtMs < quietEveryMs)) return;
    lookedAtMs = now;
    for (const bootId of confirmed)
      if (!watched.some((node) => node.bootId === bootId)) confirmed.delete(bootId);
    const statuses = new Map((await api.nodes()).map((status) => [status.name, status]));
    for (const node of watched) {
      const status = statuses.get(node.name);
      const isOurs = status?.isReady === true && status.bootId === node.report.kernelBootId;
      if (isOurs && node.state === "ready" && !confirmed.has(node.bootId)) {
        // The server may have ended between the row and what follows from it.
        confirmed.add(node.bootId);
        await deps.onReady(node);
      }
      if (isOurs && node.state !== "ready") await becomeReady(node);
      else if (!isOurs && node.state === "ready") await noteSilence(node);
      else if (node.state === "lost" && clock.now() - node.since > absentAfterMs)
        await attempt(`taking ${node.name} out`, () => becomeAbsent(node, status));
    }
    // Last, and on the rows as they are now: what a machine is told with its being ready must not take the place of a newer table.
    await attempt("the pods' network", () =>
      deps.network.reconcile(book.inState(...followed), statuses, async (node, part) => {
        // What it has not done yet is not taken from it, but for words and an older table.
        const { operation } = mailbox.of(node.machineId) ?? {};
        const isFree = node.doneSequence >= node.sequence || operation === "wait" || operation === "network";
        if (isFree || operation === undefined)
          await book.instruct(node, {
            ...part,
            operation: "network",
            deadlineSeconds: operationSeconds.other,
          });
        else lookedAtMs = -quietEveryMs;
        return isFree || operation === undefined;
      }),
    );
  }

  async function becomeReady(node: ClusterNode): Promise<void> {
    const wasRegistered = node.state === "registered";
    const ready = await book.happen(node, "node-ready", "its Node is Ready in this boot", () => ({
      tokenId: undefined,
      tries: 0,
      problem: undefined,
    }));
    if (!ready || !wasRegistered) return;
    confirmed.add(ready.bootId);
    await deps.onReady(ready);
    await book.instruct(ready, {
      operation: "ready",
      message: `is a ${ready.role} of the cluster ${cluster.name}`,
      deadlineSeconds: operationSeconds.other,
    });
  }

  async function noteSilence(node: ClusterNode): Promise<void> {
    if (mailbox.silenceMs(node.machineId) < lostAfterMs) return;
    await book.happen(node, "node-lost", "neither its agent nor its Node gives a sign");
  }

  async function becomeAbsent(node: ClusterNode, status: NodeStatus | undefined): Promise<void> {
    if (node.role === "master") await etcd.removeMaster(node);
    if (status && !status.isReady) await api.removeNode(node.name);
    await book.happen(node, "node-absent", "it was lost for half an hour");
  }

  return { judgeRequests, followNodes };
}

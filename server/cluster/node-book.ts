import type { Clock } from "../domain/capabilities.ts";
import {
  advanceNode,
  type ClusterNode,
  type Instruction,
  type NodeEvent,
  type NodeState,
} from "../domain/cluster-node.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { Mailbox } from "./mailbox.ts";

const withoutToken: ReadonlySet<NodeState> = new Set([
  "quarantined",
  "draining",
  "removing",
  "rebooting",
  "failed",
]);

/** How long each state may last, ms; what is not named may last. */
const patienceMs: Partial<Record<NodeState, number>> = {
  // A snapshot of etcd that is restored may take its time.
  preparing: 15 * 60_000,
  // The agent's own time for kubeadm, five minutes for what a failed try left, and some for the way.
  initializing: 22 * 60_000,
  joining: 17 * 60_000,
  registered: 5 * 60_000,
  removing: 2 * 60_000,
};
/** What the agent itself allows kubeadm, s: less than the server does, so that its report comes before. */
export const operationSeconds = { init: 15 * 60, join: 10 * 60, other: 120 } as const;

/** Tries of kubeadm in one boot. */
export const mostTries = 3;
/** The wait before the next try, ms: doubled each time, with some chance so that a room does not come at once. */
const firstBackoffMs = 5000;

const levels: Partial<Record<NodeState, "warning" | "alarm">> = {
  failed: "warning",
  lost: "warning",
  quarantined: "alarm",
};

/** The rows of the machines, each transition with its event; what every part of this room changes them by. */
export function createNodeBook({
  clock,
  store,
  record,
  mailbox,
  random,
  onChange,
}: {
  clock: Clock;
  store: Pick<ClusterRepository, "updateNode" | "node" | "nodes">;
  record: RecordEvent;
  mailbox: Mailbox;
  /** From 0 to 1. */
  random: () => number;
  /** Something is to be done anew. */
  onChange: () => void;
}) {
  return {
    find: store.node,
    all: store.nodes,
    inState: (...states: NodeState[]) => store.nodes().filter(({ state }) => states.includes(state)),

    /**
     * Lets an event happen to a machine, in this boot of it.
     * @param also what else changes in the row
     * @returns the row as it is then; undefined where the event changes nothing now
     */
    async happen(
      node: Pick<ClusterNode, "machineId" | "bootId">,
      event: NodeEvent,
      cause: string,
      also: (node: ClusterNode) => Partial<ClusterNode> = () => ({}),
    ): Promise<ClusterNode | undefined> {
      const now = clock.now();
      let before: ClusterNode | undefined;
      const after = await store.updateNode(
        node.machineId,
        (current) => {
          before = current;
          const state = current?.bootId === node.bootId ? advanceNode(current.state, event) : undefined;
          if (!current || !state) return undefined;
          const patience = patienceMs[state];
          return {
            ...current,
            state,
            since: now,
            deadline: patience === undefined ? undefined : now + patience,
            // Its token ends with it, and with the token what it may be approved.
            ...(withoutToken.has(state) ? { tokenId: undefined } : {}),
            ...also(current),
          };
        },
        `${event}: ${cause}`.slice(0, 500),
        now,
      );
      if (!before || !after || after === before) return undefined;
      record({
        type: "node.state",
        level: levels[after.state] ?? "info",
        machineId: after.machineId,
        bootId: after.bootId,
        message: `${after.name}: ${before.state} -> ${after.state}: ${cause}`,
        data: { from: before.state, to: after.state, because: event },
      });
      onChange();
      return after;
    },

    /** A try of kubeadm has failed: the next comes later, or it is given up. */
    async failTry(node: ClusterNode, event: "kubeadm-failed" | "timed-out", cause: string): Promise<void> {
      const tries = node.tries + 1;
      if (tries >= mostTries) {
        await this.happen(node, "given-up", cause, () => ({ tries, problem: cause }));
        return;
      }
      const backoffMs = Math.round(firstBackoffMs * 2 ** node.tries * (1 + random()));
      await this.happen(node, event, cause, () => ({
        tries,
        tokenId: undefined,
        problem: cause,
        retryAt: clock.now() + backoffMs,
      }));
    },

    /** Changes what is no state. */
    change: (
      node: Pick<ClusterNode, "machineId" | "bootId">,
      changes: (node: ClusterNode) => Partial<ClusterNode> | undefined,
    ): Promise<ClusterNode | undefined> =>
      store.updateNode(
        node.machineId,
        (current) => {
          const changed = current?.bootId === node.bootId ? changes(current) : undefined;
          return current && changed ? { ...current, ...changed } : undefined;
        },
        "",
        clock.now(),
      ),

    /** Gives the machine its next instruction; its number is written down before it is told. */
    async instruct(
      node: Pick<ClusterNode, "machineId" | "bootId">,
      instruction: Omit<Instruction, "sequence" | "arguments" | "files"> &
        Partial<Pick<Instruction, "arguments" | "files">>,
    ): Promise<void> {
      const told = await this.change(node, ({ sequence }) => ({ sequence: sequence + 1 }));
      if (!told) return;
      mailbox.put(told.machineId, { arguments: [], files: [], ...instruction, sequence: told.sequence });
    },

    /** Tells it something, unless it was told the same before. */
    async say(node: ClusterNode, message: string): Promise<void> {
      const last = mailbox.of(node.machineId);
      if (last?.operation === "wait" && last.message === message) return;
      await this.instruct(node, { operation: "wait", message, deadlineSeconds: operationSeconds.other });
    },
  };
}
export type NodeBook = ReturnType<typeof createNodeBook>;

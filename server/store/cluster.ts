import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { ClusterNode, NodeReport, NodeState } from "../domain/cluster-node.ts";
import type { ClusterRecord, ClusterState, ClusterTransition } from "../domain/cluster-record.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

interface ClusterRow {
  generation: number;
  state: ClusterState;
  init_machine_id: string | null;
  init_boot_id: string | null;
  init_lease_until_ms: number | null;
  initialized_at_ms: number | null;
  changed_at_ms: number;
}

interface NodeRow {
  machine_id: string;
  name: string;
  role: "master" | "worker";
  boot_id: string;
  claim_hash: string;
  agent_key: string;
  certificate: string;
  arming_code: string;
  address: Ipv4;
  report: string;
  state: NodeState;
  since_ms: number;
  deadline_ms: number | null;
  generation: number;
  sequence: number;
  done_sequence: number;
  token_id: string | null;
  approved_request: string | null;
  tries: number;
  retry_at_ms: number;
  problem: string | null;
}

interface TransitionRow {
  seq: number;
  at_ms: number;
  machine_id: string | null;
  boot_id: string | null;
  from_state: string;
  to_state: string;
  cause: string;
  generation: number;
}

/** Transitions that are kept: a machine that joins has about eight. */
const keptTransitions = 100_000;
/** How often those that are too many are let go: each so many transitions. */
const trimEvery = 1000;

/** The cluster and its machines: a snapshot in memory that each change writes through, with the transition that it is. */
export function createClusterRepository(db: Database, queue: CommitQueue) {
  let record = readCluster(db.prepare("SELECT * FROM cluster WHERE id = 1").get() as ClusterRow);
  const nodes = new Map<string, ClusterNode>(
    (db.prepare("SELECT * FROM cluster_nodes").all() as NodeRow[]).map((row) => [
      row.machine_id,
      readNode(row),
    ]),
  );
  const armed = new Map<string, EpochMs>(
    (
      db.prepare("SELECT machine_id, until_ms FROM armed_masters").all() as {
        machine_id: string;
        until_ms: number;
      }[]
    ).map((row) => [row.machine_id, row.until_ms]),
  );
  const updateCluster = db.prepare(
    `UPDATE cluster SET generation = ?, state = ?, init_machine_id = ?, init_boot_id = ?, init_lease_until_ms = ?,
       initialized_at_ms = ?, changed_at_ms = ? WHERE id = 1`,
  );
  const upsertNode = db.prepare(
    `INSERT OR REPLACE INTO cluster_nodes (machine_id, name, role, boot_id, claim_hash, agent_key, certificate, arming_code, address, report, state,
       since_ms, deadline_ms, generation, sequence, done_sequence, token_id, approved_request, tries, retry_at_ms, problem)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertTransition = db.prepare(
    `INSERT INTO cluster_transitions (at_ms, machine_id, boot_id, from_state, to_state, cause, generation)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );
  const trim = db.prepare(
    "DELETE FROM cluster_transitions WHERE seq <= (SELECT max(seq) FROM cluster_transitions) - ?",
  );
  const ofMachine = db.prepare(
    "SELECT * FROM cluster_transitions WHERE machine_id = ? ORDER BY seq DESC LIMIT ?",
  );
  const newest = db.prepare("SELECT * FROM cluster_transitions ORDER BY seq DESC LIMIT ?");
  const upsertArmed = db.prepare(
    "INSERT OR REPLACE INTO armed_masters (machine_id, until_ms, armed_by) VALUES (?, ?, ?)",
  );
  const dropArmed = db.prepare("DELETE FROM armed_masters WHERE machine_id = ?");

  function note(transition: ClusterTransition): void {
    const { at, machineId, bootId, from, to, cause, generation } = transition;
    const { lastInsertRowid } = insertTransition.run(
      at,
      machineId ?? null,
      bootId ?? null,
      from,
      to,
      cause,
      generation,
    );
    if (Number(lastInsertRowid) % trimEvery === 0) trim.run(keptTransitions);
  }

  function put(node: ClusterNode, { onRollback }: Transaction): void {
    const before = nodes.get(node.machineId);
    upsertNode.run(
      node.machineId,
      node.name,
      node.role,
      node.bootId,
      node.claimHash,
      node.agentKey,
      node.certificate,
      node.armingCode,
      node.address,
      JSON.stringify(node.report),
      node.state,
      node.since,
      node.deadline ?? null,
      node.generation,
      node.sequence,
      node.doneSequence,
      node.tokenId ?? null,
      node.approvedRequest ?? null,
      node.tries,
      node.retryAt,
      node.problem ?? null,
    );
    nodes.set(node.machineId, node);
    onRollback(() => (before ? nodes.set(node.machineId, before) : nodes.delete(node.machineId)));
  }

  return {
    get record(): ClusterRecord {
      return record;
    },
    /**
     * Changes the cluster's row inside one commit; `change` sees the newest state, so of two who want the same lease one gets it.
     * @returns the row as it is then; undefined from `change` leaves it
     */
    update: (
      change: (current: ClusterRecord) => ClusterRecord | undefined,
      cause: string,
    ): Promise<ClusterRecord> =>
      queue.run((transaction) => {
        const before = record;
        const next = change(before);
        if (!next) return before;
        updateCluster.run(
          next.generation,
          next.state,
          next.initMachineId ?? null,
          next.initBootId ?? null,
          next.initLeaseUntil ?? null,
          next.initializedAt ?? null,
          next.changedAt,
        );
        record = next;
        transaction.onRollback(() => (record = before));
        if (next.state !== before.state || next.generation !== before.generation)
          note({
            at: next.changedAt,
            machineId: undefined,
            bootId: undefined,
            from: before.state,
            to: next.state,
            cause,
            generation: next.generation,
          });
        return next;
      }),

    node: (machineId: string): ClusterNode | undefined => nodes.get(machineId),
    nodes: (): ClusterNode[] => [...nodes.values()],
    /**
     * Changes one machine's row inside one commit, and notes the transition where its state or boot changes.
     * @param change sees the newest row; the same or undefined leaves it
     */
    updateNode: (
      machineId: string,
      change: (current: ClusterNode | undefined) => ClusterNode | undefined,
      cause: string,
      at: EpochMs,
    ): Promise<ClusterNode | undefined> =>
      queue.run((transaction) => {
        const before = nodes.get(machineId);
        const next = change(before);
        if (!next || next === before) return before;
        put(next, transaction);
        if (next.state !== before?.state || next.bootId !== before.bootId)
          note({
            at,
            machineId,
            bootId: next.bootId,
            from: before?.state ?? "none",
            to: next.state,
            cause,
            generation: next.generation,
          });
        return next;
      }),
    /** A machine that was removed took its row with it. */
    forgetMachine(machineId: string): void {
      nodes.delete(machineId);
      armed.delete(machineId);
    },
    /** The newest first. @param machineId undefined: of the cluster and all machines */
    transitions: (machineId: string | undefined, limit: number): ClusterTransition[] =>
      (
        (machineId === undefined ? newest.all(limit) : ofMachine.all(machineId, limit)) as TransitionRow[]
      ).map((row) => ({
        at: row.at_ms,
        machineId: row.machine_id ?? undefined,
        bootId: row.boot_id ?? undefined,
        from: row.from_state,
        to: row.to_state,
        cause: row.cause,
        generation: row.generation,
      })),

    armedUntil: (machineId: string): EpochMs | undefined => armed.get(machineId),
    arm: (machineId: string, until: EpochMs, by: string): Promise<void> =>
      queue.run((transaction) => {
        const before = armed.get(machineId);
        upsertArmed.run(machineId, until, by);
        armed.set(machineId, until);
        transaction.onRollback(() =>
          before === undefined ? armed.delete(machineId) : armed.set(machineId, before),
        );
      }),
    disarm: (machineId: string): Promise<void> =>
      queue.run((transaction) => {
        const before = armed.get(machineId);
        if (before === undefined) return;
        dropArmed.run(machineId);
        armed.delete(machineId);
        transaction.onRollback(() => armed.set(machineId, before));
      }),
  };
}
export type ClusterRepository = ReturnType<typeof createClusterRepository>;

function readCluster(row: ClusterRow): ClusterRecord {
  return {
    generation: row.generation,
    state: row.state,
    initMachineId: row.init_machine_id ?? undefined,
    initBootId: row.init_boot_id ?? undefined,
    initLeaseUntil: row.init_lease_until_ms ?? undefined,
    initializedAt: row.initialized_at_ms ?? undefined,
    changedAt: row.changed_at_ms,
  };
}

function readNode(row: NodeRow): ClusterNode {
  return {
    machineId: row.machine_id,
    name: row.name,
    role: row.role,
    bootId: row.boot_id,
    claimHash: row.claim_hash,
    agentKey: row.agent_key,
    certificate: row.certificate,
    armingCode: row.arming_code,
    address: row.address,
    report: JSON.parse(row.report) as NodeReport,
    state: row.state,
    since: row.since_ms,
    deadline: row.deadline_ms ?? undefined,
    generation: row.generation,
    sequence: row.sequence,
    doneSequence: row.done_sequence,
    tokenId: row.token_id ?? undefined,
    approvedRequest: row.approved_request ?? undefined,
    tries: row.tries,
    retryAt: row.retry_at_ms,
    problem: row.problem ?? undefined,
  };
}

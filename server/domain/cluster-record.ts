import type { DurationMs, EpochMs } from "./capabilities.ts";

export type ClusterState =
  /** Nobody has made it yet. */
  | "empty"
  /** One master runs `kubeadm init`, or runs it again on data that outlived all masters. */
  | "initializing"
  | "up"
  /** It was made, and no master answers. */
  | "down"
  /** An operator takes it back to empty. */
  | "resetting";

/** The cluster as a whole: one row. */
export interface ClusterRecord {
  /** Counts the clusters that were begun from nothing or from a snapshot: what joined an older one has to join anew. */
  readonly generation: number;
  readonly state: ClusterState;
  /** The one master that may run `kubeadm init`, and in which boot. */
  readonly initMachineId: string | undefined;
  readonly initBootId: string | undefined;
  /** Until when nobody else may. */
  readonly initLeaseUntil: EpochMs | undefined;
  /** When init was first through in this generation. */
  readonly initializedAt: EpochMs | undefined;
  readonly changedAt: EpochMs;
}

/** One step of the cluster (`machineId` undefined) or of a machine in it. */
export interface ClusterTransition {
  readonly at: EpochMs;
  readonly machineId: string | undefined;
  readonly bootId: string | undefined;
  readonly from: string;
  readonly to: string;
  readonly cause: string;
  readonly generation: number;
}

/** How long the lease outlives a master that is not at work on it, ms; one that is has the time of its state. */
const initLeaseMs: DurationMs = 15 * 60_000;

/** A master that would like to make the cluster. */
export interface InitCandidate {
  readonly machineId: string;
  readonly bootId: string;
}

/**
 * The election: of all masters that want to run `kubeadm init`, the first gets the lease, and nobody else until it is through, gives up or
 * is silent for too long.
 * @param keepsData what outlived the masters is gone on with; else each cluster that went down begins anew
 * @returns the row with this candidate as owner; undefined: another has the lease, or the cluster is up
 */
export function electFirstMaster(
  record: ClusterRecord,
  { machineId, bootId }: InitCandidate,
  now: EpochMs,
  keepsData = true,
): ClusterRecord | undefined {
  if (record.state === "up" || record.state === "resetting") return undefined;
  const isOwner = record.initMachineId === machineId && record.initBootId === bootId;
  const isHeld = record.initMachineId !== undefined && now < (record.initLeaseUntil ?? 0);
  if (isHeld && !isOwner) return undefined;
  const isNew = !isOwner && (record.initializedAt === undefined || !keepsData);
  return {
    generation: isNew ? record.generation + 1 : record.generation,
    state: "initializing",
    initMachineId: machineId,
    initBootId: bootId,
    initLeaseUntil: now + initLeaseMs,
    initializedAt: isNew ? undefined : record.initializedAt,
    changedAt: now,
  };
}

/** `kubeadm init` is through, and the API server answers. */
export function clusterIsUp(record: ClusterRecord, now: EpochMs): ClusterRecord {
  return {
    ...record,
    state: "up",
    initMachineId: undefined,
    initBootId: undefined,
    initLeaseUntil: undefined,
    initializedAt: record.initializedAt ?? now,
    changedAt: now,
  };
}

/** Its first master begins with data of an earlier time: what joined before has to join anew. @returns undefined where it is not the owner */
export function clusterWentBack(
  record: ClusterRecord,
  { machineId, bootId }: InitCandidate,
  now: EpochMs,
): ClusterRecord | undefined {
  if (record.initMachineId !== machineId || record.initBootId !== bootId) return undefined;
  return { ...record, generation: record.generation + 1, changedAt: now };
}

/** The owner gave up or is gone: the next may try. @returns undefined where it is not the owner */
export function releaseInit(
  record: ClusterRecord,
  { machineId, bootId }: InitCandidate,
  now: EpochMs,
): ClusterRecord | undefined {
  if (record.initMachineId !== machineId || record.initBootId !== bootId) return undefined;
  return {
    ...record,
    state: record.initializedAt === undefined ? "empty" : "down",
    initMachineId: undefined,
    initBootId: undefined,
    initLeaseUntil: undefined,
    changedAt: now,
  };
}

/** No master answers any more, though the cluster was up. @returns undefined where that is known */
export function clusterIsDown(record: ClusterRecord, now: EpochMs): ClusterRecord | undefined {
  return record.state === "up" ? { ...record, state: "down", changedAt: now } : undefined;
}

/** Back to nothing: what is made next is another cluster. */
export function clusterIsEmpty(record: ClusterRecord, now: EpochMs): ClusterRecord {
  return {
    generation: record.generation,
    state: "empty",
    initMachineId: undefined,
    initBootId: undefined,
    initLeaseUntil: undefined,
    initializedAt: undefined,
    changedAt: now,
  };
}

import type { EpochMs } from "./capabilities.ts";

/** Somebody with a namespace of their own, which each generation of the cluster has; the namespace has their name. */
export interface Student {
  readonly name: string;
  /** The name as it was asked for; undefined: from before it was kept. */
  readonly asked: string | undefined;
  readonly createdAt: EpochMs;
  readonly createdBy: string;
  /** A cluster has been asked for objects of this student, so that there may be some. */
  readonly isInCluster: boolean;
  /** Somebody deleted the student: gone when nothing is left in the cluster. */
  readonly leaving: { readonly since: EpochMs; readonly by: string } | undefined;
}

/** A token that was handed out; the token itself is kept nowhere. */
export interface StudentToken {
  readonly issuedAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly issuedBy: string;
  /** Of the cluster: a new one has other accounts, and takes none of the old one's tokens. */
  readonly generation: number;
}

/**
 * How far the cluster has what the server says: `waiting` (for the cluster, or its turn), `ready`, `failed` (with a problem; it is tried
 * again), `leaving`.
 */
export type StudentState = "waiting" | "ready" | "failed" | "leaving";

/** Where somebody stands, and why not further. */
export interface StudentStanding {
  readonly state: StudentState;
  /** What is wrong, or waited for; undefined: nothing, or only a turn. */
  readonly problem: string | undefined;
  /** Nothing happens before there is a cluster that answers, which may be tomorrow. */
  readonly waitsForCluster: boolean;
}

/** One of a student's objects as it was looked for in the cluster. */
export interface StudentObjectStatus {
  /** `ResourceQuota student` */
  readonly object: string;
  readonly isThere: boolean;
}

/** What of the student's share is used, by Kubernetes' names of resources: `pods`, `limits.memory`. */
export interface StudentUsage {
  readonly used: Readonly<Record<string, string>>;
  readonly hard: Readonly<Record<string, string>>;
}

/** Students that one server keeps. */
export const mostStudents = 2000;
/** Tokens of a student that are remembered. */
export const keptTokens = 10;
/** Kubernetes gives no token for less, s (ValidateTokenRequest of the API server). */
export const shortestTokenSeconds = 600;
/** A month: longer than any course of one class. */
export const longestTokenSeconds = 31 * 24 * 3600;

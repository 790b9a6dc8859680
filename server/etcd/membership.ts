import {
  EtcdChangeUnderWay,
  EtcdMemberAlive,
  EtcdQuorumAtRisk,
  EtcdQuorumLost,
} from "../domain/error-catalogue.ts";
import type { RollcallError } from "../domain/errors.ts";

/** A member as etcd lists it. */
export interface EtcdMember {
  /** uint64 as decimal digits: a Number would round it. */
  readonly id: string;
  /** Empty until the member has started for the first time. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  /** Empty until the member has started for the first time. */
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/** All members, and which of them answer with a leader. */
export interface MemberSurvey {
  readonly members: readonly EtcdMember[];
  readonly healthy: ReadonlySet<string>;
}

/** A master as a member of etcd: `https://10.0.0.11:2380`. */
export interface EtcdPeer {
  readonly name: string;
  readonly peerUrl: string;
}

export type RemovalPlan =
  | { readonly kind: "remove"; readonly member: EtcdMember }
  /** No member is left of the master's earlier life. */
  | { readonly kind: "clean" }
  | { readonly kind: "refused"; readonly error: RollcallError };

export const quorumOf = (voters: number): number => Math.floor(voters / 2) + 1;

/** For people: the name, or for a member that never started its address. */
export const describeMember = ({ name, peerUrls, id }: EtcdMember): string => name || peerUrls[0] || id;

/** By name and by address: a machine may have got another address, and a member that never started has no name. */
export const isMemberOf =
  ({ name, peerUrl }: EtcdPeer) =>
  (member: EtcdMember): boolean =>
    member.name === name || member.peerUrls.includes(peerUrl);

const isUnstarted = ({ name }: EtcdMember): boolean => name === "";

/**
 * Why a master's member is removed: it comes back with an empty disk, and etcd forbids a member to come back without its data; or it leaves
 * for good, and may run until then.
 */
export type RemovalReason = "wiped" | "leaving";

/** What has to go of a master. One member at a time: it is planned anew from another survey after each removal. */
export function planRemoval(
  { members, healthy }: MemberSurvey,
  master: EtcdPeer,
  reason: RemovalReason,
): RemovalPlan {
  const isOfMaster = isMemberOf(master);
  const stale = members.filter(isOfMaster);
  const [member] = stale;
  if (!member) return { kind: "clean" };
  const alive = stale.find(({ id }) => healthy.has(id));
  if (alive && reason === "wiped") return refuse(EtcdMemberAlive({ member: describeMember(alive) }));
  const other = changeUnderWay(members.filter((one) => !isOfMaster(one)));
  if (other) return refuse(other);
  const risk = quorumRisk({ members, healthy }, member);
  return risk ? refuse(risk) : { kind: "remove", member };
}

const refuse = (error: RollcallError) => ({ kind: "refused", error }) as const;

/** Why a learner can't be added now; undefined when it can. */
export function refuseAddition({ members, healthy }: MemberSurvey): RollcallError | undefined {
  return changeUnderWay(members) ?? lostQuorum({ members, healthy });
}

/** A learner, or a member that has not started: the change that brought it is not at its end. */
function changeUnderWay(members: readonly EtcdMember[]): RollcallError | undefined {
  const unfinished = members.find((member) => member.isLearner || isUnstarted(member));
  return (
    unfinished &&
    EtcdChangeUnderWay({
      what: `${describeMember(unfinished)} ${isUnstarted(unfinished) ? "was added and has not started" : "is a learner"}`,
    })
  );
}

function lostQuorum({ members, healthy }: MemberSurvey): RollcallError | undefined {
  const voters = members.filter(({ isLearner }) => !isLearner);
  const healthyVoters = voters.filter(({ id }) => healthy.has(id)).length;
  const quorum = quorumOf(voters.length);
  return healthyVoters < quorum
    ? EtcdQuorumLost({ healthy: healthyVoters, voters: voters.length, quorum })
    : undefined;
}

/** Why the cluster could not do without a member; a learner never counts. */
function quorumRisk({ members, healthy }: MemberSurvey, without: EtcdMember): RollcallError | undefined {
  const lost = lostQuorum({ members, healthy });
  if (lost || without.isLearner) return lost;
  const left = members.filter(({ id, isLearner }) => !isLearner && id !== without.id);
  const healthyLeft = left.filter(({ id }) => healthy.has(id)).length;
  const quorum = quorumOf(left.length);
  return healthyLeft < quorum
    ? EtcdQuorumAtRisk({ member: describeMember(without), healthy: healthyLeft, quorum })
    : undefined;
}

/**
 * Whether there can never be a quorum again: too many voters are gone with their data. Others that don't answer may come back.
 * @param isGone whether a member's machine has booted anew since
 */
export function isQuorumGone(
  { members, healthy }: MemberSurvey,
  isGone: (member: EtcdMember) => boolean,
): boolean {
  const voters = members.filter(({ isLearner }) => !isLearner);
  const hopeful = voters.filter((member) => healthy.has(member.id) || !isGone(member));
  return hopeful.length < quorumOf(voters.length);
}

/**
 * How etcd is had back.
 * - `none`: there is a quorum.
 * - `survivor`: no quorum, but a member has its data: its snapshot is newer than all that were taken, and it gives one without a quorum.
 * - `snapshot`: nobody has data.
 */
export type Recovery =
  | { readonly kind: "none" }
  | { readonly kind: "survivor"; readonly endpoint: string }
  | { readonly kind: "snapshot" };

/** @param withData endpoints of members that answer, whether they have a leader or not */
export function planRecovery(survey: MemberSurvey | undefined, withData: readonly string[]): Recovery {
  if (survey && survey.members.length > 0 && !lostQuorum(survey)) return { kind: "none" };
  const [endpoint] = withData;
  return endpoint === undefined ? { kind: "snapshot" } : { kind: "survivor", endpoint };
}

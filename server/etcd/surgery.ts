import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import {
  EtcdChangeUnderWay,
  EtcdClustersDiffer,
  EtcdNotInSync,
  EtcdRefused,
  EtcdUnreachable,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { EtcdGateway, EtcdStatus } from "./gateway.ts";
import {
  describeMember,
  type EtcdMember,
  type EtcdPeer,
  type MemberSurvey,
  planRecovery,
  planRemoval,
  type Recovery,
  type RemovalReason,
  refuseAddition,
} from "./membership.ts";

/** How often a change is tried that etcd is not ready for yet, ms; only its leader knows when it is. */
const tryEveryMs: DurationMs = 500;
/** How long a removal or addition is tried, ms: etcd changes nothing until all its voters have been connected for 5 s. */
const settleMs: DurationMs = 20_000;
/**
 * gRPC's UNAVAILABLE: no leader yet, another one, or members that have just found each other ("unhealthy cluster"). And NOT_FOUND: the number
 * of a member is made of its address and the second, so one that is removed and added in one second is taken for the removed one.
 */
const notYet: readonly unknown[] = [14, 5];

/** Changes of the members on the masters. All may be repeated: what is done already is not done again. */
export interface EtcdSurgery {
  /** The members, and which of them answer with a leader. @throws EtcdUnreachable, EtcdClustersDiffer */
  survey(endpoints: readonly string[]): Promise<MemberSurvey>;
  /**
   * Removes what is left of a master that comes back with an empty disk: before `kubeadm join --control-plane`, which adds its member itself.
   * @returns the removed ones
   * @throws EtcdChangeUnderWay, EtcdMemberAlive, EtcdQuorumLost, EtcdQuorumAtRisk: nothing was changed then
   */
  removeStale(endpoints: readonly string[], master: EtcdPeer): Promise<readonly EtcdMember[]>;
  /**
   * Removes the member of a master that leaves for good, though it is healthy.
   * @throws as removeStale() does, but for EtcdMemberAlive
   */
  retire(endpoints: readonly string[], master: EtcdPeer): Promise<readonly EtcdMember[]>;
  /**
   * For a member that kubeadm does not bring: removes what is left, and adds it as a learner.
   * @returns the member, and what its etcd is started with beside `--initial-cluster-state=existing`
   */
  addLearner(
    endpoints: readonly string[],
    master: EtcdPeer,
  ): Promise<{ readonly member: EtcdMember; readonly initialCluster: string }>;
  /** Lets a learner vote when it has caught up. @throws EtcdNotInSync when it has not until then */
  promote(endpoints: readonly string[], memberId: string, limitMs: DurationMs): Promise<void>;
  /** How etcd is had back when it has no quorum; `none` when it has. */
  recovery(endpoints: readonly string[]): Promise<Recovery>;
}

export function createEtcdSurgery({
  connect,
  clock,
  log,
  record,
}: {
  readonly connect: (endpoint: string) => EtcdGateway;
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
}): EtcdSurgery {
  /** What this server is at; etcd itself knows of learners and of members that have not started only. */
  let underWay: string | undefined;
  const alone = async <Result>(what: string, work: () => Promise<Result>): Promise<Result> => {
    if (underWay !== undefined) throw EtcdChangeUnderWay({ what: underWay });
    underWay = what;
    try {
      return await work();
    } finally {
      underWay = undefined;
    }
  };

  const statuses = async (endpoints: readonly string[]) => {
    const asked = endpoints.map(async (endpoint) => {
      const gateway = connect(endpoint);
      const status = await gateway.status().catch(() => undefined);
      return status ? [{ gateway, status }] : [];
    });
    return (await Promise.all(asked)).flat();
  };

  /** The list of one that has a leader, and who of it answers: a member may have other addresses than those that were given. */
  const look = async (endpoints: readonly string[]) => {
    const answered = await statuses(endpoints);
    assertOneCluster(answered);
    const first = answered.find(({ status }) => status.leaderId !== undefined) ?? answered[0];
    if (!first) throw EtcdUnreachable({ endpoint: endpoints.join(", "), reason: "none of them" });
    const members = await first.gateway.members();
    const others = members
      .flatMap(({ clientUrls }) => clientUrls.slice(0, 1))
      .filter((url) => !endpoints.includes(url));
    const all = [...answered, ...(await statuses(others))].filter(
      ({ status }) => status.clusterId === first.status.clusterId,
    );
    const healthy = new Set(
      all.filter(({ status }) => status.leaderId !== undefined).map(({ status }) => status.memberId),
    );
    // The leader is the first to be asked: it changes members without a way round.
    const leader = all.find(({ status }) => status.leaderId === status.memberId) ?? first;
    return { survey: { members, healthy }, gateway: leader.gateway };
  };

  const pause = () => new Promise<void>((resolve) => void clock.after(tryEveryMs, resolve));

  /** Tries a change until etcd is ready for it; what was looked at before is looked at anew each time. */
  const settled = async <Result>(change: () => Promise<Result>): Promise<Result> => {
    const untilMs = clock.monotonicMs() + settleMs;
    for (;;) {
      try {
        return await change();
      } catch (error) {
        const isUnready = EtcdRefused.is(error) && notYet.includes(error.details["grpcCode"]);
        if (!isUnready || clock.monotonicMs() >= untilMs) throw error;
      }
      await pause();
    }
  };

  const removeAll = async (endpoints: readonly string[], master: EtcdPeer, reason: RemovalReason) => {
    const removed: EtcdMember[] = [];
    for (;;) {
      const member = await settled(async () => {
        const { survey, gateway } = await look(endpoints);
        const plan = planRemoval(survey, master, reason);
        if (plan.kind === "refused") throw plan.error;
        if (plan.kind === "clean") return undefined;
        await gateway.removeMember(plan.member.id);
        return plan.member;
      });
      if (!member) return removed;
      removed.push(member);
      const name = describeMember(member);
      log.info({ member: name, id: member.id }, "removed a member of etcd");
      record({
        type: "etcd.member-removed",
        level: "warning",
        message: `removed the member ${name} of etcd: its machine ${reason === "wiped" ? "comes back without its data" : "leaves the cluster"}`,
        data: { id: member.id, name: member.name },
      });
    }
  };

  return {
    survey: async (endpoints) => (await look(endpoints)).survey,
    removeStale: (endpoints, master) =>
      alone(`removal of ${master.name}`, () => removeAll(endpoints, master, "wiped")),
    retire: (endpoints, master) =>
      alone(`removal of ${master.name}`, () => removeAll(endpoints, master, "leaving")),
    addLearner: (endpoints, master) =>
      alone(`addition of ${master.name}`, async () => {
        await removeAll(endpoints, master, "wiped");
        const { survey, member } = await settled(async () => {
          const { survey, gateway } = await look(endpoints);
          const refusal = refuseAddition(survey);
          if (refusal) throw refusal;
          return { survey, member: await gateway.addLearner(master.peerUrl) };
        });
        record({
          type: "etcd.member-added",
          message: `added ${master.name} to etcd as a learner`,
          data: { id: member.id, name: master.name },
        });
        const peers = survey.members.map(({ name, peerUrls }) => `${name}=${peerUrls[0] ?? ""}`);
        return { member, initialCluster: [...peers, `${master.name}=${master.peerUrl}`].join(",") };
      }),
    promote: (endpoints, memberId, limitMs) =>
      alone(`promotion of ${memberId}`, async () => {
        const untilMs = clock.monotonicMs() + limitMs;
        for (;;) {
          let reason = "";
          try {
            const { survey, gateway } = await look(endpoints);
            const member = survey.members.find(({ id }) => id === memberId);
            if (member && !member.isLearner) return;
            await gateway.promoteMember(memberId);
            record({
              type: "etcd.member-promoted",
              message: `the member ${member ? describeMember(member) : memberId} of etcd has caught up and votes`,
              data: { id: memberId },
            });
            return;
          } catch (error) {
            reason = (error as Error).message;
          }
          if (clock.monotonicMs() >= untilMs) throw EtcdNotInSync({ member: memberId, reason });
          await pause();
        }
      }),
    async recovery(endpoints) {
      const answered = await statuses(endpoints);
      assertOneCluster(answered);
      if (answered.length === 0) return planRecovery(undefined, []);
      const { survey } = await look(endpoints);
      // Of several that are left the one with the most; a learner may lack the end.
      const withData = answered
        .filter(({ status }) => !status.isLearner)
        .sort((a, b) => Number(BigInt(b.status.revision) - BigInt(a.status.revision)));
      return planRecovery(
        survey,
        withData.map(({ gateway }) => gateway.endpoint),
      );
    },
  };
}

function assertOneCluster(
  answered: readonly { readonly gateway: EtcdGateway; readonly status: EtcdStatus }[],
): void {
  const clusters = new Set(answered.map(({ status }) => status.clusterId));
  if (clusters.size > 1)
    throw EtcdClustersDiffer({ endpoints: answered.map(({ gateway }) => gateway.endpoint) });
}

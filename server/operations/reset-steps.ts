import type { Boot } from "../domain/boot.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import type { Claim } from "../domain/claim.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { NoCluster, NotClean, StepTimedOut, StudentsNotKept } from "../domain/error-catalogue.ts";
import type { Machine } from "../domain/machine.ts";
import { findStep } from "../domain/operation.ts";
import { inWords } from "./diagnosis.ts";
import { describeProof, type Expected, judgeProof, type Proof } from "./proof.ts";
import type { CommonStep, Look, MachineContext, MachineStep } from "./step.ts";

/** The students in the cluster, where this server keeps any. */
export interface StudentRemoval {
  /** Asks that all go who were made until then, with their objects and tokens; may be asked for again. @returns names of those who are still there */
  readonly removeAll: (by: string, createdUntil: EpochMs) => Promise<readonly string[]>;
}

/** What a reset needs of the cluster. */
export interface ClusterRemoval {
  /** Takes the machine out, drained, and has its agent reboot it. @returns false: it is in no state to be taken out of */
  readonly drain: (machine: Machine, by: string, mayEndCluster: boolean) => Promise<boolean>;
  readonly name: string;
  /** Takes the whole cluster back to nothing. */
  readonly destroy: (by: string) => Promise<void>;
}

export interface ResetStepDeps {
  readonly students: StudentRemoval | undefined;
  readonly cluster: ClusterRemoval | undefined;
  readonly nodeOf: (machineId: string) => ClusterNode | undefined;
  readonly bootOf: (machineId: string) => Boot | undefined;
  readonly claimOf: (machineId: string) => Claim | undefined;
  /** Ends the machine's claim if it is not younger than this. */
  readonly revokeClaim: (machineId: string, mintedUntil: EpochMs) => Promise<boolean>;
  /** What the machine's role is made of now. @throws what its script would say */
  readonly expected: (machine: Machine, claim: Claim | undefined) => Expected;
  /** When this process began to serve. */
  readonly servesSince: EpochMs;
}

const studentsLimitMs = 10 * 60_000;
const clusterLimitMs = 10 * 60_000;
/** Longer than the cluster itself waits for pods to go. */
const drainLimitMs = 20 * 60_000;
const revokeLimitMs = 5 * 60_000;
const proofLimitMs = 60_000;
/** A machine that was switched once more meanwhile is waited for, ms. */
const anotherBootLimitMs = 30 * 60_000;

export function createCommonSteps(deps: ResetStepDeps): Record<"students" | "cluster", CommonStep> {
  return {
    students: {
      async look({ operation }) {
        if (!deps.students) return { state: "failed", error: StudentsNotKept({}) };
        const left = await deps.students.removeAll(operation.actor, operation.startedAt);
        if (left.length === 0) return { state: "done", message: "the students' objects and tokens are gone" };
        const more = left.length > 1 ? ` and ${left.length - 1} more` : "";
        return { state: "waiting", message: `${left[0] ?? ""}${more} still have objects in the cluster` };
      },
      limitMs: () => studentsLimitMs,
      timedOut: ({ step }) => {
        const who = step.message === undefined ? "" : `: ${step.message}`;
        return StepTimedOut({ problem: `students are not gone after ${inWords(studentsLimitMs)}${who}` });
      },
    },
    cluster: {
      async look({ operation, step, isResumed }): Promise<Look> {
        const { cluster } = deps;
        if (!cluster) return { state: "failed", error: NoCluster({}) };
        const nodes = operation.machines.map(({ machineId }) => deps.nodeOf(machineId));
        // Taken back twice it would have machines reboot that have joined the new one already.
        const wasDone =
          isResumed &&
          nodes.some((node) => node?.state === "rebooting" && node.since >= (step.startedAt ?? 0));
        if (!wasDone) await cluster.destroy(operation.actor);
        return { state: "done", message: `the cluster ${cluster.name} is back to nothing` };
      },
      limitMs: () => clusterLimitMs,
      timedOut: () => StepTimedOut({ problem: "the cluster is not back to nothing" }),
    },
  };
}

export function createResetSteps(
  deps: ResetStepDeps,
): Record<"assign" | "drain" | "revoke" | "proof", MachineStep> {
  /** It has booted anew since: what is in the cluster is that boot. */
  function isAnew(machine: Machine, node: ClusterNode, since: EpochMs): boolean {
    const boot = deps.bootOf(machine.id);
    return boot !== undefined && boot.id === node.bootId && boot.startedAt >= since;
  }

  function proofOf({ machine, operation }: MachineContext): Proof | undefined {
    const boot = deps.bootOf(machine.id);
    if (!boot) return undefined;
    const claim = deps.claimOf(machine.id);
    const power = findStep(operation, { machineId: machine.id, name: "power" });
    const { role, method } = power?.facts ?? {};
    return judgeProof({
      boot,
      claim,
      method: method === undefined ? undefined : String(method),
      orderedRole: role === undefined ? undefined : String(role),
      expected: deps.expected(machine, claim),
      wasSeenWhole: boot.startedAt >= deps.servesSince,
    });
  }

  return {
    assign: {
      // It was written before the operation began.
      look: async ({ operation }) => ({ state: "done", message: operation.order.target ?? "" }),
      limitMs: () => undefined,
      timedOut: ({ machine }) => StepTimedOut({ problem: `${machine.name} was not assigned` }),
    },

    drain: {
      async look({ machine, operation, startedAt }) {
        const node = deps.nodeOf(machine.id);
        if (!deps.cluster || !node) return { state: "skipped", message: "it is no node of the cluster" };
        if (node.state === "rebooting") return { state: "done", message: "its Node is gone" };
        if (node.state === "draining" || node.state === "removing")
          return { state: "waiting", message: node.problem ?? node.state };
        if (isAnew(machine, node, startedAt))
          return { state: "done", message: "its Node is gone, and it has booted anew" };
        const mayEnd = operation.order.destroyCluster !== undefined;
        if (!(await deps.cluster.drain(machine, operation.actor, mayEnd)))
          return { state: "skipped", message: `it is ${node.state}: there is nothing to drain` };
        return { state: "waiting", message: "draining" };
      },
      limitMs: () => drainLimitMs,
      timedOut: ({ machine }) =>
        StepTimedOut({
          problem: `${machine.name} is ${deps.nodeOf(machine.id)?.state ?? "unknown"} in the cluster after ${inWords(drainLimitMs)}, and not out of it`,
        }),
    },

    revoke: {
      async look({ machine, operation }) {
        // A claim that is younger belongs to a boot that has begun since.
        const revoked = await deps.revokeClaim(machine.id, operation.startedAt);
        const node = deps.nodeOf(machine.id);
        const hasToken = node?.tokenId !== undefined && !isAnew(machine, node, operation.startedAt);
        if (hasToken && node.state === "rebooting")
          return { state: "waiting", message: "its bootstrap token is being revoked" };
        return { state: "done", message: revoked ? "its claim is revoked" : "it had no claim" };
      },
      limitMs: () => revokeLimitMs,
      timedOut: ({ machine }) => StepTimedOut({ problem: `${machine.name} still has a bootstrap token` }),
    },

    proof: {
      async look(context) {
        const { machine } = context;
        const boot = deps.bootOf(machine.id);
        if (boot?.outcome === "local" || boot?.outcome === "handed-over")
          return { state: "skipped", message: "its role runs no image of this server: nothing can be shown" };
        if (boot?.outcome === "running" && boot.steps.some(({ step }) => step === "wait"))
          return { state: "skipped", message: "it waits for a role and runs no system" };
        if (boot?.outcome === "running") return { state: "waiting", message: "it boots once more" };
        const proof = proofOf(context);
        if (!proof) return { state: "waiting", message: "waits for its boot" };
        const { problems, open, facts } = proof;
        if (problems.length > 0)
          return { state: "failed", error: NotClean({ machine: machine.name, problems }), facts };
        if (open.length > 0) return { state: "waiting", message: open.join("; ") };
        return { state: "done", message: describeProof(proof), facts };
      },
      limitMs: ({ machine }) =>
        deps.bootOf(machine.id)?.outcome === "running" ? anotherBootLimitMs : proofLimitMs,
      timedOut: (context) =>
        NotClean({ machine: context.machine.name, problems: proofOf(context)?.open ?? ["it has no boot"] }),
    },
  };
}

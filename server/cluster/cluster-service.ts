import { atMost } from "../domain/at-most.ts";
import type { Clock, DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode, Instruction } from "../domain/cluster-node.ts";
import {
  ArmingCodeWrong,
  ClusterNameNotConfirmed,
  LastMaster,
  ClusterNotUp,
  NodeNameHeld,
  NodeNotFound,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { createSlots } from "../domain/slots.ts";
import { bootstrapTokenLifeMs, formatBootstrapToken } from "../kubeadm/bootstrap-token.ts";
import type { ClusterAuthorities } from "../pki/cluster-authorities.ts";
import { dayMs } from "../pki/certificates.ts";
import { authorityHash, createBootstrapToken } from "../pki/join-secrets.ts";
import { administratorFile } from "../pki/master-files.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { Students } from "../students/students.ts";
import type { DeclaredObjects } from "./declared-objects.ts";
import { createGuestJoins } from "./guest-joins.ts";
import { createMailbox } from "./mailbox.ts";
import { createNodeBook } from "./node-book.ts";
import type { ClaimFields } from "./node-report.ts";
import { createReconciler, type ReconcilerDeps, screenText } from "./reconciler.ts";
import { type AgentProof, createRegistrar, type RegistrarDeps } from "./registrar.ts";

export interface ClusterServiceDeps
  extends
    Pick<
      ReconcilerDeps,
      | "log"
      | "api"
      | "etcd"
      | "endpoint"
      | "network"
      | "initArguments"
      | "keepsData"
      | "workerSlots"
      | "isArmingAutomatic"
      | "onReady"
      | "onAlive"
      | "onFailed"
    >,
    Pick<RegistrarDeps, "useClaim" | "isLive" | "machineOf" | "roleOf"> {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly store: ClusterRepository;
  readonly cluster: ClusterSpec;
  readonly authorities: ClusterAuthorities;
  readonly random: () => number;
  /** Objects that the administrator declares; undefined: there are to be none. */
  readonly objects?: DeclaredObjects | undefined;
  /** Students and their namespaces. */
  readonly students?: Students | undefined;
  /** A machine called back: its phase follows. */
  readonly onClaim: (node: ClusterNode) => void;
}

/** A pass comes at the latest after this, ms, and soon after anything has happened. */
const passEveryMs = 2000;
/** The server's stop waits so long for a pass that goes on, ms. */
const longestStopMs = 3000;
const soonMs = 20;
/** Longest wait of a poll, ms: the agent's sign of life. */
export const longestPollMs = 20_000;
/** How long an operator's window for a master is open unless they say, ms. */
export const armingMs = 15 * 60_000;
/** Life of an administrator's kubeconfig, ms. */
const kubeconfigLifeMs = 30 * dayMs;

/** The cluster, as the rest of the server sees it. */
export function createClusterService(deps: ClusterServiceDeps) {
  const { clock, record, store, cluster, authorities } = deps;
  const mailbox = createMailbox(clock);
  const followers = [deps.objects, deps.students].filter((one) => one !== undefined);
  let isStopped = true;
  let passing: Promise<void> | undefined;
  let cancel = () => {};

  let dueAtMs = Number.POSITIVE_INFINITY;

  /** The earliest wish counts: whoever wishes again and again does not put it off. */
  function schedule(afterMs: DurationMs): void {
    const atMs = clock.monotonicMs() + afterMs;
    if (isStopped || atMs >= dueAtMs) return;
    cancel();
    dueAtMs = atMs;
    cancel = clock.after(afterMs, () => void run());
  }
  async function run(): Promise<void> {
    dueAtMs = Number.POSITIVE_INFINITY;
    passing ??= reconciler.pass().finally(() => {
      passing = undefined;
      schedule(passEveryMs);
    });
    await passing;
  }
  const soon = () => schedule(soonMs);

  const guests = createGuestJoins(clock);
  const { host, port } = cluster.endpoint;
  const joinWords = `kubeadm join ${host}:${port} --discovery-token-ca-cert-hash ${authorityHash(authorities.cluster.certificatePem)}`;
  /** The check for the last master and the removal that it allows are one: of two at once the second sees what the first took. */
  const removals = createSlots({ atOnce: 1 });
  const book = createNodeBook({ ...deps, mailbox, onChange: soon });
  const registrar = createRegistrar({
    ...deps,
    mailbox,
    book,
    onClaim: (node) => {
      deps.onClaim(node);
      soon();
    },
  });
  const reconciler = createReconciler({ ...deps, book, mailbox, guests, followers });

  function nodeOf(machine: Machine): ClusterNode {
    const node = store.node(machine.id);
    if (!node) throw NodeNotFound({ machine: machine.name });
    return node;
  }

  return {
    cluster,
    start(): void {
      isStopped = false;
      soon();
    },
    async stop(): Promise<void> {
      isStopped = true;
      cancel();
      mailbox.release();
      const ending = [...followers.map((one) => one.stop()), passing];
      await Promise.all(ending.map((work) => atMost(clock, longestStopMs, work)));
      await deps.etcd.stop();
    },
    /** One pass now with all that it begins; for tests. */
    async pass(): Promise<void> {
      await reconciler.pass();
      await reconciler.settled();
    },

    /** @throws as {@link createRegistrar} */
    claim: (secret: string, address: string, fields: ClaimFields) => registrar.claim(secret, address, fields),

    /** The agent's next instruction; undefined: nothing new within the time. @throws ClaimRefused */
    async instruction(
      proof: AgentProof,
      { done, waitMs }: { done: number; waitMs: DurationMs },
    ): Promise<Instruction | undefined> {
      const node = registrar.identify(proof);
      // This server's data went back to an earlier time: what it numbers anew must not be taken for what was done already.
      const isBehind = done > node.sequence;
      if (isBehind) {
        mailbox.forget(node.machineId);
        await book.change(node, () => ({ sequence: done + 1, doneSequence: done }));
      }
      const found = await mailbox.take(node.machineId, {
        done,
        sequence: isBehind ? done + 1 : node.sequence,
        waitMs: Math.min(Math.max(0, waitMs), longestPollMs),
      });
      if (mailbox.isMissing(node.machineId)) soon();
      // It may have booted anew, or been claimed twice, while this one waited.
      registrar.identify(proof);
      return found;
    },

    /** What an instruction came to. @throws ClaimRefused */
    async report(
      proof: AgentProof,
      { sequence, result, phase, tail }: { sequence: number; result: number; phase: string; tail: string },
    ): Promise<void> {
      const node = registrar.identify(proof);
      mailbox.heard(node.machineId);
      // Once for each instruction: an agent may repeat itself as often as it likes.
      if (sequence !== node.sequence || node.doneSequence >= sequence) return;
      if (result !== 0)
        record({
          type: "machine.log",
          level: "warning",
          machineId: node.machineId,
          bootId: node.bootId,
          message: `${node.name}: ${screenText(phase || "an instruction")} ended with ${result}`,
          data: { tail: tail.slice(-8192) },
        });
      await book.change(node, (current) =>
        current.sequence === sequence ? { doneSequence: sequence } : undefined,
      );
      await reconciler.report(node, result, tail);
      soon();
    },

    readyMasters: () => deps.endpoint.readyMasters(),
    /** False: each start of the cluster is a new one. */
    keepsData: deps.keepsData,
    /** How far the cluster has the declared objects; undefined: none are asked for. */
    declaredObjects: () => deps.objects?.status(),
    students: deps.students,
    node: (machineId: string) => store.node(machineId),
    nodes: store.nodes,
    /**
     * Masters that a load balancer outside of this server has to know, by name: also those that do not answer yet, since `kubeadm init` itself
     * asks at the endpoint.
     */
    masters: (): readonly ClusterNode[] =>
      store
        .nodes()
        .filter(({ role, state }) => role === "master" && state !== "quarantined" && state !== "absent")
        .toSorted((left, right) => (left.name < right.name ? -1 : 1)),
    armedUntil: store.armedUntil,
    transitions: store.transitions,
    get record() {
      return store.record;
    },
    authorityHash: authorityHash(authorities.cluster.certificatePem),
    authorityPem: authorities.cluster.certificatePem,

    /**
     * Lets a master join: the one that waits, by the code on its screen, or the next that boots within the time.
     * @throws ArmingCodeWrong, NodeNotFound
     */
    async arm(
      machine: Machine,
      {
        code,
        forMs = armingMs,
        by,
      }: { code?: string | undefined; forMs?: DurationMs | undefined; by: string },
    ): Promise<void> {
      const node = store.node(machine.id);
      if (code !== undefined && !node)
        throw NodeNotFound({
          machine: machine.name,
          advice: `A code is of a boot under way: it stands on the machine's screen when it waits. To arm it before it boots, open a window without a code: boot cluster arm ${machine.name} --for 30`,
        });
      if (code !== undefined && node?.armingCode !== code) throw ArmingCodeWrong({ machine: machine.name });
      record({
        type: "master.armed",
        machineId: machine.id,
        actor: by,
        message: `${by} armed ${machine.name}`,
      });
      // The code is of this boot: what boots next has another.
      if (code !== undefined && node) await book.happen(node, "armed", `${by} typed the code on its screen`);
      else await store.arm(machine.id, clock.now() + forMs, by);
      soon();
    },

    /** Lets a machine that was given up try again. @throws NodeNotFound */
    async release(machine: Machine, by: string): Promise<boolean> {
      const node = nodeOf(machine);
      const released = await book.happen(node, "released", `${by} lets it try again`, () => ({
        tries: 0,
        retryAt: clock.now(),
        problem: undefined,
      }));
      return released !== undefined;
    },

    /** Takes a machine out of the cluster, drained, and lets it boot anew. @throws NodeNotFound, LastMaster */
    resetNode: (machine: Machine, by: string, mayEndCluster = false): Promise<boolean> =>
      removals.run(new AbortController().signal, async () => {
        const node = nodeOf(machine);
        const others = store
          .nodes()
          .filter(
            ({ role, state, machineId }) =>
              role === "master" && state === "ready" && machineId !== node.machineId,
          );
        if (node.role === "master" && node.state === "ready" && others.length === 0 && !mayEndCluster)
          throw LastMaster({ machine: machine.name });
        return (await book.happen(node, "drain", `${by} resets it`)) !== undefined;
      }),

    /** Takes the whole cluster back to nothing: its data, and every machine in it reboots. @throws ClusterNameNotConfirmed */
    async reset(name: string | undefined, by: string): Promise<void> {
      if (name !== cluster.name) throw ClusterNameNotConfirmed({ name: cluster.name });
      // Data that are newer than the database, which came from a backup, are left behind too.
      const found = (await deps.etcd.generation()) ?? 0;
      await store.update(
        (current) => ({
          ...current,
          state: "resetting",
          generation: Math.max(current.generation, found),
          changedAt: clock.now(),
        }),
        `${by} resets it`,
      );
      record({
        type: "cluster.state",
        level: "warning",
        actor: by,
        message: `cluster ${cluster.name}: ${by} takes it back to nothing`,
      });
      await reconciler.finishReset();
    },

    /** For a person on a machine of their own. A secret. */
    kubeconfig: (): Promise<string> =>
      administratorFile(authorities, { cluster, now: clock.now(), lifeMs: kubeconfigLifeMs }),

    /**
     * The command by which a machine that is none of ours joins as a worker, under this name alone; its token lives for 15 minutes.
     * A secret. @throws ClusterNotUp, NodeNameHeld; what the API server answers
     */
    async joinCommand(name: string): Promise<{ command: string; expiresAt: EpochMs }> {
      // A token for a Node that is there would be that machine, with all that its pods may read.
      const isIn = (nodes: readonly { readonly name: string }[]) => nodes.some((node) => node.name === name);
      if (isIn(store.nodes())) throw NodeNameHeld({ machine: name });
      const { state } = store.record;
      if (state !== "up") throw ClusterNotUp({ state });
      if (isIn(await deps.api.nodes())) throw NodeNameHeld({ machine: name });
      const token = createBootstrapToken();
      const expiresAt = clock.now() + bootstrapTokenLifeMs;
      guests.add({ tokenId: token.id, machine: name, expiresAt });
      await deps.api.createToken(token, { machine: name, attempt: "by-hand", expiresAt });
      return {
        command: `${joinWords} --token ${formatBootstrapToken(token)} --node-name ${name}`,
        expiresAt,
      };
    },
    /** The same without a token, for people to read. */
    joinTemplate: `${joinWords} --token TOKEN`,
  };
}
export type ClusterService = ReturnType<typeof createClusterService>;

import type { Clock, Log } from "../domain/capabilities.ts";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { busyStates } from "../domain/cluster-node.ts";
import {
  clusterIsDown,
  clusterIsEmpty,
  clusterIsUp,
  electFirstMaster,
  releaseInit,
} from "../domain/cluster-record.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { ClusterAuthorities } from "../pki/cluster-authorities.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { Mailbox } from "./mailbox.ts";
import { type NodeBook, operationSeconds } from "./node-book.ts";
import { createRemovals } from "./removals.ts";
import type { GuestJoins } from "./guest-joins.ts";
import { createJoins } from "./joins.ts";
import { createNodeWatch, lostAfterMs } from "./node-watch.ts";
import type { PodNetwork } from "./pod-network.ts";
import type { ClusterApi, ClusterEndpoint, ClusterEtcd, GenerationFollower } from "./ports.ts";

export interface ReconcilerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly store: ClusterRepository;
  readonly cluster: ClusterSpec;
  readonly authorities: ClusterAuthorities;
  readonly book: NodeBook;
  readonly mailbox: Mailbox;
  readonly guests: GuestJoins;
  readonly api: ClusterApi;
  readonly etcd: ClusterEtcd;
  readonly endpoint: ClusterEndpoint;
  readonly network: PodNetwork;
  /** What each generation of the cluster gets beside its machines. */
  readonly followers: readonly GenerationFollower[];
  readonly initArguments: readonly string[];
  /** Data outlive the masters; else a cluster that went down begins anew. */
  readonly keepsData: boolean;
  /** Workers on which server and kubeadm work at the same time. */
  readonly workerSlots: number;
  readonly isArmingAutomatic: boolean;
  /** The machine is through with all that its role asks for. */
  readonly onReady: (node: ClusterNode) => Promise<void>;
  /** It takes its time, and lives. */
  readonly onAlive: (node: ClusterNode) => void;
  readonly onFailed: (node: ClusterNode) => void;
}

/** Tokens and older generations are looked at this often, ms. */
const tidyEveryMs = 15_000;

/** Agents may live on machines whose API servers do not: after this another master takes it up, ms. */
const deadAfterMs = 10 * 60_000;

/** What the parts of a pass share. */
export interface PassTools {
  /** Work goes on that takes longer than a pass. */
  readonly isWorkingOn: (node: ClusterNode) => boolean;
  /** Begins such work; what fails is told. */
  readonly workOn: (node: ClusterNode, what: string, work: () => Promise<void>) => void;
  readonly tell: (what: string, error: unknown) => void;
  /** @returns undefined where it failed; the next pass does it again */
  readonly attempt: <T>(what: string, work: () => Promise<T>) => Promise<T | undefined>;
  readonly isUp: () => boolean;
  readonly announceMasters: () => void;
  /** A token was made: those that nobody has are looked for soon. */
  readonly noteToken: () => void;
}

/**
 * Brings the cluster to what the rows say, one pass at a time: it looks at what is so and does the next step of each machine, so that after
 * an end of the server at any point the next pass goes on. Nothing is remembered but the rows.
 */
export function createReconciler(deps: ReconcilerDeps) {
  const { clock, log, record, store, book, mailbox, guests, api, etcd, endpoint, cluster } = deps;
  /** The cluster was set up since it last came up, in this process; and how often that was done. */
  let isSetUp = false;
  let setUps = 0;
  let unreadySinceMs: number | undefined;
  let tidiedAtMs = -tidyEveryMs;
  let knownTokens: string | undefined;
  /** By machine. */
  const working = new Map<string, Promise<void>>();
  /** What each kind of work last failed by: told once, until it works again. */
  const problems = new Map<string, string>();

  function tell(what: string, error: unknown): void {
    const problem = `${what}: ${error instanceof Error ? error.message : String(error)}`.slice(0, 500);
    log.warn({ err: error }, what);
    if (problems.get(what) === problem) return;
    problems.set(what, problem);
    record({ type: "cluster.problem", level: "warning", message: problem });
  }

  /** @returns undefined where it failed; the next pass does it again */
  async function attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await work();
      problems.delete(what);
      return result;
    } catch (error) {
      tell(what, error);
      return undefined;
    }
  }

  const isWorkingOn = ({ machineId }: ClusterNode) => working.has(machineId);
  function workOn({ machineId, name }: ClusterNode, what: string, work: () => Promise<void>): void {
    const done = work()
      .catch((error: unknown) => tell(`${what} ${name}`, error))
      .finally(() => {
        // Another work on it may have begun since, where this one's time was over.
        if (working.get(machineId) === done) working.delete(machineId);
      });
    working.set(machineId, done);
  }

  const isUp = () => store.record.state === "up" && endpoint.readyMasters() > 0;
  const isSilent = ({ machineId }: ClusterNode) => mailbox.silenceMs(machineId) >= lostAfterMs;
  const describe = (what: string) =>
    record({ type: "cluster.state", message: `cluster ${cluster.name}: ${what}` });

  /** Masters that may answer at the endpoint: from `kubeadm init` on, which itself asks there. */
  function announceMasters(): void {
    endpoint.setMasters(
      book
        .inState("initializing", "joining", "registered", "ready", "lost", "draining")
        .filter(({ role, generation }) => role === "master" && generation === store.record.generation)
        .map(({ name, address }) => ({ name, address })),
    );
  }

  const tools: PassTools = {
    isWorkingOn,
    workOn,
    tell,
    attempt,
    isUp,
    announceMasters,
    noteToken: () => (knownTokens = undefined),
  };
  const { begin } = createJoins(deps, tools);
  const { judgeRequests, followNodes } = createNodeWatch(deps, tools);
  const { drain, finishRemoval, sendReboot, supersede, endOlderGenerations } = createRemovals(deps, tools);

  async function endOverdue(): Promise<void> {
    const now = clock.now();
    for (const node of book.all()) {
      if (node.deadline === undefined || now < node.deadline) continue;
      if (node.state === "removing") await finishRemoval(node);
      else
        await book.failTry(
          node,
          "timed-out",
          `${node.state} took longer than ${Math.round((node.deadline - node.since) / 60_000)} minutes`,
        );
    }
    // Who is silent keeps no slot from others. It queues again when it speaks, and as after a failed try what this one left goes first.
    for (const node of book.inState("preparing", "joining"))
      if (isSilent(node))
        await book.happen(node, "timed-out", "its agent gave no sign for a minute", ({ tries }) => ({
          tries: Math.max(tries, 1),
          tokenId: undefined,
        }));
    // What an agent asked for and this process does not know is made anew, with another token.
    for (const node of book.inState("preparing", "initializing", "joining"))
      if (!isWorkingOn(node) && (node.state === "preparing" || mailbox.isMissing(node.machineId)))
        await book.happen(node, "timed-out", "the server was started anew in the middle of it");
  }

  /** The lease of a master that is gone, failed or booted anew is free. */
  async function freeLease(): Promise<void> {
    const { initMachineId, initBootId, state } = store.record;
    if (state !== "initializing" || initMachineId === undefined || initBootId === undefined) return;
    const owner = book.find(initMachineId);
    const isOwner = owner?.bootId === initBootId;
    // At work it has the time of its state, and nobody begins beside it.
    if (isOwner && ["preparing", "initializing", "registered"].includes(owner.state)) return;
    // In the queue without a failed try: this server was started anew, and goes on with it.
    const isLeft = isOwner && (owner.state === "ready" || (owner.state === "queued" && owner.tries === 0));
    if (isLeft && clock.now() < (store.record.initLeaseUntil ?? 0)) return;
    await store.update(
      (current) => releaseInit(current, { machineId: initMachineId, bootId: initBootId }, clock.now()),
      "the master that made it gave up",
    );
    describe(`${owner?.name ?? initMachineId} did not finish making it; the next master may`);
  }

  async function followEndpoint(): Promise<void> {
    const { state, initMachineId } = store.record;
    if (endpoint.readyMasters() > 0) unreadySinceMs = undefined;
    if (state === "down" && endpoint.readyMasters() > 0) {
      await store.update((current) => clusterIsUp(current, clock.now()), "a master answers again");
      describe("is up again: a master answers");
    }
    if (state === "up" && endpoint.readyMasters() === 0) {
      const isAnyAtWork = book
        .inState("joining", "registered", "ready")
        .some((node) => node.role === "master" && !isSilent(node));
      // A health check may miss once. Somebody has to begin anew where all masters are silent, or can do nothing without those that are gone.
      unreadySinceMs ??= clock.monotonicMs();
      const isTooLong = clock.monotonicMs() - unreadySinceMs > deadAfterMs;
      if (isAnyAtWork && !isTooLong && !(await etcd.isBeyondRepair())) return;
      isSetUp = false;
      await store.update((current) => clusterIsDown(current, clock.now()), "no master answers");
      describe("no master answers");
    }
    const owner = initMachineId === undefined ? undefined : book.find(initMachineId);
    if (
      state === "initializing" &&
      owner &&
      ["registered", "ready"].includes(owner.state) &&
      endpoint.readyMasters() > 0
    ) {
      await store.update((current) => clusterIsUp(current, clock.now()), "kubeadm init is through");
      describe("is up");
    }
    if (isUp() && !isSetUp)
      await attempt("setting up the cluster", async () => {
        await api.setUp();
        isSetUp = true;
        setUps++;
      });
  }

  /** Gives turns: to one master at a time, and to as many workers as there are slots. */
  async function giveSlots(): Promise<void> {
    const now = clock.now();
    const queued = book
      .inState("queued")
      .filter((node) => node.retryAt <= now && !isSilent(node))
      .toSorted((left, right) => left.since - right.since);
    const busy = book.inState(...busyStates);
    const masterAtWork = busy.find(({ role }) => role === "master");
    for (const node of queued.filter(({ role }) => role === "master")) {
      if (masterAtWork) {
        await book.say(node, `waits for its turn: ${masterAtWork.name} becomes a master first`);
        continue;
      }
      if (isUp()) {
        if (!isSetUp) continue;
        await begin(node, false);
        return;
      }
      const { machineId, bootId } = node;
      let isElected = false;
      const before = store.record;
      const elected = await store.update((current) => {
        const next = electFirstMaster(current, { machineId, bootId }, now, deps.keepsData);
        isElected = next !== undefined;
        return next;
      }, `${node.name} makes it`);
      if (!isElected) {
        await book.say(node, "waits for the master that makes the cluster");
        continue;
      }
      if (before.state !== "initializing")
        describe(`${node.name} makes it (generation ${elected.generation})`);
      await begin(node, true);
      return;
    }
    let free = deps.workerSlots - busy.filter(({ role }) => role === "worker").length;
    let position = 0;
    for (const node of queued.filter(({ role }) => role === "worker")) {
      if (isUp() && isSetUp && free > 0) {
        free--;
        await begin(node, false);
      } else
        await book.say(
          node,
          isUp() ? `waits for its turn: ${++position} in the queue` : `waits for the cluster: ${whyDown()}`,
        );
    }
  }

  function whyDown(): string {
    const unarmed = book.inState("unarmed")[0];
    if (unarmed && !deps.isArmingAutomatic) return `the master ${unarmed.name} waits to be armed`;
    const owner = book.inState("preparing", "initializing").find(({ role }) => role === "master");
    if (owner) return `${owner.name} makes it`;
    return store.record.state === "up" || store.record.state === "initializing"
      ? "its masters come up"
      : "no master has booted";
  }

  async function speakToWaiting(): Promise<void> {
    for (const node of book.inState("unarmed")) {
      const isArmed = deps.isArmingAutomatic || clock.now() < (store.armedUntil(node.machineId) ?? 0);
      if (isArmed) {
        await book.happen(node, "armed", "an operator opened the window");
        await store.disarm(node.machineId);
      } else
        await book.say(
          node,
          `this master waits for an operator: boot cluster arm ${node.name} --code ${node.armingCode}`,
        );
    }
    for (const node of book.inState("failed"))
      await book.say(node, `failed: ${screenText(node.problem ?? "")}`);
    // An instruction that this server no longer has is told again, where it is only words.
    for (const node of book.inState("registered"))
      if (mailbox.isMissing(node.machineId)) await book.say(node, "waits until its Node is Ready");
    for (const node of book.inState("ready", "rebooting", "lost"))
      if (mailbox.isMissing(node.machineId))
        await (node.state === "rebooting"
          ? sendReboot(node)
          : book.instruct(node, {
              operation: "ready",
              message: `is a ${node.role} of the cluster ${cluster.name}`,
              deadlineSeconds: operationSeconds.other,
            }));
    for (const node of book.inState("unarmed", "queued", ...busyStates))
      if (!isSilent(node)) deps.onAlive(node);
  }

  async function tidy(): Promise<void> {
    const openTokens = () => [
      ...book.all().flatMap(({ tokenId }) => tokenId ?? []),
      ...guests.open().map(({ tokenId }) => tokenId),
    ];
    const tokens = openTokens().toSorted();
    const now = clock.monotonicMs();
    if (tokens.join() === knownTokens && now - tidiedAtMs < tidyEveryMs) return;
    await endOlderGenerations();
    // While a master joins, its member is none yet, or of two minds.
    if (!book.inState(...busyStates).some(({ role }) => role === "master"))
      await attempt("removing members that no master has", () => etcd.removeForsaken());
    await api.keepTokens((id) => openTokens().includes(id));
    knownTokens = tokens.join();
    tidiedAtMs = now;
  }

  /** Takes the cluster back to nothing, from wherever it was interrupted. */
  async function finishReset(): Promise<void> {
    for (const node of book.all()) await supersede(node, "the cluster was taken back to nothing");
    await etcd.wipe(store.record.generation + 1);
    await store.update((current) => clusterIsEmpty(current, clock.now()), "its data are gone");
    describe("is back to nothing");
  }

  return {
    finishReset,

    /** One pass. Never throws: what fails is told, and done again by the next. */
    async pass(): Promise<void> {
      announceMasters();
      if (store.record.state === "resetting") {
        await attempt("resetting the cluster", finishReset);
        return;
      }
      // It may take a minute until it runs, or does not.
      void attempt("starting etcd", () => etcd.start(store.record.generation));
      await attempt("ending what took too long", endOverdue);
      await attempt("the lease of the first master", freeLease);
      await attempt("the cluster's endpoint", followEndpoint);
      await attempt("speaking to machines that wait", speakToWaiting);
      await attempt("giving turns", giveSlots);
      const { state, generation } = store.record;
      const current = state === "empty" ? 0 : generation;
      const now = { generation: current, setUps, isUp: isUp() && isSetUp };
      for (const follower of deps.followers) follower.follow(now);
      await attempt("resetting machines", drain);
      if (isUp()) {
        if (book.inState("joining", "registered").length + guests.open().length > 0)
          await attempt("judging certificate requests", judgeRequests);
        await attempt("looking at the Nodes", followNodes);
        await attempt("tidying up", tidy);
      }
    },

    /** Resolves when all work is through that passes have begun. */
    settled: (): Promise<unknown> =>
      Promise.all([...working.values(), ...deps.followers.map((one) => one.settled())]),

    /** kubeadm's end on a machine. */
    async report(node: ClusterNode, result: number, tail: string): Promise<void> {
      if (node.state !== "initializing" && node.state !== "joining") return;
      if (result === 0) {
        await book.happen(node, "kubeadm-done", "kubeadm is through");
        return;
      }
      const last = tail.trim().split("\n").at(-1) ?? "";
      await book.failTry(node, "kubeadm-failed", `kubeadm ended with ${result}: ${screenText(last)}`);
      const now = book.find(node.machineId);
      if (now?.state === "failed") deps.onFailed(now);
    },
  };
}
export type Reconciler = ReturnType<typeof createReconciler>;

/** For a console: printable ASCII, one line. */
export function screenText(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 300);
}

import { atMost } from "../domain/at-most.ts";
import type { Clock, Log } from "../domain/capabilities.ts";
import {
  type Declared,
  type DeclaredDocument,
  type DeclaredObject,
  type DeclaredProblem,
  type DeclaredStatus,
  describeObject,
  formatDeclaredCounts,
  formatDeclaredProblem,
  identityOf,
  inOrder,
  isDefinedIn,
} from "../domain/declared-object.ts";
import {
  KubernetesConflict,
  KubernetesKindUnknown,
  KubernetesObjectMissing,
  KubernetesUnreachable,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { mostUnanswered, patientTries, retryWaitMs } from "../domain/patience.ts";
import type { GenerationNow } from "./ports.ts";

export interface DeclaredObjectsDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly random: () => number;
  /** What is declared now: the same value as long as it says the same. */
  readonly read: () => Promise<Declared>;
  /** For one round: applies an object, and fails by why the API server did not take it. */
  readonly begin: () => (object: DeclaredObject) => Promise<void>;
}

/** What is declared is looked at this often, ms. */
const lookEveryMs = 5000;
/** A round ends after this, ms: the next one goes on, and looks at the files before. */
const longestRoundMs = 20_000;
/** The server's stop waits so long for a round that goes on, ms. */
const longestStopMs = 3000;
/** Refused documents that are told of one by one, at a time. */
const mostTold = 20;

/** One object, and how far the cluster of this generation has it. */
interface Entry {
  readonly document: DeclaredDocument;
  isApplied: boolean;
  tries: number;
  retryAtMs: number;
  /** Why it was refused. */
  problem: string | undefined;
}

export type DeclaredObjects = ReturnType<typeof createDeclaredObjects>;

/**
 * Sees to it that each generation of the cluster has what is declared: again when that changes, and until the API server has taken it.
 * What it knows is in memory alone: after a start of the server all is applied once more, which changes nothing that is so already.
 */
export function createDeclaredObjects(deps: DeclaredObjectsDeps) {
  const { clock, log, record, random } = deps;
  let declared: Declared = { documents: [], problems: [] };
  let entries = new Map<string, Entry>();
  let generation = 0;
  let setUps = 0;
  let isUp = false;
  let isStopped = false;
  /** Who is told may be gone. */
  let isOver = false;
  let lookedAtMs = -lookEveryMs;
  let running: Promise<void> | undefined;

  async function look(): Promise<void> {
    if (clock.monotonicMs() - lookedAtMs < lookEveryMs) return;
    lookedAtMs = clock.monotonicMs();
    const found = await deps.read();
    if (found === declared || isStopped) return;
    const before = new Set(declared.problems.map(formatDeclaredProblem));
    tellRefused(found.problems.filter((problem) => !before.has(formatDeclaredProblem(problem))));
    entries = new Map(
      inOrder(found.documents).map((document) => {
        const identity = identityOf(document.object);
        const known = entries.get(identity);
        // It may have moved to another place or file.
        const isSame = known?.document.digest === document.digest;
        return [identity, isSame ? { ...known, document } : newEntry(document)];
      }),
    );
    declared = found;
  }

  /** One round: each object that is due, one after another, so that a room full of them is no flood. */
  async function apply(): Promise<void> {
    const round = generation;
    const isCurrent = () => isUp && !isStopped && generation === round;
    // Who was tried less often comes first, so that what gets no answer keeps nothing else waiting.
    const due = [...entries.values()]
      .filter(({ isApplied, retryAtMs }) => !isApplied && retryAtMs <= clock.monotonicMs())
      .sort((left, right) => left.tries - right.tries);
    if (due.length === 0 || !isCurrent()) return;
    const applyOne = deps.begin();
    const endMs = clock.monotonicMs() + longestRoundMs;
    const refused: DeclaredProblem[] = [];
    let applied = 0;
    let unanswered = 0;
    for (const entry of due) {
      const { object } = entry.document;
      try {
        await applyOne(object);
        if (!isCurrent()) break;
        applied++;
        unanswered = 0;
        Object.assign(entry, { isApplied: true, problem: undefined });
      } catch (error) {
        if (!isCurrent()) break;
        const isNew = entry.problem === undefined;
        noteFailure(entry, error);
        const problem = isNew ? problemOf(entry) : undefined;
        if (problem) refused.push(problem);
        // An error of its own, such as a webhook's, says nothing of the next object.
        const isUnanswered = KubernetesUnreachable.is(error) && error.details["status"] === undefined;
        unanswered = isUnanswered ? unanswered + 1 : 0;
        if (unanswered === mostUnanswered) break;
      }
      if (clock.monotonicMs() > endMs) break;
    }
    if (isOver) return;
    tellRefused(refused);
    if (applied === 0) return;
    const now = status();
    record({
      type: "cluster.objects",
      message: `declared objects of generation ${round}: ${formatDeclaredCounts(now.applied, now.waiting, now.refused.length)}`,
      data: { generation: round, applied },
    });
  }

  function noteFailure(entry: Entry, error: unknown): void {
    const { object } = entry.document;
    entry.tries++;
    // No answer, an error of a webhook, or a definition that the API server has not read yet: later may be better.
    const mayPass =
      KubernetesUnreachable.is(error) ||
      KubernetesConflict.is(error) ||
      (KubernetesObjectMissing.is(error) && hasItsNamespace(object)) ||
      (KubernetesKindUnknown.is(error) && isDefinedIn(declared.documents, object));
    if (!mayPass || entry.tries >= patientTries)
      entry.problem = error instanceof Error ? error.message : String(error);
    entry.retryAtMs = clock.monotonicMs() + retryWaitMs(entry.tries, mayPass, random());
  }

  /** Is the namespace that it is to be in declared too? It may have failed itself, and be there after its next try. */
  const hasItsNamespace = ({ metadata }: DeclaredObject): boolean =>
    declared.documents.some(
      ({
        object: {
          kind,
          metadata: { name },
        },
      }) => kind === "Namespace" && name === metadata.namespace,
    );

  function tellRefused(problems: readonly DeclaredProblem[]): void {
    for (const problem of problems.slice(0, mostTold)) {
      const { file, place, line, object, reason } = problem;
      const what = place === undefined ? "declared objects can't be read" : "a declared object is refused";
      log.warn({ file, place, line, object, reason }, what);
      record({
        type: "cluster.object-refused",
        level: "warning",
        message: `${place === undefined ? "declared objects" : "declared object refused"}: ${formatDeclaredProblem(problem)}`,
        data: { file, document: place ?? null, line: line ?? null, object: object ?? null, reason },
      });
    }
    if (problems.length > mostTold)
      record({
        type: "cluster.object-refused",
        level: "warning",
        message: `declared objects refused: ${problems.length - mostTold} more; boot cluster show lists them`,
      });
  }

  function status(): DeclaredStatus {
    const all = [...entries.values()];
    const refused = [...declared.problems, ...all.flatMap((entry) => problemOf(entry) ?? [])];
    const applied = all.filter(({ isApplied }) => isApplied).length;
    return { applied, waiting: all.length - applied - (refused.length - declared.problems.length), refused };
  }

  return {
    /** Begins what is due, unless it is at it. */
    follow(now: GenerationNow): void {
      isUp = now.isUp;
      if (now.generation !== generation || now.setUps !== setUps) {
        ({ generation, setUps } = now);
        for (const [identity, { document }] of entries) entries.set(identity, newEntry(document));
      }
      if (running || isStopped) return;
      running = (async () => {
        await look();
        await apply();
      })()
        .catch((error: unknown) => {
          if (!isOver) log.warn({ err: error }, "declared objects");
        })
        .finally(() => (running = undefined));
    },
    status,
    /** Resolves when the round that goes on is through. */
    settled: async (): Promise<void> => running,
    /** Begins nothing more. Resolves when the round that goes on is through, or after three seconds: what it still does is told to nobody. */
    async stop(): Promise<void> {
      isStopped = true;
      await atMost(clock, longestStopMs, running);
      isOver = true;
    },
  };
}

const newEntry = (document: DeclaredDocument): Entry => ({
  document,
  isApplied: false,
  tries: 0,
  retryAtMs: 0,
  problem: undefined,
});

function problemOf({ document, problem }: Entry): DeclaredProblem | undefined {
  if (problem === undefined) return undefined;
  const { file, place, line, object } = document;
  return { file, place, line, object: describeObject(object), reason: problem };
}

import { createHash } from "node:crypto";
import type { ContentStore, FileIdentity } from "../content/content-store.ts";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import { RegistryCheckRuns } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { RegistryBlob } from "../store/registry.ts";
import type { DerivedManifest, ManifestKey, RegistryUpkeepRepository } from "../store/registry-upkeep.ts";
import { type Digest, digestAlgorithms, hexOf, parseDigest } from "./digest.ts";
import { type ManifestFacts, readManifest } from "./manifest.ts";
import type { Registry } from "./registry.ts";
import { breathe, createPauses } from "./turns.ts";

export interface RegistryCheckDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly record: RecordEvent;
  readonly content: Pick<ContentStore, "find" | "open" | "list" | "remove" | "setAside" | "sweepQuarantine">;
  readonly store: RegistryUpkeepRepository;
  readonly registry: Pick<Registry, "isArriving" | "forget">;
  /** Files that nobody knows are left alone for so long: they may be on their way. */
  readonly graceMs: DurationMs;
  /** Is this content a boot asset? @param sha256 in hex */
  readonly isAsset: (sha256: string) => boolean;
  /** Of the scrub in the background; 0: there is none. */
  readonly scrubBytesPerSecond: number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export type Damage = "missing" | "size" | "digest";

/** What is wrong with content, and with which file of it; no file: it is missing. */
interface Finding {
  readonly problem: Damage;
  readonly seen?: FileIdentity;
}

export interface DamagedContent {
  readonly digest: string;
  readonly problem: Damage;
  readonly repositories: readonly string[];
}

export interface RegistryCheckResult {
  readonly blobs: number;
  readonly bytes: number;
  readonly manifests: number;
  /** Were the digests looked at too? */
  readonly isDeep: boolean;
  readonly isRepaired: boolean;
  /** What is not there for anybody until it is pushed again; the first hundred of them. */
  readonly damaged: readonly DamagedContent[];
  readonly damagedCount: number;
  /** What was lost and is whole again. */
  readonly recovered: number;
  /** Manifests whose rows are not what they say themselves. */
  readonly wrongManifests: number;
  /** Files that no row and no image names. */
  readonly strangers: number;
  readonly strangerBytes: number;
  readonly tookMs: DurationMs;
}

export interface CheckOptions {
  readonly isDeep?: boolean;
  readonly isRepair?: boolean;
}

const readBytes = 256 * 1024;
const namedDamage = 100;
/** One pass of the scrub begins so long after the one before. */
const scrubEveryMs = 24 * 60 * 60_000;
/** Damaged content can be looked at for so long. */
const quarantineMs = 7 * 24 * 60 * 60_000;
const hexDigits = 64;

/**
 * Compares what the database knows with what lies on the disk. Damaged content is put aside as soon as it is found, whoever looks: wrong
 * octets are served to nobody, and a push of the same content heals it.
 */
export function createRegistryCheck(deps: RegistryCheckDeps) {
  const { clock, log, record, content, store, registry, graceMs, isAsset, scrubBytesPerSecond } = deps;
  const pauses = createPauses(clock);
  let isRunning = false;
  let working: Promise<unknown> = Promise.resolve();
  let checking: Promise<unknown> = Promise.resolve();

  /** Takes content away from everybody, and tells. @returns false when it was brought anew meanwhile */
  async function condemn({ digest }: RegistryBlob, { problem, seen }: Finding): Promise<boolean> {
    const isWanted = () => registry.isArriving(digest) || store.findBlob(digest) === undefined;
    const isGone = seen
      ? await content.setAside(hexOf(digest), seen, isWanted)
      : (await content.find(hexOf(digest))) === undefined;
    if (!isGone || isWanted()) return false;
    const isNew = await store.setPresent(digest, false);
    registry.forget(digest);
    if (!isNew || !store.isUsed(digest)) return isNew;
    const repositories = store.repositoriesWith(digest);
    const said = { missing: "is lost", size: "has another length", digest: "was changed on the disk" }[
      problem
    ];
    const advice = store.isFetchedAgain(digest)
      ? "it is fetched again when somebody asks for it"
      : "push it again";
    record({
      type: "registry.damaged",
      level: "alarm",
      message: `${digest} of ${repositories.join(", ")} ${said}; ${advice}`,
      data: { digest, problem, repositories },
    });
    return true;
  }

  /** @returns what is wrong with it; undefined: nothing, or nobody can tell */
  async function judge(
    blob: RegistryBlob,
    isDeep: boolean,
    pace?: (octets: number) => Promise<void>,
  ): Promise<Finding | undefined> {
    const file = await content.open(hexOf(blob.digest));
    if (!file) return { problem: "missing" };
    try {
      const { size, dev, ino, mtimeMs } = await file.stat();
      const seen = { dev, ino, mtimeMs };
      if (size !== blob.sizeBytes) return { problem: "size", seen };
      if (!isDeep) return undefined;
      const { algorithm, hex } = parseDigest(blob.digest) as Digest;
      const hash = createHash(algorithm);
      const buffer = Buffer.allocUnsafe(readBytes);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, readBytes, null);
        if (bytesRead === 0) return hash.digest("hex") === hex ? undefined : { problem: "digest", seen };
        hash.update(buffer.subarray(0, bytesRead));
        await pace?.(bytesRead);
        if (pauses.isStopped) return undefined;
      }
    } finally {
      await file.close();
    }
  }

  /** @returns what is wrong with it, and it was put aside */
  async function examine(
    blob: RegistryBlob,
    isDeep: boolean,
    pace?: (octets: number) => Promise<void>,
  ): Promise<Damage | undefined> {
    if (registry.isArriving(blob.digest)) return undefined;
    const finding = await judge(blob, isDeep, pace);
    // It may have been deleted, or brought anew, while it was read.
    if (!finding || store.findBlob(blob.digest)?.isPresent !== true) return undefined;
    return (await condemn(blob, finding)) ? finding.problem : undefined;
  }

  async function checkBlobs(isDeep: boolean) {
    const found = { blobs: 0, bytes: 0, recovered: 0, damagedCount: 0, damaged: [] as DamagedContent[] };
    for (let after: string | undefined, isDone = false; !isDone && !pauses.isStopped;) {
      const part = store.blobs(after);
      for (const blob of part.rows) {
        const { digest, sizeBytes } = blob;
        let problem: Damage | undefined;
        if (blob.isPresent) {
          found.blobs++;
          found.bytes += sizeBytes;
          // Manifests are short, and all else hangs on them.
          problem = await examine(blob, isDeep || store.isManifest(digest));
        } else if (store.isUsed(digest)) {
          // Lost before; its file may have been put back by hand.
          problem = (await judge(blob, true))?.problem;
          if (problem === undefined && (await store.setPresent(digest, true))) found.recovered++;
          // What an upstream has may go from here, and come again.
          if (store.isFetchedAgain(digest)) continue;
        }
        if (problem === undefined) continue;
        found.damagedCount++;
        if (found.damaged.length < namedDamage)
          found.damaged.push({ digest, problem, repositories: store.repositoriesWith(digest) });
      }
      after = part.next;
      isDone = after === undefined;
      await breathe();
    }
    return found;
  }

  async function readFacts(row: DerivedManifest): Promise<ManifestFacts | undefined> {
    const file = await content.open(hexOf(row.digest));
    const octets = await file?.readFile().finally(() => void file.close());
    const { algorithm, hex } = parseDigest(row.digest) as Digest;
    if (!octets || createHash(algorithm).update(octets).digest("hex") !== hex) return undefined;
    try {
      return readManifest(octets, undefined);
    } catch {
      return undefined;
    }
  }

  async function checkManifests(isRepair: boolean) {
    const found = { manifests: 0, wrongManifests: 0 };
    for (let after: ManifestKey | undefined, isDone = false; !isDone && !pauses.isStopped;) {
      const part = store.manifests(after);
      for (const row of part.rows) {
        found.manifests++;
        const said = await readFacts(row);
        if (!said) continue;
        const { references, ...rest } = said;
        // What the client called it where it does not say so itself.
        const facts = { ...rest, mediaType: row.facts.mediaType };
        // Of an upstream's image there is what somebody asked for.
        const lost = row.isCached
          ? []
          : references.filter(
              (reference) =>
                reference.kind !== "manifest" &&
                !reference.isForeign &&
                !store.has(row.repository, reference),
            );
        if (isSame(row, { ...row, facts, references }) && lost.length === 0) continue;
        found.wrongManifests++;
        if (!isRepair) continue;
        const blobs: RegistryBlob[] = [];
        for (const { digest } of lost) {
          const file = await content.find(hexOf(digest));
          const blob = file && { digest, sizeBytes: file.sizeBytes };
          if (blob && (await judge(blob, true)) === undefined) blobs.push(blob);
        }
        await store.rewriteManifest({ ...row, facts, references }, blobs, clock.now());
      }
      after = part.next;
      isDone = after === undefined;
      await breathe();
    }
    return found;
  }

  async function checkFiles(isRepair: boolean) {
    const found = { strangers: 0, strangerBytes: 0 };
    for (const algorithm of digestAlgorithms)
      for (const [index, { sha256: hex, sizeBytes, changedAt }] of (
        await content.list(algorithm)
      ).entries()) {
        if (index % 100 === 0) await breathe();
        if (hex.length !== (algorithm === "sha256" ? hexDigits : 2 * hexDigits)) continue;
        const digest = `${algorithm}:${hex}`;
        const isKnown = () =>
          registry.isArriving(digest) ||
          store.findBlob(digest) !== undefined ||
          (algorithm === "sha256" && isAsset(hex));
        if (isKnown() || changedAt > clock.now() - graceMs) continue;
        found.strangers++;
        found.strangerBytes += sizeBytes;
        if (isRepair) await content.remove(hex, isKnown);
      }
    return found;
  }

  async function checkAll({ isDeep = false, isRepair = false }: CheckOptions): Promise<RegistryCheckResult> {
    const began = clock.monotonicMs();
    const blobs = await checkBlobs(isDeep);
    const manifests = await checkManifests(isRepair);
    const files = await checkFiles(isRepair);
    const tookMs = Math.round(clock.monotonicMs() - began);
    return { ...blobs, ...manifests, ...files, isDeep, isRepaired: isRepair, tookMs };
  }

  /** A part of the time that reading this would take at the highest rate. */
  const pace = (octets: number) => pauses.pause((octets / scrubBytesPerSecond) * 1000);

  /** Reads everything once, from a place by chance: a server that is restarted each day gets everywhere all the same. */
  async function scrub(): Promise<void> {
    const begin = `sha256:${Math.floor(deps.random() * 16 ** 8)
      .toString(16)
      .padStart(8, "0")}`;
    for (const [from, to] of [
      [begin, undefined],
      [undefined, begin],
    ])
      for (let after = from, isDone = false; !isDone && !pauses.isStopped;) {
        const part = store.blobs(after);
        for (const blob of part.rows) {
          if (pauses.isStopped || (to !== undefined && blob.digest > to)) return;
          if (blob.isPresent) await examine(blob, true, pace);
        }
        after = part.next;
        isDone = after === undefined;
      }
  }

  async function workInBackground(): Promise<void> {
    await checkBlobs(false);
    while (!pauses.isStopped) {
      await content.sweepQuarantine(clock.now() - quarantineMs);
      if (scrubBytesPerSecond > 0) await scrub();
      await pauses.pause(scrubEveryMs);
    }
  }

  return {
    /** Somebody came upon content that is not as it was pushed; a failure is noted, for nobody waits for it. */
    suspect(digest: string): void {
      const blob = store.findBlob(digest);
      if (!blob?.isPresent) return;
      examine(blob, true).catch((error: unknown) =>
        log.error({ err: error, digest }, "failed to put damaged content of the registry aside"),
      );
    },

    /** @param isRepair rows are made what the content says, and files that nobody knows go @throws RegistryCheckRuns */
    async check(options: CheckOptions = {}): Promise<RegistryCheckResult> {
      if (isRunning) throw RegistryCheckRuns({});
      isRunning = true;
      const done = checkAll(options).finally(() => (isRunning = false));
      checking = done.catch(() => undefined);
      return done;
    },

    /** Compares lengths once, and then reads everything slowly, again and again. */
    start(): void {
      working = workInBackground().catch((error: unknown) =>
        log.error({ err: error }, "failed to check the registry's content"),
      );
    },
    /** Resolves when nothing is under way any more. */
    async stop(): Promise<void> {
      pauses.stop();
      await working;
      await checking;
    },
  };
}
export type RegistryCheck = ReturnType<typeof createRegistryCheck>;

/** Do the rows say what the manifest says? Annotations are kept of those with a subject alone. */
function isSame(row: DerivedManifest, said: DerivedManifest): boolean {
  const text = ({ facts, references }: DerivedManifest) =>
    JSON.stringify([
      facts.artifactType ?? null,
      facts.configMediaType ?? null,
      facts.subject ?? null,
      facts.subject === undefined
        ? []
        : Object.entries(facts.annotations).sort(([a], [b]) => (a < b ? -1 : 1)),
      [...new Set(references.map(({ kind, digest }) => `${kind} ${digest}`))].sort(),
    ]);
  return text(row) === text(said);
}

import { createHash, type Hash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { type FileHandle, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ContentStore } from "../content/content-store.ts";
import type { Clock, DurationMs, Ids } from "../domain/capabilities.ts";
import { DiskFull } from "../domain/error-catalogue.ts";
import { giveBack } from "../domain/give-back.ts";
import type { RegistryRepository, RegistryUpload } from "../store/registry.ts";
import type { Digest, DigestAlgorithm } from "./digest.ts";
import { OciError } from "./oci-error.ts";
import type { RepositoryQuotas } from "./repository-quota.ts";

export interface UploadDeps {
  /** Where the files of uploads lie till they are done; of the content store's file system, and kept over a restart. */
  readonly directory: string;
  readonly clock: Clock;
  readonly ids: Pick<Ids, "secret">;
  readonly content: Pick<ContentStore, "adopt" | "refuseWhenFull">;
  readonly quotas: Pick<RepositoryQuotas, "refuseBeyond">;
  readonly store: Pick<RegistryRepository, "uploads" | "addUpload" | "removeUpload">;
}

/** An upload that nobody goes on with is dropped after this. */
export const uploadLifeMs: DurationMs = 24 * 60 * 60_000;
/** Uploads under way, all together, and of one token, so that none takes them all. */
const mostUploads = 2000;
const mostUploadsOfOne = 200;
/** An upload that nobody went on with for so long makes room for a new one where there is none left. */
const idleMs: DurationMs = 60 * 60_000;
/** What comes is gathered to writes of this length, octets: the disk and the threads behind it are asked less often. */
const longestBatchBytes = 1024 * 1024;
/** Of many uploads, so that all of them together hold no more than this; each gathers a batch while another is written. */
const heldBytes = 64 * 1024 * 1024;
const shortestBatchBytes = 64 * 1024;
const readBytes = 1024 * 1024;

/** An upload under way. */
export interface Upload {
  readonly id: string;
  readonly repository: string;
  /** Octets that are there. */
  readonly sizeBytes: number;
}

interface Session extends RegistryUpload {
  sizeBytes: number;
  expiresAt: number;
  /** Name of the token; undefined after a restart. */
  readonly owner: string | undefined;
  /** Of the octets that are there; undefined after a restart: then the file is read once more. */
  hash: Hash | undefined;
  /** One writer at a time. */
  writing: Promise<unknown> | undefined;
}

/** Content as it comes, in batches: `batchBytes` says of what length. */
export type UploadSource = AsyncIterable<readonly Uint8Array[]>;

/** Uploads from the first octet to the finished content: spec.md, "Pushing blobs". */
export async function createUploads({ directory, clock, ids, content, quotas, store }: UploadDeps) {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const sessions = new Map<string, Session>();
  let receiving = 0;
  const fileOf = ({ id }: Pick<Session, "id">) => join(directory, id);

  /** @throws DiskFull, RegistryQuotaReached, RepositoryQuotaReached */
  function refuseBeyond(repository: string, neededBytes: number): void {
    content.refuseWhenFull(neededBytes);
    quotas.refuseBeyond(repository, neededBytes);
  }

  // A row without a file is dropped at the next start, so nobody waits for it.
  function forget(id: string): void {
    sessions.delete(id);
    store.removeUpload(id).catch(() => undefined);
  }

  for (const row of store.uploads()) {
    const file = await stat(fileOf(row)).catch(() => undefined);
    if (!file || row.expiresAt < clock.now()) forget(row.id);
    else
      sessions.set(row.id, {
        ...row,
        sizeBytes: file.size,
        owner: undefined,
        hash: undefined,
        writing: undefined,
      });
  }
  for (const name of await readdir(directory)) if (!sessions.has(name)) await rm(join(directory, name));

  async function discard(session: Session): Promise<void> {
    forget(session.id);
    await rm(fileOf(session), { force: true });
  }

  /** @throws OciError BLOB_UPLOAD_UNKNOWN */
  function find(id: string, repository: string): Session {
    const session = sessions.get(id);
    if (session?.repository !== repository)
      throw new OciError(
        "BLOB_UPLOAD_UNKNOWN",
        "there is no such upload: it is done, was cancelled or was idle for a day; begin it again",
      );
    return session;
  }

  /** Sees that one more of these may begin. @throws OciError TOOMANYREQUESTS */
  function makeRoom(these: readonly Session[], limit: number, whose: string): void {
    if (these.length < limit) return;
    const idle = these
      .filter(({ writing, expiresAt }) => !writing && expiresAt - uploadLifeMs <= clock.now() - idleMs)
      .sort((left, right) => left.expiresAt - right.expiresAt)[0];
    if (!idle)
      throw new OciError(
        "TOOMANYREQUESTS",
        `${whose} ${limit} uploads under way already: finish or cancel (DELETE) some of them, or try again later`,
        { headers: { "retry-after": "30" } },
      );
    discard(idle).catch(() => undefined);
  }

  /** Takes the session for one writer. @throws what `work` throws */
  async function writeAlone<T>(session: Session, work: () => Promise<T>): Promise<T> {
    const writing = work();
    session.writing = writing.catch(() => undefined);
    try {
      return await writing;
    } finally {
      session.writing = undefined;
    }
  }

  async function receive(session: Session, source: UploadSource): Promise<void> {
    const hash = (session.hash ??= await hashFile(fileOf(session), session.algorithm));
    const file = await open(fileOf(session), "a", 0o600);
    let writing: Promise<void> = Promise.resolve();
    let fault: Error | undefined;
    // By hand, for a fault of the disk is no fault of the connection, which the answer goes out on.
    const batches = source[Symbol.asyncIterator]();
    const next = () =>
      batches.next().catch((error: unknown) => {
        fault = error as Error;
        return { done: true as const, value: undefined };
      });
    receiving++;
    try {
      // What came before the client went stays, and it goes on from there.
      for (let one = await next(); !one.done; one = await next()) {
        const batch = one.value;
        const length = batch.reduce((sum, chunk) => sum + chunk.length, 0);
        for (const chunk of batch) hash.update(chunk);
        await writing;
        refuseBeyond(session.repository, length);
        writing = writeAll(file, batch, length).then(() => {
          session.sizeBytes += length;
          batch.forEach(giveBack);
        });
        // It is waited for before the next one.
        writing.catch(() => undefined);
      }
      await writing;
    } catch (error) {
      await batches.return?.();
      await writing.catch(() => undefined);
      await discard(session);
      throw asDiskFull(error, directory);
    } finally {
      receiving--;
      await file.close();
      session.expiresAt = clock.now() + uploadLifeMs;
    }
    if (fault) throw fault;
  }

  return {
    /** @param owner name of the token @throws OciError TOOMANYREQUESTS; DiskFull when `announcedBytes` have no room */
    begin(repository: string, algorithm: DigestAlgorithm, announcedBytes: number, owner: string): Upload {
      refuseBeyond(repository, announcedBytes);
      const all = [...sessions.values()];
      makeRoom(
        all.filter((session) => session.owner === owner),
        mostUploadsOfOne,
        "this token has",
      );
      makeRoom(all, mostUploads, "the registry has");
      const now = clock.now();
      const row = { id: ids.secret(), repository, algorithm, createdAt: now, expiresAt: now + uploadLifeMs };
      const session = { ...row, sizeBytes: 0, owner, hash: createHash(algorithm), writing: undefined };
      sessions.set(row.id, session);
      // A commit that fails is told to whoever waits for one: the end of this upload.
      store.addUpload(row).catch(() => undefined);
      return session;
    },

    find: (id: string, repository: string): Upload => find(id, repository),

    /** How much of an upload is gathered before it is handed over, octets. */
    batchBytes: (): number =>
      Math.max(shortestBatchBytes, Math.min(longestBatchBytes, heldBytes / 2 / Math.max(1, receiving))),

    /**
     * Appends what comes. @param from where the client believes to go on; undefined: at the end
     * @throws OciError with status 416 when that is not the end, or somebody else is writing; DiskFull, and the upload is gone
     */
    async append(
      { id, repository }: Upload,
      source: UploadSource,
      { from, length }: { readonly from?: number | undefined; readonly length?: number | undefined },
    ): Promise<Upload> {
      const session = find(id, repository);
      if (session.writing || (from !== undefined && from !== session.sizeBytes)) throw outOfOrder(session);
      refuseBeyond(repository, length ?? 0);
      await writeAlone(session, () => receive(session, source));
      return session;
    },

    /**
     * Ends an upload: its octets are on the disk, and the content store has them under their digest.
     * @param last of its octets @throws OciError DIGEST_INVALID, and the upload is gone; DiskFull
     */
    async finish(
      { id, repository }: Upload,
      digest: Digest,
      last: UploadSource | undefined,
      { from, length }: { readonly from?: number | undefined; readonly length?: number | undefined } = {},
    ): Promise<{ readonly digest: string; readonly sizeBytes: number }> {
      const session = find(id, repository);
      // A client that ended its PATCH may be here before we have written all of it.
      while (session.writing) await session.writing;
      find(id, repository);
      if (from !== undefined && from !== session.sizeBytes) throw outOfOrder(session);
      refuseBeyond(repository, length ?? 0);
      return writeAlone(session, async () => {
        if (last) await receive(session, last);
        const file = fileOf(session);
        const hash =
          session.hash && session.algorithm === digest.algorithm
            ? session.hash
            : await hashFile(file, digest.algorithm);
        session.hash = undefined;
        const actual = hash.digest("hex");
        if (actual !== digest.hex) {
          await discard(session);
          throw new OciError(
            "DIGEST_INVALID",
            `the content has the digest ${digest.algorithm}:${actual}; send it again, nothing of it was kept`,
            { detail: { digest: digest.text } },
          );
        }
        const handle = await open(file, "a", 0o600);
        try {
          await handle.datasync();
        } finally {
          await handle.close();
        }
        await content.adopt(file, digest.hex);
        sessions.delete(id);
        return { digest: digest.text, sizeBytes: session.sizeBytes };
      });
    },

    /** @throws OciError BLOB_UPLOAD_UNKNOWN */
    async cancel(id: string, repository: string): Promise<void> {
      const session = find(id, repository);
      sessions.delete(id);
      while (session.writing) await session.writing;
      await discard(session);
    },

    /** How many are under way. */
    count: (): number => sessions.size,
    /** Octets of all uploads under way. @param repository undefined: of all of them */
    sizeBytes: (repository?: string): number =>
      [...sessions.values()].reduce(
        (sum, one) => sum + (repository === undefined || one.repository === repository ? one.sizeBytes : 0),
        0,
      ),

    /** Drops what nobody went on with. */
    async sweep(): Promise<void> {
      for (const session of sessions.values())
        if (session.expiresAt < clock.now() && !session.writing) await discard(session);
    },
  };
}
export type Uploads = Awaited<ReturnType<typeof createUploads>>;

/** `0-<last octet>`; of nothing too, as all registries have it. */
export const rangeOf = ({ sizeBytes }: Pick<Upload, "sizeBytes">): string =>
  `0-${Math.max(0, sizeBytes - 1)}`;

function outOfOrder(upload: Upload): OciError {
  return new OciError(
    "BLOB_UPLOAD_INVALID",
    `the upload has ${upload.sizeBytes} octets and goes on after them, one writer at a time; ask for its state`,
    { status: 416, headers: { range: rangeOf(upload) } },
  );
}

/** The kernel may take less than it was given. */
async function writeAll(file: FileHandle, chunks: readonly Uint8Array[], length: number): Promise<void> {
  const { bytesWritten } = await file.writev(chunks);
  if (bytesWritten < length) await file.writeFile(Buffer.concat(chunks).subarray(bytesWritten));
}

async function hashFile(path: string, algorithm: DigestAlgorithm): Promise<Hash> {
  const hash = createHash(algorithm);
  const file = await open(path, "r").catch((error: unknown) => {
    // Nothing has come yet.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  if (!file) return hash;
  try {
    const buffer = Buffer.allocUnsafe(readBytes);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, readBytes, null);
      if (bytesRead === 0) return hash;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

function asDiskFull(error: unknown, path: string): unknown {
  return (error as NodeJS.ErrnoException).code === "ENOSPC"
    ? DiskFull({ neededBytes: longestBatchBytes, freeBytes: 0, path })
    : error;
}

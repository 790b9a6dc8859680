import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { ContentStore } from "../content/content-store.ts";
import type { Clock, DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { RegistryBlob, RegistryReference, RegistryRepository } from "../store/registry.ts";
import { type Digest, hexOf, parseDigest } from "./digest.ts";
import { readManifest } from "./manifest.ts";
import { OciError } from "./oci-error.ts";
import { formatReferrers, type ReferrerPage } from "./referrers.ts";
import type { Pins } from "./pins.ts";
import type { RepositoryQuotas } from "./repository-quota.ts";
import type { Upload, Uploads, UploadSource } from "./uploads.ts";

export interface RegistryDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly record: RecordEvent;
  readonly content: Pick<ContentStore, "put" | "find" | "open">;
  readonly store: RegistryRepository;
  readonly uploads: Uploads;
  readonly quotas: RepositoryQuotas;
  readonly pins: Pick<Pins, "pinOf">;
  /** Who was told that content is there names it in a manifest, or fetches it, within this time. */
  readonly leaseMs: DurationMs;
  /** Images that hold the signatures of others. */
  readonly attachments: {
    pushed(manifest: {
      readonly repository: string;
      readonly digest: string;
      readonly tags: readonly string[];
      readonly by: string;
    }): Promise<void>;
    removed(reference: string): void;
  };
  /** Content is not as it was pushed. */
  readonly onDamage: (digest: string) => void;
}

/** Where a manifest is, without its octets. */
export interface FoundManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** When it was pushed to this repository. */
  readonly createdAt: EpochMs;
}

export interface ManifestPush {
  readonly repository: string;
  /** What the client says that it is; undefined: it pushes by tag. */
  readonly digest: Digest | undefined;
  readonly tags: readonly string[];
  readonly octets: Uint8Array;
  readonly contentType: string | undefined;
  /** Name of the token. */
  readonly by: string;
}

export interface PushedManifest {
  readonly digest: string;
  readonly subject: string | undefined;
}

/** Manifests up to this length are kept in memory, octets: images have one of some kB. */
const smallManifestBytes = 256 * 1024;
const keptManifestBytes = 32 * 1024 * 1024;
/** Leases that are remembered, so that a blob that many ask for is not written down each time. */
const rememberedLeases = 10_000;
/** References of a refused manifest that are named. */
const namedReferences = 20;

export interface ReferrersAsked {
  readonly artifactType: string | undefined;
  readonly after?: string;
}

/** Who reads, as far as leases go: whoever may push counts on what it is told of, and names it next. */
export interface Reader {
  readonly mayPush: () => boolean;
}
const anybody: Reader = { mayPush: () => false };

/** The registry behind the routes: repositories of blobs and manifests, in one content store. */
export function createRegistry(deps: RegistryDeps) {
  const { clock, log, record, content, store, uploads, quotas, pins, leaseMs } = deps;
  const { attachments, onDamage } = deps;
  const small = new LRUCache<string, Buffer>({
    maxSize: keptManifestBytes,
    sizeCalculation: ({ length }) => Math.max(1, length),
  });
  const leased = new LRUCache<string, number>({ max: rememberedLeases });
  /** Content that lies in the store and whose rows are on their way to the disk. */
  const arriving = new Map<string, number>();

  const isLeased = (digest: string) => (leased.get(digest) ?? 0) >= clock.now() + leaseMs;

  function lease(digest: string): void {
    if (isLeased(digest)) return;
    // A little longer than it has to be, so that what many ask for is not written down each time.
    const until = clock.now() + leaseMs * 1.25;
    leased.set(digest, until);
    store.lease(digest, until).catch(() => void leased.delete(digest));
  }

  /** Who only pulls may end what was begun, and must not keep for ever what was deleted: what is needed is leased, the rest is not. */
  function leaseFor({ mayPush }: Reader, repository: string, digest: string): void {
    if (isLeased(digest)) return;
    if (mayPush() || store.isNeeded(repository, digest)) lease(digest);
  }

  /** Is its file there, and of this length? Else it is looked at, and whoever pushes has to send it. */
  async function hasFile({ digest, sizeBytes }: RegistryBlob): Promise<boolean> {
    if ((await content.find(hexOf(digest)))?.sizeBytes === sizeBytes) return true;
    onDamage(digest);
    return false;
  }

  /** Lies exactly this in the store? */
  async function isKept(hex: string, octets: Uint8Array): Promise<boolean> {
    if ((await content.find(hex))?.sizeBytes !== octets.length) return false;
    const file = await content.open(hex);
    const kept = await file?.readFile().finally(() => void file.close());
    return kept?.equals(octets) ?? false;
  }

  async function whileArriving<T>(digest: string, work: () => Promise<T>): Promise<T> {
    arriving.set(digest, (arriving.get(digest) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (arriving.get(digest) ?? 1) - 1;
      if (left > 0) arriving.set(digest, left);
      else arriving.delete(digest);
    }
  }

  function tell(type: "registry.pushed" | "registry.deleted", repository: string, what: string, by: string) {
    const verb = type === "registry.pushed" ? "pushed to" : "removed from";
    const separator = what.includes(":") ? "@" : ":";
    record({
      type,
      message: `${repository}${separator}${what} was ${verb} the registry`,
      actor: by,
      data: { repository, reference: what },
    });
  }

  const registry = {
    uploads,

    /** While content comes into the store no collector takes it away. */
    whileArriving,
    /** Is somebody bringing this content right now? It may be in the store and not in the database yet. */
    isArriving: (digest: string): boolean => arriving.has(digest),

    /** The content of this manifest is to be read from the disk again. */
    forget: (digest: string): void => void small.delete(digest),

    /** Does the registry keep this content? For collectors of other content. @param digest `sha256:<hex>` */
    keeps: (digest: string): boolean => arriving.has(digest) || store.keeps(digest),

    /** A blob of the repository. Who may push and is told of it may count on it while the lease lasts. @throws OciError BLOB_UNKNOWN */
    findBlob(repository: string, { text }: Digest, reader = anybody): RegistryBlob {
      const blob = store.findBlob(repository, text);
      if (!blob) throw blobUnknown();
      leaseFor(reader, repository, text);
      return blob;
    },

    /** Its file is there as it should be, as far as that shows without reading it. @throws OciError BLOB_UNKNOWN */
    async checkBlob(blob: RegistryBlob): Promise<void> {
      if (!(await hasFile(blob))) throw blobUnknown();
    },

    /** Its file. @throws OciError BLOB_UNKNOWN; ContentUnavailable when it can't be opened now */
    async openBlob(digest: string) {
      const file = await content.open(hexOf(digest));
      if (file) return file;
      log.error({ digest }, "content of the registry is missing");
      onDamage(digest);
      throw new OciError("BLOB_UNKNOWN", "the content of this blob is lost; push it again");
    },

    /** Ends an upload: durable, and a blob of its repository. @throws OciError, DiskFull */
    finishUpload: async (
      upload: Upload,
      digest: Digest,
      last?: UploadSource,
      position: { readonly from?: number | undefined; readonly length?: number | undefined } = {},
    ): Promise<void> =>
      whileArriving(digest.text, async () => {
        const blob = await uploads.finish(upload, digest, last, position);
        lease(digest.text);
        quotas.add(upload.repository, blob.sizeBytes);
        await store.linkBlob(upload.repository, blob, clock.now(), upload.id);
      }),

    /** @param from undefined: any repository @returns false when none has it: the client sends it @throws RepositoryQuotaReached */
    async mount(repository: string, { text }: Digest, from: string | undefined): Promise<boolean> {
      lease(text);
      const blob = from === undefined ? store.findBlobAnywhere(text) : store.findBlob(from, text);
      if (!blob || !(await hasFile(blob))) return false;
      if (!store.findBlob(repository, text)) {
        quotas.refuseBeyond(repository, blob.sizeBytes);
        quotas.add(repository, blob.sizeBytes);
      }
      return (await store.mountBlob(repository, text, from, clock.now())) !== undefined;
    },

    /** @param reference tag or digest; who gets it may fetch what it names while the lease lasts @throws OciError MANIFEST_UNKNOWN */
    findManifest(repository: string, reference: string, reader = anybody): FoundManifest {
      const digest = reference.includes(":") ? reference : store.findTag(repository, reference);
      const manifest = digest === undefined ? undefined : store.findManifest(repository, digest);
      if (!manifest) throw new OciError("MANIFEST_UNKNOWN", "this repository has no such manifest");
      leaseFor(reader, repository, manifest.digest);
      return manifest;
    },

    /** The octets as they were pushed, where they are in memory. */
    manifestInMemory: (digest: string): Buffer | undefined => small.get(digest),

    /** The octets as they were pushed. @throws OciError MANIFEST_UNKNOWN; ContentUnavailable */
    async readManifest(digest: string): Promise<Buffer> {
      const known = small.get(digest);
      if (known) return known;
      const file = await content.open(hexOf(digest));
      const octets = await file?.readFile().finally(() => void file.close());
      const { algorithm, hex } = parseDigest(digest) as Digest;
      if (!octets || createHash(algorithm).update(octets).digest("hex") !== hex) {
        log.error({ digest }, "a manifest of the registry is missing or was changed on the disk");
        onDamage(digest);
        throw new OciError("MANIFEST_UNKNOWN", "the content of this manifest is lost; push it again");
      }
      if (octets.length <= smallManifestBytes) small.set(digest, octets);
      return octets;
    },

    /** @throws OciError MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, DIGEST_INVALID; DiskFull, RepositoryQuotaReached */
    async putManifest({
      repository,
      digest,
      tags,
      octets,
      contentType,
      by,
    }: ManifestPush): Promise<PushedManifest> {
      const algorithm = digest?.algorithm ?? "sha256";
      const hex = createHash(algorithm).update(octets).digest("hex");
      const text = `${algorithm}:${hex}`;
      if (digest && digest.hex !== hex)
        throw new OciError("DIGEST_INVALID", `the manifest has the digest ${text}`, {
          detail: { digest: digest.text },
        });
      const { references, ...facts } = readManifest(octets, contentType);
      const refuse = (missing: readonly RegistryReference[]) => {
        if (missing.length > 0) throw missingReferences(missing);
      };
      refuse(store.missing(repository, references));
      // A tag more for what is there takes no room.
      if (!store.findManifest(repository, text)) {
        quotas.refuseBeyond(repository, octets.length);
        quotas.add(repository, octets.length);
      }
      await whileArriving(text, async () => {
        // What nobody has found damaged yet is healed too.
        if (!store.keeps(text) || !(await isKept(hex, octets)))
          await content.put([octets], { expected: hex, sizeBytes: octets.length, algorithm });
        const manifest = { ...facts, digest: text, sizeBytes: octets.length };
        // Its index may come after it.
        lease(text);
        refuse(await store.saveManifest({ repository, manifest, references, tags, by, now: clock.now() }));
      });
      for (const tag of tags) tell("registry.pushed", repository, tag, by);
      await attachments.pushed({ repository, digest: text, tags, by });
      return { digest: text, subject: facts.subject };
    },

    /** Takes a tag away, or a manifest with its tags. @throws OciError MANIFEST_UNKNOWN, DENIED while an index or a pin needs it */
    async deleteManifest(
      repository: string,
      reference: string,
      by: string,
      { isForced = false }: { readonly isForced?: boolean } = {},
    ): Promise<void> {
      const pin = isForced ? undefined : pins.pinOf(repository, reference);
      if (pin)
        throw new OciError(
          "DENIED",
          `${pin.image} is pinned by ${pin.by}: nobody may delete it; take it out of there first`,
          { status: 409, detail: { ...pin } },
        );
      const done = reference.includes(":")
        ? await store.removeManifest(repository, reference)
        : (await store.removeTag(repository, reference, clock.now()))
          ? "deleted"
          : "unknown";
      if (done === "unknown") throw new OciError("MANIFEST_UNKNOWN", "this repository has no such manifest");
      if (done === "referenced") throw stillReferenced("an index names this manifest; delete that first");
      attachments.removed(reference);
      tell("registry.deleted", repository, reference, by);
    },

    /** Takes a blob out of the repository. @throws OciError BLOB_UNKNOWN, DENIED while a manifest needs it */
    async deleteBlob(repository: string, { text }: Digest): Promise<void> {
      const done = await store.unlinkBlob(repository, text);
      if (done === "unknown") throw new OciError("BLOB_UNKNOWN", "this repository has no such blob");
      if (done === "referenced") throw stillReferenced("a manifest names this blob; delete that first");
    },

    /** In the order of their octets. @throws OciError NAME_UNKNOWN */
    tags(repository: string, page: { readonly after: string | undefined; readonly limit: number }): string[] {
      if (!store.hasRepository(repository)) throw new OciError("NAME_UNKNOWN", "there is no such repository");
      return store.tags(repository, page);
    },

    repositories: store.repositories,

    /** Manifests about this one. @param after digest of the last one that the client has */
    referrers: (
      repository: string,
      subject: Digest,
      asked: ReferrersAsked,
      isShown: (manifest: Pick<FoundManifest, "digest" | "createdAt">) => boolean,
    ): ReferrerPage => {
      const { createdAt = 0 } = store.findManifest(repository, subject.text) ?? {};
      const isSubjectShown = isShown({ digest: subject.text, createdAt });
      return formatReferrers(isSubjectShown ? store.referrers(repository, subject.text, asked) : [], isShown);
    },
  };
  return registry;
}
export type Registry = ReturnType<typeof createRegistry>;

const blobUnknown = () => new OciError("BLOB_UNKNOWN", "this repository has no such blob");

function missingReferences(missing: readonly RegistryReference[]): OciError {
  const named = missing.slice(0, namedReferences).map(({ digest }) => digest);
  return new OciError(
    "MANIFEST_BLOB_UNKNOWN",
    `the manifest names what this repository has not, push that first: ${named.join(", ")}`,
    { detail: { digests: named } },
  );
}

/** The status that the specification has for what can't be deleted. */
function stillReferenced(message: string): OciError {
  return new OciError("DENIED", message, { status: 405 });
}

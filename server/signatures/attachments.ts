import { createHash } from "node:crypto";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
import {
  SignatureMalformed,
  SignaturePayloadInvalid,
  SignaturesTooMany,
  SignatureUnverified,
} from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import {
  attachedTo,
  attachmentTag,
  largestSignature,
  mostSignatures,
  type SignedStatement,
  type Signer,
} from "../domain/signature.ts";
import type { RegistryRepository } from "../store/registry.ts";
import type { AttachedSignature, SignatureRepository } from "../store/signatures.ts";
import { type AttachedLayer, readAttachment } from "./attachment.ts";
import { readPayload } from "./payload.ts";
import type { Signatures } from "./signatures.ts";
import type { Signers } from "./signers.ts";
import { findSigstoreKey, readSigstoreSignature, sigstoreAnnotation } from "./sigstore.ts";
import { tellOfSignatures } from "./telling.ts";

export interface AttachmentsDeps {
  readonly clock: Pick<Clock, "now">;
  readonly record: RecordEvent;
  readonly store: SignatureRepository;
  readonly registry: Pick<RegistryRepository, "findTag" | "findManifest" | "findBlob">;
  /** @param sha256 in hex @returns undefined when it is lost */
  readonly read: (sha256: string) => Promise<Buffer | undefined>;
  readonly signers: Pick<Signers, "all">;
  readonly signatures: Pick<Signatures, "check" | "changed">;
}

/** A manifest that is here, and its tags lead to it. */
export interface ArrivedManifest {
  readonly repository: string;
  readonly digest: string;
  readonly tags: readonly string[];
  /** Name of the token. */
  readonly by: string;
}

interface Subject {
  readonly repository: string;
  readonly digest: string;
}

/** What does not count was told when it came. */
const silently = (): void => undefined;
/** A page of what is looked at anew. */
const pageLength = 100;
/** 9999-12-31: what a signature says of its time is nothing that somebody has verified. */
const lastSecond = 253_402_300_799;
const sha256 = "sha256:";

/**
 * Signatures that lie in images with tags of their own, as cosign and `skopeo copy --sign-by-sigstore-private-key` push them. Pushes are not
 * refused for what is in them: what does not verify is told and does not count.
 */
export function createAttachments(deps: AttachmentsDeps) {
  const { clock, record, store, registry, read, signers, signatures } = deps;
  const tell = tellOfSignatures(record);
  let looking: Promise<void> = Promise.resolve();
  let isStopped = false;

  /** A signature that counts for its image. @throws RollcallError with the reason why not */
  async function take({ repository, digest }: Subject, layer: AttachedLayer, by: string) {
    const payload = await read(hexOf(layer.digest));
    if (!payload) throw malformed("its payload is lost");
    const now = clock.now();
    const { statement, octets } = await openAttached(layer, payload, signers.all(), now);
    signatures.check(statement, { repository, digest });
    const id = createHash("sha256").update(octets).digest("hex");
    return { ...statement, repository, digest, id, addedAt: now, addedBy: by, octets };
  }

  /** @throws RollcallError when clients can't read it, or it is more than signatures */
  async function layersOf({ repository }: Subject, manifest: string): Promise<readonly AttachedLayer[]> {
    const mediaType = registry.findManifest(repository, manifest)?.mediaType;
    const octets = mediaType === undefined ? undefined : await read(hexOf(manifest));
    if (mediaType === undefined || !octets) return [];
    const layers = readAttachment(octets, mediaType);
    if ("problem" in layers) throw malformed(layers.problem);
    if (layers.length > mostSignatures) throw SignaturesTooMany({ limit: mostSignatures });
    for (const { digest } of layers) {
      const blob = registry.findBlob(repository, digest);
      if (!blob) throw malformed(`a layer of it, ${digest}, is not here`);
      // What is too large is not even read.
      if (blob.sizeBytes > largestSignature)
        throw malformed(`a layer of it is larger than ${largestSignature / 1024} KiB`);
    }
    return layers;
  }

  /** Makes these the signatures of a manifest. What was there before stays as it came. */
  async function keep(
    place: Subject & { readonly manifest: string },
    found: Iterable<AttachedSignature>,
  ): Promise<void> {
    const { repository, digest } = place;
    const before = store.list(repository, digest).filter(({ format }) => format === "sigstore");
    const known = new Map(before.map((signature) => [signature.id, signature]));
    const now = [...found].map((signature) => {
      const { signedAt, addedAt, addedBy } = known.get(signature.id) ?? signature;
      return { ...signature, signedAt, addedAt, addedBy };
    });
    if (before.map(({ id }) => id).join() === now.map(({ id }) => id).join()) return;
    try {
      await store.attach(place, now);
    } finally {
      signatures.changed();
    }
    for (const signature of store.list(repository, digest))
      if (signature.format === "sigstore" && !known.has(signature.id)) tell.added(signature);
  }

  /**
   * Takes over what lies under the tag for a manifest's signatures now.
   * @param refused is told why something does not count
   */
  async function examine(
    subject: Subject,
    by: string,
    refused: (error: RollcallError) => void,
  ): Promise<void> {
    const { repository, digest } = subject;
    const manifest = registry.findTag(repository, attachmentTag(digest));
    // It may come after its signatures, and they are looked at then.
    if (manifest === undefined || !registry.findManifest(repository, digest)) return;
    const orRefused = (error: unknown): undefined => {
      if (!(error instanceof RollcallError)) throw error;
      refused(error);
    };
    const layers = (await layersOf(subject, manifest).catch(orRefused)) ?? [];
    const found = new Map<string, AttachedSignature>();
    for (const layer of layers) {
      try {
        const signature = await take(subject, layer, by);
        found.set(signature.id, signature);
      } catch (error) {
        orRefused(error instanceof MoreThanSignatures ? error.reason : error);
        if (!(error instanceof MoreThanSignatures)) continue;
        found.clear();
        break;
      }
    }
    await keep({ repository, digest, manifest }, found.values());
  }

  /** @throws what went wrong last, after all the others were looked at */
  async function examineAll(by: string): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    for (let after = { repository: "", tag: "" }, isDone = false; !isDone && !isStopped;) {
      const page = store.attachments(after, pageLength);
      for (const { repository, tag } of page) {
        const digest = attachedTo(tag);
        if (digest === undefined || isStopped) continue;
        await examine({ repository, digest }, by, silently).catch((error: unknown) => (failure = { error }));
      }
      after = page.at(-1) ?? after;
      isDone = page.length < pageLength;
    }
    if (failure) throw failure.error;
  }

  /** It may have signatures, or be some. */
  async function arrived(
    { repository, digest, tags, by }: ArrivedManifest,
    refused: (place: Subject, error: RollcallError) => void,
  ): Promise<void> {
    const subjects = new Set(tags.flatMap((tag) => attachedTo(tag) ?? []));
    // What such a tag led to before is gone with its signatures, whatever becomes of the new ones.
    if (subjects.size > 0) signatures.changed();
    if (digest.startsWith(sha256)) subjects.add(digest);
    for (const subject of subjects) {
      const place = { repository, digest: subject };
      await examine(place, by, (error) => refused(place, error));
    }
  }

  return {
    pushed: (manifest: ArrivedManifest): Promise<void> =>
      arrived(manifest, (place, error) => tell.refused(place, error, manifest.by)),

    /** The same of an upstream's: whoever pulls brings it, and is no one to tell of. */
    fetched: (manifest: ArrivedManifest): Promise<void> => arrived(manifest, silently),

    /** A tag, or a manifest with its tags, is gone. */
    removed(reference: string): void {
      if (reference.includes(":") || attachedTo(reference) !== undefined) signatures.changed();
    },

    /** Looks at all of them anew: somebody may sign now who could not before. */
    examineAll(by: string): Promise<void> {
      const done = looking.then(() => examineAll(by));
      looking = done.catch(() => undefined);
      return done;
    },

    /** Resolves when nothing is looked at any more. */
    stop(): Promise<void> {
      isStopped = true;
      return looking;
    },
  };
}
export type Attachments = ReturnType<typeof createAttachments>;

/**
 * What one of our signers has said.
 * @param now stands for the time that the signature does not tell
 * @throws RollcallError with the reason why not; MoreThanSignatures where it is no payload either, and nothing beside it counts
 */
export async function openAttached(
  { signature }: AttachedLayer,
  payload: Uint8Array,
  signers: readonly Pick<Signer, "keys">[],
  now: EpochMs,
): Promise<{ readonly statement: SignedStatement; readonly octets: Buffer }> {
  if (payload.length > largestSignature)
    throw malformed(`its payload is larger than ${largestSignature / 1024} KiB`);
  const octets = readSigstoreSignature(signature);
  const said = readPayload(payload, "sigstore");
  // Whoever pushed it may have made up the annotation.
  const byNobody = (error: RollcallError) => ("problem" in said ? new MoreThanSignatures(error) : error);
  if (!octets) throw byNobody(malformed(`the annotation ${sigstoreAnnotation} is no base64`));
  const keys = signers.flatMap((signer) => signer.keys).filter(({ format }) => format === "sigstore");
  const key = await findSigstoreKey(payload, octets, keys);
  if (!key) throw byNobody(SignatureUnverified({}));
  if ("problem" in said) throw SignaturePayloadInvalid(said);
  const { timestamp, digest, reference } = said;
  const isTime = timestamp !== undefined && timestamp >= 0 && timestamp <= lastSecond;
  const statement: SignedStatement = {
    format: "sigstore",
    fingerprint: key.fingerprint,
    signedAt: isTime ? timestamp * 1000 : now,
    expiresAt: undefined,
    digest,
    reference,
  };
  return { statement, octets };
}

/**
 * The image holds something that is no signature, under the type of one. Clients that verify pass such a layer over (containers/image,
 * signature/policy_eval_sigstore.go: one accepted signature is enough); those that don't would get it as part of an image, where only
 * signed ones are shown. A payload that somebody unknown has signed is harmless: its form lets it be nothing else.
 */
export class MoreThanSignatures extends Error {
  readonly reason: RollcallError;

  constructor(reason: RollcallError) {
    super(reason.message);
    this.reason = reason;
  }
}

const hexOf = (digest: string): string => digest.slice(digest.indexOf(":") + 1);

function malformed(problem: string): RollcallError {
  return SignatureMalformed({
    problem,
    advice: "Sign with `cosign sign --key`, or `skopeo copy --sign-by-sigstore-private-key`.",
  });
}

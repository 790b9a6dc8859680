import { createHash } from "node:crypto";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
import {
  SignatureBad,
  SignatureBySubkey,
  SignatureExpired,
  SignatureKeyExpired,
  SignatureKeyNewer,
  SignatureKeyRevoked,
  SignatureKeyUnknown,
  SignatureMalformed,
  SignatureNotFound,
  SignatureOtherDigest,
  SignatureOtherRepository,
  SignatureOutOfScope,
  SignaturePayloadInvalid,
  SignatureWeakHash,
  SignedImageNotFound,
} from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import {
  attachedTo,
  type ImageSignature,
  largestSignature,
  type SignedStatement,
} from "../domain/signature.ts";
import type { SignatureRepository } from "../store/signatures.ts";
import { type EnvelopeFault, openSignature } from "./openpgp.ts";
import { readPayload } from "./payload.ts";
import { parseReference } from "./policy/reference.ts";
import type { RegistryNames } from "./policy/trust.ts";
import type { Signers } from "./signers.ts";
import { imagesIn, imageState, type ImageState, type JudgedSignature } from "./image-state.ts";
import { tellOfSignatures } from "./telling.ts";
import { judge, type Refusal, type Verdict } from "./verdict.ts";

/** What signatures need to know of the registry. */
export interface KnownManifests {
  /** The manifests that an index leads to, none for an image. @returns undefined when the repository has no such manifest */
  childrenOf(repository: string, digest: string): readonly string[] | undefined;
}

export interface SignaturesDeps {
  readonly clock: Pick<Clock, "now">;
  readonly record: RecordEvent;
  readonly store: SignatureRepository;
  readonly signers: Pick<Signers, "all" | "trust">;
  readonly names: RegistryNames;
  readonly manifests: KnownManifests;
}

export interface SignatureOffer {
  readonly repository: string;
  /** `sha256:…` */
  readonly digest: string;
  readonly octets: Uint8Array;
  /** Undefined: behind the others. */
  readonly position?: number | undefined;
}

interface SignedImage {
  readonly repository: string;
  readonly digest: string;
  /** As it is asked for; undefined: by its digest. */
  readonly tag: string | undefined;
}

/** The signatures of images: what comes in is verified first, whichever way it comes. */
export function createSignatures({ clock, record, store, signers, names, manifests }: SignaturesDeps) {
  const tell = tellOfSignatures(record);

  /** What one of our signers has said. @throws RollcallError with the reason why not */
  async function open(octets: Uint8Array): Promise<SignedStatement> {
    if (octets.length > largestSignature)
      throw SignatureMalformed({ problem: `it is larger than ${largestSignature / 1024} KiB` });
    const opened = await openSignature(
      octets,
      signers
        .all()
        .flatMap(({ keys }) => keys)
        .filter(({ format }) => format === "openpgp"),
    );
    if ("fault" in opened) throw errorOfEnvelope(opened.fault);
    const payload = readPayload(opened.payload);
    if ("problem" in payload) throw SignaturePayloadInvalid(payload);
    return { ...opened, digest: payload.digest, reference: payload.reference };
  }

  const verdictFor = (statement: SignedStatement, { repository, digest, tag }: SignedImage): Verdict =>
    judge(statement, { host: names.host, repository, tag, digest }, signers.trust(), clock.now());

  /** Scopes may be those of a tag. An OpenPGP signature names its tag, and one of cosign's is for every one. */
  function tagsOf({ format, reference }: SignedStatement, repository: string): string[] {
    if (format === "openpgp") return [parseReference(reference)?.tag ?? []].flat();
    const prefix = `${names.host}/${repository}:`;
    return [...signers.trust().keys()].flatMap((scope) =>
      scope.startsWith(prefix) ? [scope.slice(prefix.length)] : [],
    );
  }

  /** By its digest, or else by any tag. */
  function verdictAnyhow(statement: SignedStatement, { repository, digest }: SignedImage): Verdict {
    const byDigest = verdictFor(statement, { repository, digest, tag: undefined });
    if (byDigest.accepted) return byDigest;
    const byTag = tagsOf(statement, repository).map((tag) =>
      verdictFor(statement, { repository, digest, tag }),
    );
    return byTag.find(({ accepted }) => accepted) ?? byDigest;
  }

  /** Whether a signature is for this image and by somebody who may. @throws RollcallError with the reason why not */
  function check(statement: SignedStatement, image: Pick<SignedImage, "repository" | "digest">): void {
    const verdict = verdictAnyhow(statement, { ...image, tag: undefined });
    if (!verdict.accepted)
      throw errorOfRefusal(verdict.refusal, statement, `${names.host}/${image.repository}`);
  }

  function judged(image: SignedImage, verdict = verdictFor): JudgedSignature[] {
    return store.list(image.repository, image.digest).map((signature) => ({
      signature,
      verdict: verdict(signature, image),
      signer: signers.all().find(({ keys }) => keys.some((key) => key.fingerprint === signature.fingerprint))
        ?.name,
    }));
  }

  /** Of a manifest that holds the signatures of others: whether one of them counts. @param subject undefined: of any */
  function stateOfAttachment(repository: string, manifest: string, subject?: string) {
    const signatures = store
      .subjectsOf(repository, manifest)
      .filter((digest) => subject === undefined || digest === subject)
      .flatMap((digest) => judged({ repository, digest, tag: undefined }, verdictAnyhow))
      .filter(({ signature }) => signature.format === "sigstore");
    return { state: imageState(signatures), signatures };
  }

  function stateAndSignatures(repository: string, digest: string, tag: string | undefined) {
    const subject = tag === undefined ? undefined : attachedTo(tag);
    if (subject !== undefined) return stateOfAttachment(repository, digest, subject);
    const found = stateOfImage(repository, digest, tag);
    if (!found || tag !== undefined || found.state.state === "signed") return found;
    // Some clients look up the tag, and fetch by the digest that it leads to.
    const attached = stateOfAttachment(repository, digest);
    return attached.signatures.length === 0 ? found : attached;
  }

  function stateOfImage(repository: string, digest: string, tag: string | undefined) {
    if (!manifests.childrenOf(repository, digest)) return undefined;
    const children = imagesIn(digest, (inner) => manifests.childrenOf(repository, inner));
    const own = judged({ repository, digest, tag });
    const others = children.map((child) => ({
      digest: child,
      signatures: judged({ repository, digest: child, tag }),
    }));
    return {
      state: imageState(own, others),
      signatures: [...own, ...others.flatMap((child) => child.signatures)],
    };
  }

  /** When time alone may change a verdict next. */
  function nextChange(found: readonly JudgedSignature[]): EpochMs {
    const now = clock.now();
    const times = [
      ...found.map(({ signature }) => signature.expiresAt),
      ...signers
        .all()
        .flatMap(({ expiresAt, keys }) => [
          expiresAt,
          ...keys.flatMap((key) => [key.expiresAt, key.createdAt]),
        ]),
    ];
    return Math.min(
      Number.POSITIVE_INFINITY,
      ...times.filter((time): time is EpochMs => time !== undefined && time > now),
    );
  }

  let revision = { signers: signers.all() };
  const changed = () => void (revision = { signers: signers.all() });

  return {
    /** Verifies a signature and keeps it; one that is there already stays. @throws RollcallError with the reason why not */
    async add(offer: SignatureOffer, actor: string): Promise<ImageSignature> {
      const { repository, digest, octets, position } = offer;
      try {
        if (!digest.startsWith("sha256:") || manifests.childrenOf(repository, digest) === undefined)
          throw SignedImageNotFound({ repository, digest });
        const statement = await open(octets);
        check(statement, offer);
        const { fingerprint, signedAt, expiresAt, reference } = statement;
        const signature = await store.add(
          {
            repository,
            digest,
            id: createHash("sha256").update(octets).digest("hex"),
            fingerprint,
            signedAt,
            expiresAt,
            reference,
            addedAt: clock.now(),
            addedBy: actor,
          },
          octets,
          position,
        );
        changed();
        tell.added(signature);
        return signature;
      } catch (error) {
        if (error instanceof RollcallError) tell.refused(offer, error, actor);
        throw error;
      }
    },

    check,
    /** Those that are no images of their own. */
    list: (repository: string, digest: string): ImageSignature[] =>
      store.list(repository, digest).filter(({ format }) => format === "openpgp"),
    /** For clients: the octets as they came. */
    octets: store.octets,

    /** Those behind it move up. @throws SignatureNotFound */
    async remove(repository: string, digest: string, position: number, actor: string): Promise<void> {
      if (!(await store.remove(repository, digest, position)))
        throw SignatureNotFound({ repository, digest, position });
      changed();
      record({
        type: "signature.removed",
        actor,
        message: `signature ${position} of ${repository}@${digest} was removed`,
        data: { repository, digest, position },
      });
    },

    /**
     * Whether clients with this server's policy take an image now.
     * @param tag as they ask for it; undefined: by its digest @returns undefined when there is no such manifest
     */
    stateOf: (repository: string, digest: string, tag?: string): ImageState | undefined =>
      stateAndSignatures(repository, digest, tag)?.state,

    /** The same in short, and until when time alone does not change it. */
    verdictOf(repository: string, digest: string, tag: string | undefined) {
      const found = stateAndSignatures(repository, digest, tag);
      return found && { state: found.state.state, until: nextChange(found.signatures) };
    },

    /** What the store has of signatures is another than before. */
    changed,

    /** Another object after each change of a signer or a signature. */
    revision(): object {
      if (revision.signers !== signers.all()) changed();
      return revision;
    },
  };
}
export type Signatures = ReturnType<typeof createSignatures>;

function errorOfEnvelope(fault: EnvelopeFault): RollcallError {
  switch (fault) {
    case "malformed":
      return SignatureMalformed({ problem: "it is not one signed message" });
    case "unknown-key":
      return SignatureKeyUnknown({});
    case "by-subkey":
      return SignatureBySubkey({});
    case "weak-hash":
      return SignatureWeakHash({});
    case "bad":
      return SignatureBad({});
  }
}

function errorOfRefusal(refusal: Refusal, statement: SignedStatement, image: string): RollcallError {
  switch (refusal) {
    case "no-signer":
    case "out-of-scope":
      return SignatureOutOfScope({ image });
    case "signer-revoked":
    case "key-revoked":
      return SignatureKeyRevoked({});
    case "signer-expired":
    case "key-expired":
      return SignatureKeyExpired({});
    case "key-newer":
      return SignatureKeyNewer({});
    case "expired":
      return SignatureExpired({});
    case "other-digest":
      return SignatureOtherDigest({ signed: statement.digest });
    case "other-repository":
    case "other-tag":
      return SignatureOtherRepository({ signed: statement.reference, image });
  }
}

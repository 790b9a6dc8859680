import type { ImageSignature } from "../domain/signature.ts";
import type { Refusal, Verdict } from "./verdict.ts";

export interface JudgedSignature {
  readonly signature: ImageSignature;
  readonly verdict: Verdict;
  /** Whose key it is now; undefined: nobody's any more. */
  readonly signer: string | undefined;
}

export type SignedState =
  | "signed"
  | "unsigned"
  /** Its signatures, or the keys that made them, are out of date. */
  | "expired"
  | "revoked"
  /** There are signatures, and none is for this name of it or by somebody who may. */
  | "refused";

/** What clients think of an image. */
export interface ImageState {
  readonly state: SignedState;
  /** Who signed it with effect. */
  readonly signers: readonly string[];
  readonly signatures: readonly JudgedSignature[];
  /** Of an index: the manifests that clients would refuse. */
  readonly missing: readonly string[];
}

const stateOfRefusal: Readonly<Record<Refusal, SignedState>> = {
  "no-signer": "refused",
  "out-of-scope": "refused",
  "signer-revoked": "revoked",
  "signer-expired": "expired",
  "key-revoked": "revoked",
  "key-expired": "expired",
  "key-newer": "refused",
  expired: "expired",
  "other-digest": "refused",
  "other-repository": "refused",
  "other-tag": "refused",
};

/**
 * One signature that counts is enough. Clients check the manifest of their own platform and not the index that led to it, so an index is
 * signed when every image in it is, however deep.
 *
 * @param children images in an index; none: it is an image
 */
export function imageState(
  own: readonly JudgedSignature[],
  children: readonly { readonly digest: string; readonly signatures: readonly JudgedSignature[] }[] = [],
): ImageState {
  const judged = children.length === 0 ? [{ digest: "", signatures: own }] : children;
  const states = judged.map(({ digest, signatures }) => ({ digest, state: stateFrom(signatures) }));
  const bad = states.filter(({ state }) => state !== "signed");
  const accepted = judged.flatMap(({ signatures }) =>
    signatures.flatMap(({ verdict }) => (verdict.accepted ? [verdict.signer.name] : [])),
  );
  return {
    state: bad[0]?.state ?? "signed",
    signers: [...new Set(accepted)].sort(),
    signatures: own,
    missing: children.length === 0 ? [] : bad.map(({ digest }) => digest),
  };
}

/** Manifests that are looked up for one index; in more than that nobody can have signed each. */
const mostManifests = 10_000;
/** What they list, all together. */
const mostLinks = 2 * mostManifests;

/**
 * The images that an index leads to, through indexes in it too; none for an image. An index that is empty, and one beyond the limit, stand
 * for themselves, so they need a signature of their own.
 * @param childrenOf what a manifest of this digest leads to; undefined: it is not here
 */
export function imagesIn(
  digest: string,
  childrenOf: (digest: string) => readonly string[] | undefined,
): readonly string[] {
  const images: string[] = [];
  const seen = new Set([digest]);
  const waiting = [digest];
  let links = 0;
  // An array's iteration goes on to what is appended meanwhile.
  for (const one of waiting) {
    // Links are counted as well: indexes may share their manifests, and each of them lists all.
    const children = links > mostLinks || seen.size > mostManifests + 1 ? [] : (childrenOf(one) ?? []);
    links += children.length;
    if (children.length === 0 && one !== digest) images.push(one);
    for (const child of children)
      if (!seen.has(child)) {
        seen.add(child);
        waiting.push(child);
      }
  }
  return images;
}

function stateFrom(signatures: readonly JudgedSignature[]): SignedState {
  let state: SignedState = "unsigned";
  for (const { verdict } of signatures) {
    if (verdict.accepted) return "signed";
    if (state === "unsigned") state = stateOfRefusal[verdict.refusal];
  }
  return state;
}

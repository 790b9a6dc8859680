import { defineError } from "./errors.ts";

/** What goes wrong with signatures of images, and with the keys that make them. */

// --- signers and their keys ---------------------------------------------------------------------------------------
export const SignerNotFound = defineError("SIGNER_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { name: string }) => `there is no signer ${d.name}`,
  advice: "`boot key list` shows all of them.",
});
export const SignerRevoked = defineError("SIGNER_REVOKED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { name: string }) => `the signer ${d.name} was revoked`,
  advice:
    "A revoked signer stays so. Add the new key under another name, or remove this one first: `boot key remove NAME`.",
});
export const KeyInvalid = defineError("KEY_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string; advice?: string }) => `the public key can't be used: ${d.problem}`,
  advice:
    "Send what `gpg --export --armor NAME` writes, or cosign's `cosign.pub`. Keys that every client knows are RSA from 2048 bits, Ed25519, and ECDSA on NIST or, of OpenPGP, Brainpool curves; of OpenPGP the primary key signs.",
});
export const KeysMixed = defineError("KEYS_MIXED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { name: string }) =>
    `the signer ${d.name} has either OpenPGP keys or one key of cosign's, and this one would be another`,
  advice:
    "Clients ask for all kinds of signatures that a scope names, and know one key of cosign's for it. Add the key under another name and for another scope, or remove this signer first: `boot key remove NAME`.",
});
export const ScopeTaken = defineError("SCOPE_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { scope: string; signer: string }) =>
    `${d.signer} signs for the scope ${d.scope}, and a key of cosign's shares its scope with nobody`,
  advice:
    "Clients ask for all kinds of signatures that a scope names, and know one key of cosign's for it. Choose a narrower or another scope (--scope), or end the other signer first: `boot key revoke NAME` or `boot key remove NAME`.",
});
export const KeyTaken = defineError("KEY_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { fingerprint: string; signer: string }) =>
    `the key ${d.fingerprint} is the one of the signer ${d.signer} already`,
  advice:
    "A key belongs to one signer. Add scopes to that signer, or remove it first: `boot key remove NAME`.",
});
export const ScopeInvalid = defineError("SCOPE_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { scope: string; problem: string }) =>
    `the scope ${JSON.stringify(d.scope.slice(0, 100))} ${d.problem}`,
  advice:
    "A scope is a registry with nothing, a namespace, a repository or an image after it: `registry.local`, `registry.local/p10`, `registry.local/p10/pause:3.9`.",
});

// --- signatures ---------------------------------------------------------------------------------------------------
const signAnew =
  "Sign the image by the name that nodes pull it by, with `skopeo copy --sign-by` or `podman push --sign-by`.";

export const SignedImageNotFound = defineError("SIGNED_IMAGE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { repository: string; digest: string }) => `there is no image ${d.repository}@${d.digest}`,
  advice: "Push the image before its signature. Signatures are kept by the SHA-256 of the manifest.",
});
export const SignatureNotFound = defineError("SIGNATURE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { repository: string; digest: string; position: number }) =>
    `${d.repository}@${d.digest} has no signature ${d.position}`,
  advice: "`boot image list` shows which images are signed.",
});
export const SignaturesTooMany = defineError("SIGNATURES_TOO_MANY", {
  kind: "user",
  httpStatus: 409,
  message: (d: { limit: number }) => `this image has ${d.limit} signatures already`,
  advice: "Clients refuse an image with more. Remove those that are of no use any more.",
});
export const SignaturePositionInvalid = defineError("SIGNATURE_POSITION_INVALID", {
  kind: "user",
  httpStatus: 409,
  message: (d: { position: number; next: number }) =>
    `signature-${d.position} can't be put here: the next one is signature-${d.next}`,
  advice: "Signatures count from 1 without gaps: clients stop at the first that is missing.",
});
export const SignatureMalformed = defineError("SIGNATURE_MALFORMED", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string; advice?: string }) => `this is no signature of an image: ${d.problem}`,
  advice:
    "It has to be an OpenPGP signed message in binary, as `skopeo standalone-sign` writes it: not armored, not clearsigned, not detached, with one signature.",
});
export const SignatureBad = defineError("SIGNATURE_BAD", {
  kind: "user",
  httpStatus: 400,
  message: () => "the signature does not belong to its content: one of them was changed",
  advice: signAnew,
});
export const SignatureWeakHash = defineError("SIGNATURE_WEAK_HASH", {
  kind: "user",
  httpStatus: 400,
  message: () => "the signature is over an MD5, which proves nothing",
  advice: "Sign anew with SHA-256 or SHA-512 (gpg's `--digest-algo`).",
});
export const SignatureKeyUnknown = defineError("SIGNATURE_KEY_UNKNOWN", {
  kind: "user",
  httpStatus: 403,
  message: () => "the key of this signature is no signer's",
  advice: "An administrator adds it: `boot key add NAME --file KEY.asc --scope registry.local/REPOSITORY`.",
});
export const SignatureUnverified = defineError("SIGNATURE_UNVERIFIED", {
  kind: "user",
  httpStatus: 403,
  message: () => "no signer's key verifies the signature: it is another's, or what was signed was changed",
  advice:
    "If the key is one that may sign, an administrator adds it, and the signature counts from then on: `boot key add NAME --file cosign.pub --scope registry.local/REPOSITORY`.",
});
export const SignatureBySubkey = defineError("SIGNATURE_BY_SUBKEY", {
  kind: "user",
  httpStatus: 403,
  message: () => "the signature was made by a subkey, and clients take those of primary keys only",
  advice:
    "By default gpg signs with the newest subkey that can: use a key whose primary key signs and that has no signing subkey (`gpg --quick-generate-key NAME ed25519 sign`).",
});
export const SignaturePayloadInvalid = defineError("SIGNATURE_PAYLOAD_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string }) => `what was signed is no statement about an image: ${d.problem}`,
  advice: "Its form is that of containers-signature(5); `skopeo` and `podman` write it.",
});
export const SignatureExpired = defineError("SIGNATURE_EXPIRED", {
  kind: "user",
  httpStatus: 403,
  message: () => "the signature has expired",
  advice: signAnew,
});
export const SignatureKeyExpired = defineError("SIGNATURE_KEY_EXPIRED", {
  kind: "user",
  httpStatus: 403,
  message: () => "the key of this signature has expired, or its signer's time here is over",
  advice:
    "Extend the key (`gpg --quick-set-expire`) and add it anew under the same name with `boot key add`, or sign with another one.",
});
export const SignatureKeyRevoked = defineError("SIGNATURE_KEY_REVOKED", {
  kind: "user",
  httpStatus: 403,
  message: () => "the key of this signature, or its signer, was revoked",
  advice: "Sign with another key.",
});
export const SignatureKeyNewer = defineError("SIGNATURE_KEY_NEWER", {
  kind: "user",
  httpStatus: 403,
  message: () => "the signature says that it is older than its key",
  advice: "The clock of one of the machines is wrong. Set it, and sign anew.",
});
export const SignatureOutOfScope = defineError("SIGNATURE_OUT_OF_SCOPE", {
  kind: "user",
  httpStatus: 403,
  message: (d: { image: string }) => `the signer of this signature may not sign ${d.image}`,
  advice:
    "`boot key list` shows who signs what: of several scopes the most specific one counts, and it alone.",
});
export const SignatureOtherDigest = defineError("SIGNATURE_OTHER_DIGEST", {
  kind: "user",
  httpStatus: 400,
  message: (d: { signed: string }) => `the signature is for another image: ${d.signed.slice(0, 200)}`,
  advice: signAnew,
});
export const SignatureOtherRepository = defineError("SIGNATURE_OTHER_REPOSITORY", {
  kind: "user",
  httpStatus: 400,
  message: (d: { signed: string; image: string }) =>
    `the signature is for ${d.signed.slice(0, 200)}, and this is ${d.image}`,
  advice:
    "Signatures name the registry as nodes do, with a tag: push to that name, not to an address or another name of this server.",
});

export const RegistryOff = defineError("REGISTRY_OFF", {
  kind: "user",
  httpStatus: 404,
  message: () => "this server's container registry is switched off",
  advice: "Set `registry.enabled: true` in its config, or name another registry: --registry HOST[:PORT].",
});

export const RepositoryNotFound = defineError("REPOSITORY_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { repository: string }) => `the registry has no repository ${d.repository}`,
  advice: "`boot image list` shows what it has.",
});

export const ContainerImageNotFound = defineError("CONTAINER_IMAGE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { image: string }) => `the registry has no image ${d.image}`,
  advice: "`boot image list` shows the tags that it has.",
});

import { attachedTo } from "../../domain/signature.ts";
import { parseDigest } from "../../registry/digest.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { ImageGate } from "../../registry/image-gate.ts";
import type { FoundManifest, Registry } from "../../registry/registry.ts";
import { isTag } from "../../registry/repository-name.ts";
import type { Access } from "./access.ts";
import { cacheControl, type Exchange, isHead, sendEmpty, smallBodyOf } from "./exchange.ts";

export interface ManifestRouteDeps {
  readonly registry: Registry;
  readonly access: Access;
}

export interface ManifestReadDeps extends ManifestRouteDeps {
  readonly gate: ImageGate;
}

/** Tags in one push by digest; the specification asks for ten at least. */
const mostTags = 100;

/** GET and HEAD of a manifest: spec.md, "Pulling manifests". What is in memory is answered at once: a room of machines asks. */
export function getManifest(exchange: Exchange, deps: ManifestReadDeps): void | Promise<void> {
  const { registry, access } = deps;
  const { repository, reference } = exchange.target;
  const found = registry.findManifest(repository, reference, {
    mayPush: () => access.mayPush(exchange),
  });
  const admitted = admit(exchange, found, deps);
  const etag = `"${found.digest}"`;
  if (exchange.request.headers["if-none-match"] === etag) {
    const headers = ["etag", etag, "docker-content-digest", found.digest];
    return void exchange.response.writeHead(304, headers).end();
  }
  if (isHead(exchange)) return sendManifest(exchange, found, undefined, admitted);
  const known = registry.manifestInMemory(found.digest);
  if (known) return sendManifest(exchange, found, known, admitted);
  return registry
    .readManifest(found.digest)
    .then((octets) => sendManifest(exchange, found, octets, admitted));
}

/** Who sees a manifest: whoever may pull, those as long as it is signed, or only who may push. */
export type Admitted = "everybody" | "while-signed" | "pushers";

/**
 * Where only signed images are shown, whoever may not push sees no others; elsewhere a warning goes with them.
 * @throws OciError MANIFEST_UNKNOWN
 */
export function admit(
  exchange: Exchange,
  { digest, createdAt }: FoundManifest,
  deps: ManifestReadDeps,
): Admitted {
  const { repository, reference } = exchange.target;
  const asked = { repository, reference, digest, createdAt };
  const gated = deps.gate.check(asked);
  if (!gated) return "everybody";
  if (gated.problem === undefined) return "while-signed";
  const { mode } = gated;
  const isTag = !reference.includes(":");
  const name = `${repository}${isTag ? ":" : "@"}${reference}`;
  const [problem, advice] =
    attachedTo(reference) === undefined
      ? [gated.problem, `sign it: boot sign ${isTag ? name : `${repository}:TAG`} --gpg NAME`]
      : ["holds no signature that counts", "sign the image with a key that boot key list shows"];
  const mayPush = deps.access.mayPush(exchange);
  if (!mayPush) deps.gate.tell(asked, gated, exchange.request.socket.remoteAddress ?? "somebody");
  if (mode === "require-signed" && !mayPush)
    throw new OciError(
      "MANIFEST_UNKNOWN",
      `${name} is here and ${problem}; of this repository only signed images are shown to whoever may not push to it; ${advice}`,
      { detail: { state: gated.state } },
    );
  const outlook = mode === "warn" ? "nodes may refuse it" : "only who may push here sees it";
  exchange.response.setHeader("warning", `299 - "${name} ${problem}, and ${outlook}; ${advice}"`);
  return mode === "warn" ? "while-signed" : "pushers";
}

/** The same without a word, for lists. */
export function isShown(
  exchange: Exchange,
  { digest, createdAt }: Pick<FoundManifest, "digest" | "createdAt">,
  { gate, access }: Pick<ManifestReadDeps, "gate" | "access">,
): boolean {
  const gated = gate.check({ repository: exchange.target.repository, reference: digest, digest, createdAt });
  return gated?.mode !== "require-signed" || gated.problem === undefined || access.mayPush(exchange);
}

export function sendManifest(
  exchange: Exchange,
  { digest, mediaType, sizeBytes }: FoundManifest,
  octets: Buffer | undefined,
  admitted: Admitted,
): void {
  const { response, target } = exchange;
  const isFinal = admitted === "everybody" && target.reference.includes(":");
  // As a list, which Node writes down without sorting it into an object first.
  response.writeHead(200, [
    "content-type",
    mediaType,
    "content-length",
    String(sizeBytes),
    "docker-content-digest",
    digest,
    "etag",
    `"${digest}"`,
    "cache-control",
    cacheControl(exchange, { isFinal, isPrivate: admitted === "pushers" }),
  ]);
  response.end(octets);
}

/** spec.md, "Pushing manifests". */
export async function putManifest(
  exchange: Exchange,
  { registry, access }: ManifestRouteDeps,
): Promise<void> {
  const by = access.checkWrite(exchange);
  const { repository, reference } = exchange.target;
  const digest = parseDigest(reference);
  const tags = digest ? exchange.query.getAll("tag") : [reference];
  if (tags.length > mostTags)
    throw new OciError("MANIFEST_INVALID", `at most ${mostTags} tags in one request`, { status: 414 });
  const wrong = tags.find((tag) => !isTag(tag));
  if (wrong !== undefined)
    throw new OciError(
      wrong.includes(":") ? "DIGEST_INVALID" : "MANIFEST_INVALID",
      `${JSON.stringify(wrong.slice(0, 100))} is neither a tag (letters, digits, _ . -, at most 128) nor a digest`,
    );
  const octets = await smallBodyOf(exchange);
  const contentType = exchange.request.headers["content-type"];
  const pushed = await registry.putManifest({ repository, digest, tags, octets, contentType, by });
  sendEmpty(exchange, 201, {
    location: `/v2/${repository}/manifests/${pushed.digest}`,
    "docker-content-digest": pushed.digest,
    ...(pushed.subject !== undefined && { "oci-subject": pushed.subject }),
    ...(digest && tags.length > 0 && { "oci-tag": tags.join(", ") }),
  });
}

export async function deleteManifest(
  exchange: Exchange,
  { registry, access }: ManifestRouteDeps,
): Promise<void> {
  const by = access.checkWrite(exchange);
  await registry.deleteManifest(exchange.target.repository, exchange.target.reference, by);
  sendEmpty(exchange, 202);
}

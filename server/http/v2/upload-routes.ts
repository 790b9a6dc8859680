import {
  type DigestAlgorithm,
  digestAlgorithms,
  isDigestAlgorithm,
  parseDigest,
} from "../../registry/digest.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Registry } from "../../registry/registry.ts";
import { isRepositoryName } from "../../registry/repository-name.ts";
import { rangeOf, type Upload } from "../../registry/uploads.ts";
import type { Access } from "./access.ts";
import { readDigest } from "./blob-routes.ts";
import { announcedLength, batchesOf, type Exchange, sendEmpty } from "./exchange.ts";

export interface UploadRouteDeps {
  readonly registry: Registry;
  readonly access: Access;
}

/** POST: begins an upload, does all of it, or takes a blob of another repository. spec.md, "Pushing blobs". */
export async function beginUpload(exchange: Exchange, { registry, access }: UploadRouteDeps): Promise<void> {
  const owner = access.checkWrite(exchange);
  const { query, request, target } = exchange;
  const { repository } = target;
  const mount = query.get("mount");
  if (mount !== null) {
    const digest = readDigest(mount);
    const from = query.get("from") ?? undefined;
    if (from !== undefined && !isRepositoryName(from))
      throw new OciError("NAME_INVALID", "`from` is no name of a repository");
    if (await registry.mount(repository, digest, from)) return sendCreated(exchange, digest.text);
  }
  const announced = announcedLength(request);
  const whole = mount === null ? query.get("digest") : null;
  // Without a body it only asks for the upload.
  if (whole === null || announced === 0)
    return sendUpload(exchange, registry.uploads.begin(repository, algorithmFor(query), 0, owner), 202);
  const digest = readDigest(whole);
  const upload = registry.uploads.begin(repository, digest.algorithm, announced ?? 0, owner);
  try {
    await registry.finishUpload(upload, digest, bodyOf(exchange, registry));
  } catch (error) {
    // Nobody was told its id, to go on with it.
    await registry.uploads.cancel(upload.id, repository).catch(() => undefined);
    throw error;
  }
  sendCreated(exchange, digest.text);
}

/** What the content will be hashed with, as far as the client says: it is read once more at the end where that is wrong. */
function algorithmFor(query: URLSearchParams): DigestAlgorithm {
  const said = query.get("digest-algorithm") ?? parseDigest(query.get("digest") ?? "")?.algorithm ?? "sha256";
  if (!isDigestAlgorithm(said))
    throw new OciError("DIGEST_INVALID", `digest-algorithm is one of ${digestAlgorithms.join(", ")}`);
  return said;
}

/** GET: how far it is. */
export function getUpload(exchange: Exchange, { registry, access }: UploadRouteDeps): void {
  access.checkWrite(exchange);
  sendUpload(exchange, registry.uploads.find(exchange.target.reference, exchange.target.repository), 204);
}

/** PATCH: a chunk, or all of it. */
export async function appendUpload(exchange: Exchange, { registry, access }: UploadRouteDeps): Promise<void> {
  access.checkWrite(exchange);
  const { reference, repository } = exchange.target;
  const upload = registry.uploads.find(reference, repository);
  const position = readPosition(exchange);
  sendUpload(exchange, await registry.uploads.append(upload, bodyOf(exchange, registry), position), 202);
}

/** PUT: the end of it, with its last chunk if there is one. */
export async function finishUpload(exchange: Exchange, { registry, access }: UploadRouteDeps): Promise<void> {
  access.checkWrite(exchange);
  const { reference, repository } = exchange.target;
  const upload = registry.uploads.find(reference, repository);
  const digest = readDigest(exchange.query.get("digest"));
  const position = readPosition(exchange);
  const last = position.length === 0 ? undefined : bodyOf(exchange, registry);
  await registry.finishUpload(upload, digest, last, position);
  sendCreated(exchange, digest.text);
}

export async function cancelUpload(exchange: Exchange, { registry, access }: UploadRouteDeps): Promise<void> {
  access.checkWrite(exchange);
  await registry.uploads.cancel(exchange.target.reference, exchange.target.repository);
  sendEmpty(exchange, 204);
}

const bodyOf = (exchange: Exchange, { uploads }: Registry) => batchesOf(exchange, uploads.batchBytes);

/** `Content-Range: <first>-<last>`, as the specification has it and not RFC 9110; `bytes ` before it is allowed. */
function readPosition({ request }: Exchange): { from?: number; length?: number | undefined } {
  const length = announcedLength(request);
  const header = request.headers["content-range"];
  if (header === undefined) return { length };
  const [, first, last] = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/.*)?$/.exec(header.trim()) ?? [];
  if (first === undefined || last === undefined)
    throw new OciError("BLOB_UPLOAD_INVALID", "Content-Range is <first octet>-<last octet>");
  const from = Number(first);
  if (length !== undefined && Number(last) - from + 1 !== length)
    throw new OciError("SIZE_INVALID", "Content-Range and Content-Length do not fit together");
  return { from, length };
}

function sendCreated(exchange: Exchange, digest: string): void {
  sendEmpty(exchange, 201, {
    location: `/v2/${exchange.target.repository}/blobs/${digest}`,
    "docker-content-digest": digest,
  });
}

function sendUpload(exchange: Exchange, upload: Upload, status: number): void {
  sendEmpty(exchange, status, {
    location: `/v2/${upload.repository}/blobs/uploads/${upload.id}`,
    range: rangeOf(upload),
    "docker-upload-uuid": upload.id,
  });
}

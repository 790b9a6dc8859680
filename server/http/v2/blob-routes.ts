import type { FileHandle } from "node:fs/promises";
import type { Log } from "../../domain/capabilities.ts";
import { type Digest, parseDigest } from "../../registry/digest.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Registry } from "../../registry/registry.ts";
import { smallBytes, stream, type StreamCount } from "../content-stream.ts";
import { parseRange } from "../range.ts";
import type { Access } from "./access.ts";
import { type Exchange, isHead, sendEmpty } from "./exchange.ts";

export interface BlobRouteDeps {
  readonly registry: Registry;
  readonly access: Access;
  readonly log: Pick<Log, "error">;
  readonly count: StreamCount;
  /** A client that takes nothing for so long is gone, ms. */
  readonly stallMs: number;
}

/** @throws OciError DIGEST_INVALID */
export function readDigest(text: string | null): Digest {
  const digest = parseDigest(text ?? "");
  if (!digest)
    throw new OciError("DIGEST_INVALID", "a digest is sha256: or sha512: and its lower-case hex digits");
  return digest;
}

/** GET and HEAD of a blob: spec.md, "Pulling blobs". */
export async function getBlob(
  exchange: Exchange,
  { registry, log, count, stallMs }: BlobRouteDeps,
): Promise<void> {
  const { request, response, target } = exchange;
  const digest = readDigest(target.reference);
  const { sizeBytes: size } = registry.findBlob(target.repository, digest);
  const etag = `"${digest.text}"`;
  const headers = {
    "content-type": "application/octet-stream",
    "docker-content-digest": digest.text,
    etag,
    "accept-ranges": "bytes",
    "cache-control": "public, max-age=31536000, immutable",
  };
  if (request.headers["if-none-match"] === etag) return void response.writeHead(304, headers).end();
  if (isHead(exchange)) return sendEmpty(exchange, 200, { ...headers, "content-length": size });
  const range = parseRange(request.headers.range, size);
  if (range === "unsatisfiable")
    return sendEmpty(exchange, 416, { ...headers, "content-range": `bytes */${size}` });
  const { from, to } = range === "whole" ? { from: 0, to: size - 1 } : range;
  const length = to - from + 1;
  const { chunk, leave } =
    length <= smallBytes
      ? { chunk: smallBytes, leave: () => {} }
      : count.enter(request.socket.remoteAddress ?? "");
  let file: FileHandle | undefined;
  try {
    file = await registry.openBlob(digest.text);
    response.writeHead(range === "whole" ? 200 : 206, {
      ...headers,
      "content-length": length,
      ...(range !== "whole" && { "content-range": `bytes ${from}-${to}/${size}` }),
    });
    request.socket.setTimeout(stallMs);
    if (await stream(file, response, request.socket, { from, to, chunk: Math.min(chunk, length) }))
      response.end();
  } catch (error) {
    if (!response.headersSent) throw error;
    // Only a broken connection tells the client, who resumes or asks again.
    log.error({ err: error, digest: digest.text }, "failed to read a blob");
    response.destroy();
  } finally {
    leave();
    await file?.close();
  }
}

export async function deleteBlob(exchange: Exchange, { registry, access }: BlobRouteDeps): Promise<void> {
  access.checkWrite(exchange);
  await registry.deleteBlob(exchange.target.repository, readDigest(exchange.target.reference));
  sendEmpty(exchange, 202);
}

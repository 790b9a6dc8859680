import { randomBytes } from "node:crypto";
import type { FileSender, Log } from "../../domain/capabilities.ts";
import { type Digest, parseDigest } from "../../registry/digest.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Reader, Registry } from "../../registry/registry.ts";
import { type ReadableFile, smallBytes, stream, type StreamCount } from "../content-stream.ts";
import { parseRanges, type Range } from "../range.ts";
import type { Access } from "./access.ts";
import { cacheControl, type Exchange, isHead, sendEmpty } from "./exchange.ts";

interface FoundBlob {
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Where a blob is found and opened. */
export interface BlobSource {
  findBlob(repository: string, digest: Digest, reader: Reader): FoundBlob;
  /** @throws OciError when its file is not there as it should be; undefined: there is nothing to look at */
  readonly checkBlob?: (blob: FoundBlob) => Promise<void>;
  openBlob(digest: string): Promise<ReadableFile>;
}

export interface BlobRouteDeps {
  readonly access: Access;
  readonly log: Pick<Log, "error">;
  readonly count: StreamCount;
  /** Undefined: files are read and written. */
  readonly fileSender?: FileSender | undefined;
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
  { registry, access, log, count, stallMs, fileSender }: BlobRouteDeps & { readonly registry: BlobSource },
): Promise<void> {
  const { request, response, target } = exchange;
  const digest = readDigest(target.reference);
  const blob = registry.findBlob(target.repository, digest, {
    mayPush: () => access.mayPush(exchange),
  });
  const { sizeBytes: size } = blob;
  const etag = `"${digest.text}"`;
  const headers = {
    "content-type": "application/octet-stream",
    "docker-content-digest": digest.text,
    etag,
    "accept-ranges": "bytes",
    "cache-control": cacheControl(exchange, { isFinal: true }),
  };
  if (request.headers["if-none-match"] === etag) return void response.writeHead(304, headers).end();
  if (isHead(exchange)) {
    // Whoever is told that it is here does not send it.
    await registry.checkBlob?.(blob);
    return sendEmpty(exchange, 200, { ...headers, "content-length": size });
  }
  const ranges = parseRanges(request.headers.range, size);
  if (ranges === "unsatisfiable")
    return sendEmpty(exchange, 416, { ...headers, "content-range": `bytes */${size}` });
  const answer = ranges === "whole" ? wholeOf(size) : partsOf(ranges, size);
  const { chunk, leave } =
    answer.length <= smallBytes
      ? { chunk: smallBytes, leave: () => {} }
      : count.enter(request.socket.remoteAddress ?? "");
  let file: ReadableFile | undefined;
  try {
    file = await registry.openBlob(digest.text);
    response.writeHead(answer.status, { ...headers, "content-length": answer.length, ...answer.headers });
    request.socket.setTimeout(stallMs);
    for (const { from, to, head } of answer.parts) {
      if (head !== "") response.write(head);
      const part = { from, to, chunk: Math.min(chunk, to - from + 1), sender: fileSender };
      if (!(await stream(file, response, request.socket, part))) return;
    }
    response.end(answer.end);
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

interface BlobAnswer {
  readonly status: 200 | 206;
  readonly headers: Readonly<Record<string, string>>;
  /** Octets of the body. */
  readonly length: number;
  /** Parts of the blob, each with what stands before it. */
  readonly parts: readonly (Range & { readonly head: string })[];
  readonly end: string;
}

function wholeOf(size: number): BlobAnswer {
  return { status: 200, headers: {}, length: size, parts: [{ from: 0, to: size - 1, head: "" }], end: "" };
}

/** Several ranges are several parts of a multipart message (RFC 9110 s.14.6). */
function partsOf(ranges: readonly Range[], size: number): BlobAnswer {
  const place = ({ from, to }: Range) => `bytes ${from}-${to}/${size}`;
  const [only, ...others] = ranges;
  if (only && others.length === 0)
    return {
      status: 206,
      headers: { "content-range": place(only) },
      length: only.to - only.from + 1,
      parts: [{ ...only, head: "" }],
      end: "",
    };
  const boundary = randomBytes(16).toString("hex");
  const parts = ranges.map((range) => ({
    ...range,
    head: `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: ${place(range)}\r\n\r\n`,
  }));
  const end = `\r\n--${boundary}--\r\n`;
  const length = parts.reduce((sum, { from, to, head }) => sum + head.length + to - from + 1, end.length);
  const headers = { "content-type": `multipart/byteranges; boundary=${boundary}` };
  return { status: 206, headers, length, parts, end };
}

export async function deleteBlob(
  exchange: Exchange,
  { registry, access }: BlobRouteDeps & { readonly registry: Registry },
): Promise<void> {
  access.checkWrite(exchange);
  await registry.deleteBlob(exchange.target.repository, readDigest(exchange.target.reference));
  sendEmpty(exchange, 202);
}

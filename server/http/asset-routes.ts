import type { FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { BootService } from "../boot/boot-service.ts";
import type { BootTracker } from "../boot/tracker.ts";
import type { ContentStore } from "../content/content-store.ts";
import type { BootStepName } from "../domain/boot.ts";
import type { Log } from "../domain/capabilities.ts";
import { AssetNotFound } from "../domain/error-catalogue.ts";
import { type Image, imageFileKinds } from "../domain/image.ts";
import { clientAddress } from "./request-facts.ts";
import { parseRange } from "./range.ts";

export interface AssetRouteDeps {
  readonly content: Pick<ContentStore, "open">;
  readonly images: { all(): readonly Image[] };
  readonly boots: Pick<BootService, "machineAt">;
  readonly tracker: BootTracker;
  readonly log: Pick<Log, "error">;
  /** First-stage binaries, for firmware that boots over HTTP. */
  readonly nbp: (name: string) => { content: Uint8Array; sha256: string } | undefined;
}

/** Measured best of 64 KiB to 4 MiB: one read ahead of the socket keeps pace with nginx's sendfile. */
const chunkBytes = 1024 * 1024;

function contentType(name: string): string {
  // UEFI 2.10 s.24.7.3.1 names these for HTTP boot.
  if (name.endsWith(".efi")) return "application/efi";
  if (name.endsWith(".iso")) return "application/vnd.efi-iso";
  return "application/octet-stream";
}

/** Immutable content by digest (Range, HEAD, ETag by hand) and the first-stage binaries by name. */
export function registerAssetRoutes(app: FastifyInstance, deps: AssetRouteDeps): void {
  app.route<{ Params: { sha256: string; name: string } }>({
    method: ["GET", "HEAD"],
    url: "/assets/:sha256/:name",
    schema: { summary: "Content by SHA-256, with Range", tags: ["boot"] },
    handler: async (request, reply) => {
      const { sha256, name } = request.params;
      const file = await deps.content.open(sha256);
      if (!file) throw AssetNotFound({ sha256 });
      try {
        noteStep(request, sha256, deps);
        const { size } = await file.stat();
        await sendFile(request, reply, { file, size, sha256, type: contentType(name) }, deps.log);
      } finally {
        await file.close();
      }
      return reply;
    },
  });

  app.get<{ Params: { name: string } }>(
    "/nbp/:name",
    { schema: { summary: "First-stage binary, for UEFI HTTP boot", tags: ["boot"] } },
    (request, reply) => {
      const asset = deps.nbp(request.params.name);
      if (!asset) throw AssetNotFound({ sha256: request.params.name });
      const machine = deps.boots.machineAt(clientAddress(request));
      if (machine && request.method === "GET")
        request.bootStep = { machineId: machine.id, step: "nbp", detail: { file: request.params.name } };
      return reply
        .header("etag", `"${asset.sha256}"`)
        .type(contentType(request.params.name))
        .send(Buffer.from(asset.content));
    },
  );
}

const stepByKind: Readonly<Record<(typeof imageFileKinds)[number], BootStepName>> = {
  kernel: "kernel",
  initrd: "initrd",
  rootfs: "rootfs",
};

/** Tells which part of an image a machine loads; only the first request of each counts, the rest are resumptions. */
function noteStep(request: FastifyRequest, sha256: string, { images, boots, tracker }: AssetRouteDeps): void {
  if (request.method !== "GET") return;
  const machine = boots.machineAt(clientAddress(request));
  if (!machine) return;
  for (const image of images.all()) {
    const kind = imageFileKinds.find((kind) => image.files[kind]?.sha256 === sha256);
    if (!kind) continue;
    if (kind === "kernel") tracker.advance(machine.id, "kernel.requested");
    const step = stepByKind[kind];
    if (!tracker.hasStep(machine.id, step))
      request.bootStep = {
        machineId: machine.id,
        step,
        detail: { sizeBytes: image.files[kind]?.sizeBytes ?? 0 },
      };
    else tracker.seen(machine.id);
    return;
  }
}

interface Sending {
  readonly file: FileHandle;
  readonly size: number;
  readonly sha256: string;
  readonly type: string;
}

async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  { file, size, sha256, type }: Sending,
  log: AssetRouteDeps["log"],
): Promise<void> {
  const etag = `"${sha256}"`;
  const headers: Record<string, string | number> = {
    etag,
    "accept-ranges": "bytes",
    "cache-control": "public, max-age=31536000, immutable",
    "content-type": type,
  };
  const response = reply.raw;
  if (isKnown(request.headers["if-none-match"], etag)) {
    reply.hijack();
    tellFirstOctet(request, reply);
    response.writeHead(304, headers).end();
    return;
  }
  const ifRange = request.headers["if-range"];
  // Range is defined for GET alone (RFC 9110 s.14.2).
  const isRanged = request.method === "GET" && (ifRange === undefined || ifRange === etag);
  const range = isRanged ? parseRange(request.headers.range, size) : "whole";
  reply.hijack();
  tellFirstOctet(request, reply);
  if (range === "unsatisfiable") {
    response.writeHead(416, { ...headers, "content-range": `bytes */${size}`, "content-length": 0 }).end();
    return;
  }
  const { from, to } = range === "whole" ? { from: 0, to: size - 1 } : range;
  if (range !== "whole") headers["content-range"] = `bytes ${from}-${to}/${size}`;
  headers["content-length"] = to - from + 1;
  response.writeHead(range === "whole" ? 200 : 206, headers);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  try {
    await stream(file, response, from, to);
  } catch (error) {
    // The disk failed after the header had left: only a broken connection tells the client, who resumes or asks again.
    log.error({ err: error, sha256 }, "failed to read content");
    response.destroy();
  }
}

/** If-None-Match: `*`, or a list of tags compared weakly (RFC 9110 s.13.1.2). */
function isKnown(header: string | undefined, etag: string): boolean {
  return header?.split(",").some((tag) => ["*", etag].includes(tag.trim().replace(/^W\//, ""))) ?? false;
}

/** A hijacked reply passes no onSend hook, so the time to its first octet is told here. */
function tellFirstOctet(request: FastifyRequest, reply: FastifyReply): void {
  request.server.tellBootStep(request, reply);
}

/** Reads one chunk ahead of the socket, into three buffers that take turns. */
async function stream(file: FileHandle, response: ServerResponse, from: number, to: number): Promise<void> {
  const buffers = [
    Buffer.allocUnsafe(chunkBytes),
    Buffer.allocUnsafe(chunkBytes),
    Buffer.allocUnsafe(chunkBytes),
  ];
  let turn = 0;
  let at = from;
  const readNext = () => {
    const buffer = buffers[turn++ % 3] as Buffer;
    const reading = file.read(buffer, 0, Math.min(chunkBytes, to + 1 - at), at);
    // It may fail while the chunk before it is still on its way; that is found when it is waited for.
    reading.catch(() => undefined);
    return reading;
  };
  let next = at <= to ? readNext() : undefined;
  while (next) {
    const { bytesRead, buffer } = await next;
    // The file is shorter than its length said: never a short 200 (RFC 9110 s.8.6), the connection breaks instead.
    if (bytesRead === 0) return void response.destroy();
    at += bytesRead;
    next = at <= to ? readNext() : undefined;
    const isSent = await write(response, buffer.subarray(0, bytesRead));
    if (!isSent) {
      await next?.catch(() => undefined);
      return;
    }
  }
  response.end();
}

/** Resolves when the chunk is handed to the kernel, so that its buffer may be filled again; false when the client is gone. */
function write(response: ServerResponse, chunk: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false);
    const gone = () => resolve(false);
    response.once("close", gone);
    response.write(chunk, (error) => {
      response.off("close", gone);
      resolve(!error);
    });
  });
}

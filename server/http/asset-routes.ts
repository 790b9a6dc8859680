import type { FileHandle } from "node:fs/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { BootService } from "../boot/boot-service.ts";
import type { BootTracker } from "../boot/tracker.ts";
import type { ContentStore } from "../content/content-store.ts";
import { createRecentContent } from "../content/recent-content.ts";
import type { BootStepName } from "../domain/boot.ts";
import type { Clock, FileSender, Log } from "../domain/capabilities.ts";
import { AssetNotFound } from "../domain/error-catalogue.ts";
import { type Image, imageFileKinds } from "../domain/image.ts";
import { smallBytes, stream, StreamCount, type StreamLimits } from "./content-stream.ts";
import type { Downloads } from "./downloads.ts";
import { clientAddress } from "./request-facts.ts";
import { parseRange } from "./range.ts";

export interface AssetRouteDeps {
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly content: Pick<ContentStore, "open" | "find">;
  readonly images: { all(): readonly Image[] };
  readonly boots: Pick<BootService, "machineAt" | "fileServed" | "disk" | "firstStageServed">;
  readonly tracker: BootTracker;
  readonly log: Pick<Log, "error">;
  /** Undefined: files are read and written. */
  readonly fileSender?: FileSender | undefined;
  readonly downloads: Pick<Downloads, "begin">;
  /** First-stage binaries, for firmware that boots over HTTP. */
  readonly nbp: (name: string) => { content: Uint8Array; sha256: string } | undefined;
  /** Other limits, for tests. */
  readonly streamLimits?: StreamLimits;
}

const defaultLimits: StreamLimits = { stallMs: 30_000, perAddress: 8, total: 512 };

function contentType(name: string): string {
  // UEFI 2.10 s.24.7.3.1 names these for HTTP boot.
  if (name.endsWith(".efi")) return "application/efi";
  if (name.endsWith(".iso")) return "application/vnd.efi-iso";
  if (name.endsWith(".img")) return "application/vnd.efi-img";
  return "application/octet-stream";
}

/** Immutable content by digest (Range, HEAD, ETag by hand) and the first-stage binaries by name. */
export function registerAssetRoutes(app: FastifyInstance, deps: AssetRouteDeps): void {
  const limits = deps.streamLimits ?? defaultLimits;
  const count = new StreamCount(limits);
  const recent = createRecentContent(deps.content, deps.clock);
  app.route<{ Params: { sha256: string; name: string } }>({
    method: ["GET", "HEAD"],
    url: "/assets/:sha256/:name",
    schema: { summary: "Content by SHA-256, with Range", tags: ["boot"] },
    handler: async (request, reply) => {
      const { sha256, name } = request.params;
      const type = contentType(name);
      const sending = { ...deps, count, stallMs: limits.stallMs };
      const stored = request.method === "HEAD" ? await recent.find(sha256) : undefined;
      const octets = stored ? undefined : await recent.readSmall(sha256);
      if (stored || octets) {
        const size = stored?.sizeBytes ?? octets?.length ?? 0;
        await sendFile(request, reply, { source: octets, size, sha256, type }, sending);
        return reply;
      }
      const file = await deps.content.open(sha256);
      if (!file) throw AssetNotFound({ sha256 });
      try {
        const { size } = await file.stat();
        await sendFile(request, reply, { source: file, size, sha256, type }, sending);
      } finally {
        await file.close();
      }
      return reply;
    },
  });

  app.get<{ Params: { name: string } }>(
    "/nbp/:name",
    { schema: { summary: "First-stage binary, for UEFI HTTP boot", tags: ["boot"] } },
    async (request, reply) => {
      const asset = deps.nbp(request.params.name);
      if (!asset) throw AssetNotFound({ sha256: request.params.name });
      const from = clientAddress(request);
      await deps.boots.disk.refuseFirstStage(from, "nbp");
      const machine = deps.boots.machineAt(from);
      if (machine && request.method === "GET")
        request.bootStep = { machineId: machine.id, step: "nbp", detail: { file: request.params.name } };
      if (request.method === "GET")
        reply.raw.once("finish", () => deps.boots.firstStageServed(from, "loaded"));
      const { buffer, byteOffset, byteLength } = asset.content;
      request.raw.socket.setTimeout(limits.stallMs);
      // A view, not a copy: a client that does not read then holds no memory of its own.
      return reply
        .header("etag", `"${asset.sha256}"`)
        .type(contentType(request.params.name))
        .send(Buffer.from(buffer, byteOffset, byteLength));
    },
  );
}

const stepByKind: Readonly<Record<(typeof imageFileKinds)[number], BootStepName>> = {
  kernel: "kernel",
  kernelEfi: "kernel",
  initrd: "initrd",
  rootfs: "rootfs",
};

/** A part of an image that a machine loads. */
interface Loading {
  readonly machineId: string;
  /** Its name in the image. */
  readonly file: string;
  /** To be called once the answer has begun. */
  readonly tell: () => void;
}

/** Notes which part of an image a machine loads; only the first request of each counts, the rest are resumptions. */
function noteStep(
  request: FastifyRequest,
  sha256: string,
  { images, boots, tracker, log }: AssetRouteDeps,
): Loading | undefined {
  if (request.method !== "GET") return undefined;
  const machine = boots.machineAt(clientAddress(request));
  if (!machine) return undefined;
  for (const image of images.all()) {
    const kind = imageFileKinds.find((kind) => image.files[kind]?.sha256 === sha256);
    const file = kind && image.files[kind];
    if (!file) continue;
    if (stepByKind[kind] === "kernel") tracker.advance(machine.id, "kernel.requested");
    const step = stepByKind[kind];
    if (!tracker.hasStep(machine.id, step))
      request.bootStep = {
        machineId: machine.id,
        step,
        detail: { sizeBytes: file.sizeBytes, sha256 },
      };
    else tracker.seen(machine.id);
    const tell = () => {
      boots
        .fileServed(machine, kind, image.files.initrd !== undefined)
        .catch((error: unknown) => log.error({ err: error }, "failed to end a boot"));
    };
    return { machineId: machine.id, file: file.name, tell };
  }
  return undefined;
}

interface Sending {
  /** Undefined for a HEAD, which needs the size alone. */
  readonly source: FileHandle | Uint8Array | undefined;
  readonly size: number;
  readonly sha256: string;
  readonly type: string;
}

async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  { source, size, sha256, type }: Sending,
  deps: AssetRouteDeps & { readonly count: StreamCount; readonly stallMs: number },
): Promise<void> {
  const etag = `"${sha256}"`;
  const headers: Record<string, string | number> = {
    etag,
    "accept-ranges": "bytes",
    "cache-control": "public, max-age=31536000, immutable",
    "content-type": type,
  };
  const response = reply.raw;
  const begin = () => {
    const loading = noteStep(request, sha256, deps);
    reply.hijack();
    tellFirstOctet(request, reply);
    loading?.tell();
    return loading;
  };
  if (isKnown(request.headers["if-none-match"], etag)) {
    begin();
    response.writeHead(304, headers).end();
    return;
  }
  const ifRange = request.headers["if-range"];
  // Range is defined for GET alone (RFC 9110 s.14.2).
  const isRanged = request.method === "GET" && (ifRange === undefined || ifRange === etag);
  const range = isRanged ? parseRange(request.headers.range, size) : "whole";
  if (range === "unsatisfiable") {
    begin();
    response.writeHead(416, { ...headers, "content-range": `bytes */${size}`, "content-length": 0 }).end();
    return;
  }
  const { from, to } = range === "whole" ? { from: 0, to: size - 1 } : range;
  if (range !== "whole") headers["content-range"] = `bytes ${from}-${to}/${size}`;
  const length = to - from + 1;
  headers["content-length"] = length;
  const isHead = request.method === "HEAD";
  const { chunk, leave } =
    isHead || length <= smallBytes
      ? { chunk: smallBytes, leave: () => {} }
      : deps.count.enter(clientAddress(request));
  let endDownload = () => {};
  try {
    const loading = begin();
    response.writeHead(range === "whole" ? 200 : 206, headers);
    const { socket } = request.raw;
    const place = { at: from };
    if (loading && length > smallBytes)
      endDownload = deps.downloads.begin(loading.machineId, { file: loading.file, total: size, place });
    // Node counts a part of a chunk that the kernel takes as progress, and puts its own limit back after the answer.
    socket.setTimeout(deps.stallMs);
    if (isHead || source === undefined) response.end();
    else if (source instanceof Uint8Array) response.end(source.subarray(from, to + 1));
    else {
      const part = { from, to, chunk: Math.min(chunk, length), sender: deps.fileSender, place };
      if (await stream(source, response, socket, part)) response.end();
    }
  } catch (error) {
    // The disk failed after the header had left: only a broken connection tells the client, who resumes or asks again.
    deps.log.error({ err: error, sha256 }, "failed to read content");
    response.destroy();
  } finally {
    endDownload();
    leave();
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

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Blob } from "./oci-image.ts";

interface Scope {
  teardown(fn: () => void | Promise<void>): unknown;
}

/** @returns true when it has answered */
export type Twist = (request: IncomingMessage, response: ServerResponse) => boolean | void;

/** A small registry whose answers a test twists: contents by digest, manifests by tag. */
export async function startFakeUpstream(t: Scope) {
  const contents = new Map<string, { readonly content: Buffer; readonly type: string }>();
  const tags = new Map<string, string>();
  const asked: string[] = [];
  let sentBytes = 0;
  let twist: Twist = () => false;
  const server = createServer((request, response) => {
    const { url = "", method = "" } = request;
    asked.push(`${method} ${url}${request.headers.range === undefined ? "" : ` ${request.headers.range}`}`);
    const write = response.write.bind(response);
    const count = (chunk: unknown) => void (sentBytes += Buffer.isBuffer(chunk) ? chunk.length : 0);
    response.write = ((chunk: never, ...more: never[]) => {
      count(chunk);
      return write(chunk, ...more);
    }) as typeof response.write;
    if (twist(request, response)) return;
    const [, kind, reference = ""] = /\/(blobs|manifests)\/([^/?]+)$/.exec(url) ?? [];
    const found = kind && contents.get(tags.get(reference) ?? reference);
    if (url.endsWith("/tags/list"))
      return void response.end(JSON.stringify({ name: "x", tags: [...tags.keys()] }));
    if (!found) return void response.writeHead(404).end(JSON.stringify({ errors: [{ code: "UNKNOWN" }] }));
    const { content, type } = found;
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const isPart = request.headers.range !== undefined;
    response.writeHead(isPart ? 206 : 200, {
      "content-type": type,
      "content-length": content.length - from,
      "docker-content-digest": tags.get(reference) ?? reference,
      ...(isPart && { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    if (method !== "HEAD") response.write(content.subarray(from));
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  t.teardown(stop);
  return {
    url: `http://127.0.0.1:${port}`,
    /** What was asked for. */
    asked,
    /** Octets of bodies. */
    get sentBytes() {
      return sentBytes;
    },
    add(
      { digest, content }: Blob,
      { type = "application/octet-stream", tag }: { type?: string; tag?: string } = {},
    ) {
      contents.set(digest, { content, type });
      if (tag !== undefined) tags.set(tag, digest);
    },
    untag: (tag: string) => tags.delete(tag),
    /** From now on. */
    twist: (next: Twist) => void (twist = next),
    stop,
  };
}

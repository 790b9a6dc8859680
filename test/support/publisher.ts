import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** How the publisher answers one request for a file. */
export type Manner =
  /** As it should be, with Range and If-Range. */
  | "fair"
  /** Ends the connection after so many octets of the answer. */
  | { readonly cutAfter: number }
  /** Sends so many octets and falls silent. */
  | { readonly stallAfter: number }
  /** Says 206 and sends from another octet. */
  | "wrong-range"
  /** Knows no Range. */
  | "no-range"
  /** Sends other octets than its digest says. */
  | "spoilt"
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>> };

export interface Seen {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/** A publisher of images on loopback, which cuts, lies and stalls as it is told: one manner a request, the last one for all after. */
export async function startPublisher(t: { teardown(fn: () => void | Promise<void>): unknown }) {
  const files = new Map<string, { content: Buffer; etag: string | undefined }>();
  const manners = new Map<string, Manner[]>();
  const seen: Seen[] = [];
  const server = createServer((request, response) => answer(request, response));
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? "";
    const { range } = request.headers;
    const ifRange = request.headers["if-range"]?.toString();
    seen.push({ path, range, ifRange });
    const waiting = manners.get(path) ?? [];
    const manner: Manner = (waiting.length > 1 ? waiting.shift() : waiting[0]) ?? "fair";
    const file = files.get(path);
    if (typeof manner === "object" && "status" in manner) {
      response.writeHead(manner.status, manner.headers).end("<html>no</html>");
      return;
    }
    if (!file) return void response.writeHead(404).end();
    const { etag } = file;
    const content = manner === "spoilt" ? Buffer.from(file.content).fill(0, 0, 8) : file.content;
    const isRanged =
      range !== undefined && manner !== "no-range" && (ifRange === undefined || ifRange === etag);
    const from = isRanged ? Number(/^bytes=(\d+)-/.exec(range)?.[1]) : 0;
    const validator = etag === undefined ? {} : { etag };
    if (isRanged && from >= content.length)
      return void response
        .writeHead(416, { "content-range": `bytes */${content.length}`, "content-length": 0 })
        .end();
    const first = manner === "wrong-range" && isRanged ? from + 1 : from;
    const body = content.subarray(first);
    response.writeHead(isRanged ? 206 : 200, {
      "content-length": body.length,
      ...(isRanged ? { "content-range": `bytes ${first}-${content.length - 1}/${content.length}` } : {}),
      ...validator,
    });
    if (typeof manner === "object" && "cutAfter" in manner) {
      response.write(body.subarray(0, manner.cutAfter), () => response.destroy());
      return;
    }
    if (typeof manner === "object") return void response.write(body.subarray(0, manner.stallAfter));
    response.end(body);
  }

  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    /** Ends every connection now. */
    cut: () => server.closeAllConnections(),
    /** Requests for one path. */
    asked: (path: string): Seen[] => seen.filter((one) => one.path === path),
    put(
      path: string,
      content: Buffer | string,
      { etag, as }: { etag?: string; as?: readonly Manner[] } = {},
    ): void {
      files.set(path, { content: Buffer.from(content as string), etag });
      if (as) manners.set(path, [...as]);
      else manners.delete(path);
    },
  };
}
export type Publisher = Awaited<ReturnType<typeof startPublisher>>;

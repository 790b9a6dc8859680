import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Clock } from "../../domain/capabilities.ts";
import { maximumConnections } from "../../domain/connection-shares.ts";
import { mostSignatures } from "../../domain/signature.ts";
import type { KeyFiles } from "../../signatures/key-files.ts";
import { parseSignaturePlace, plainPath } from "../../signatures/lookaside.ts";
import type { Signatures } from "../../signatures/signatures.ts";
import type { UpstreamSignatures } from "../../upstream/upstream-signatures.ts";
import {
  connectionsPerAddress,
  createPipelineLimit,
  limitConnections,
  listenOn,
} from "../connection-limits.ts";
import { askerOf } from "./exchange.ts";

export interface LookasideServerDeps {
  readonly clock: Pick<Clock, "after">;
  readonly signatures: Pick<Signatures, "octets" | "list">;
  /** Signatures of images of upstreams; undefined: there are none. */
  readonly upstreams?: UpstreamSignatures | undefined;
  readonly keys: KeyFiles;
  readonly maxConnections?: number | undefined;
  /** Where it listens. */
  readonly host: string;
  readonly port: number;
}

/** Downloads under way are some hundred octets; this is for clients that don't take them, ms. */
const stopAfterMs = 1000;
const sendSignature = { "content-type": "application/octet-stream", "cache-control": "no-cache" };

/**
 * sigstore.local: signatures and keys as files. Clients stop at the first signature that is missing and give an image up at any other
 * answer than 200 and 404, so nothing here is ever refused or redirected (but for the directory's slash), nor made to wait, but for what
 * an upstream may have.
 */
export function createLookasideServer({
  clock,
  signatures,
  upstreams,
  keys,
  maxConnections = maximumConnections,
  host,
  port,
}: LookasideServerDeps) {
  function answer(request: IncomingMessage, response: ServerResponse): void | Promise<void> {
    const { url = "/", method } = request;
    const mark = url.indexOf("?");
    const path = plainPath(mark < 0 ? url : url.slice(0, mark));
    if (path === undefined || (method !== "GET" && method !== "HEAD")) return notFound(response);
    if (path.startsWith("/sigstore/")) {
      const place = parseSignaturePlace(path);
      if (!place) return notFound(response);
      const { repository, digest, position } = place;
      const answerWith = (octets: Buffer | undefined) =>
        octets ? send(response, sendSignature, octets) : notFound(response);
      const own = signatures.octets(repository, digest, position);
      const passedOn = own
        ? undefined
        : upstreams?.passedOn(repository, digest, askerOf({ request, response }));
      // Clients give up an image that has more.
      if (!passedOn || position > mostSignatures) return answerWith(own);
      // Behind our own.
      return passedOn.then((all) =>
        answerWith(all[position - signatures.list(repository, digest).length - 1]),
      );
    }
    if (path === "/keys")
      return void response.writeHead(301, { location: "/keys/", "content-length": 0 }).end();
    const file = path.startsWith("/keys/") ? keys.find(path.slice("/keys/".length)) : undefined;
    if (!file) return notFound(response);
    send(response, { "content-type": file.type, "cache-control": "no-cache" }, file.content);
  }

  const mayBegin = createPipelineLimit();
  const server = createServer(
    { requestTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 65_000 },
    (request, response) => {
      // What a client sends along with a question is of no interest.
      request.resume();
      if (!mayBegin(request, response)) return;
      // The database can't be read: "not there" would be a lie.
      const fail = () => void response.writeHead(500, { "content-length": 0 }).end();
      try {
        answer(request, response)?.catch(fail);
      } catch {
        fail();
      }
    },
  );
  limitConnections(server, { total: maxConnections, perAddress: connectionsPerAddress });

  return {
    /** @returns its port @throws PortInUse, PortNotPermitted */
    start: () => listenOn(server, { host, port, key: "lookaside.port" }),
    async stop(): Promise<void> {
      if (!server.listening) return;
      const cut = clock.after(stopAfterMs, () => server.closeAllConnections());
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      });
      cut();
    },
  };
}
export type LookasideServer = ReturnType<typeof createLookasideServer>;

/** A text, not octets: Node writes it with the header, in one piece, and that is a fifth of the time. */
const missing = "404: nothing is here\n";

function notFound(response: ServerResponse): void {
  response.writeHead(404, { "content-type": "text/plain", "content-length": missing.length }).end(missing);
}

/** Up to so many octets are cheaper to turn into a text than to write by themselves. */
const smallOctets = 16 * 1024;

/** Node leaves the body of a HEAD's answer away by itself. */
function send(response: ServerResponse, headers: Readonly<Record<string, string>>, content: Buffer): void {
  response.writeHead(200, { ...headers, "content-length": content.length });
  if (content.length > smallOctets) response.end(content);
  else response.end(content.toString("latin1"), "latin1");
}

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Clock, FileSender, Log } from "../../domain/capabilities.ts";
import { maximumConnections } from "../../domain/connection-shares.ts";
import type { ImageGate } from "../../registry/image-gate.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Registry } from "../../registry/registry.ts";
import { isRepositoryName, longestName } from "../../registry/repository-name.ts";
import {
  backlog,
  connectionsPerAddress,
  createPipelineLimit,
  limitConnections,
  listenError,
  listenOn,
} from "../connection-limits.ts";
import { StreamCount, type StreamLimits } from "../content-stream.ts";
import { createTlsListener, type TlsSettings } from "../tls-listener.ts";
import { type Access, challenge, unauthorized } from "./access.ts";
import { deleteBlob, getBlob } from "./blob-routes.ts";
import { type Exchange, sendError, sendJson } from "./exchange.ts";
import { getCatalog, getReferrers, getTags } from "./list-routes.ts";
import { deleteManifest, getManifest, putManifest } from "./manifest-routes.ts";
import { type SignatureRequest, type SignatureRoutes, signatureSupport } from "./signature-routes.ts";
import { parseTarget, type Target } from "./target.ts";
import { getToken, postToken } from "./token-routes.ts";
import { createUpstreamRoutes, type UpstreamRoutes } from "./upstream-routes.ts";
import { appendUpload, beginUpload, cancelUpload, finishUpload, getUpload } from "./upload-routes.ts";

export interface RegistryServerDeps {
  readonly access: Access;
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly registry: Registry;
  readonly signatures: SignatureRoutes;
  readonly upstreams: UpstreamRoutes;
  readonly gate: ImageGate;
  readonly metrics: {
    observe(request: IncomingMessage, response: ServerResponse, route: string): void;
    cacheAsked(upstream: string, isHit: boolean): void;
  };
  readonly fileSender?: FileSender | undefined;
  readonly maxConnections?: number | undefined;
  /** Who breaks off TLS, and why. */
  readonly onBrokenHandshake?: ((address: string, alert: string) => void) | undefined;
  /** Where it listens. */
  readonly host: string;
  readonly port: number;
  readonly tlsPort: number;
  /** What the port of TLS shows. */
  readonly credentials: TlsSettings["credentials"];
}

/** Some clients fetch six blobs of an image at once, and a machine pulls several images. */
const streamLimits: StreamLimits = { stallMs: 30_000, perAddress: 64, total: 512 };

type Handler = (exchange: Exchange) => void | Promise<void>;

/**
 * The OCI distribution API. Plain node:http: bodies have any length and any type here, and a manifest is asked for by a whole room at
 * once.
 */
export async function createRegistryServer(deps: RegistryServerDeps) {
  const { access, clock, log, registry, signatures } = deps;
  const blobs = {
    registry,
    access,
    log,
    count: new StreamCount(streamLimits),
    stallMs: streamLimits.stallMs,
    fileSender: deps.fileSender,
    gate: deps.gate,
  };
  const reads = (handler: Handler): Handler => {
    return (exchange) => {
      access.checkRead(exchange);
      return handler(exchange);
    };
  };
  const both = (handler: Handler) => ({ GET: reads(handler), HEAD: reads(handler) });
  const routes: Readonly<Record<Target["kind"], Readonly<Record<string, Handler>>>> = {
    base: both(getBase),
    catalog: both((exchange) => getCatalog(exchange, { registry })),
    token: {
      GET: (exchange) => getToken(exchange, { access, clock }),
      POST: (exchange) => postToken(exchange, { access, clock }),
    },
    tags: both((exchange) => getTags(exchange, { registry })),
    referrers: both((exchange) => getReferrers(exchange, { registry, access, gate: deps.gate })),
    manifest: {
      ...both((exchange) => getManifest(exchange, { registry, access, gate: deps.gate })),
      PUT: (exchange) => putManifest(exchange, { registry, access }),
      DELETE: (exchange) => deleteManifest(exchange, { registry, access }),
    },
    blob: {
      ...both((exchange) => getBlob(exchange, blobs)),
      DELETE: (exchange) => deleteBlob(exchange, blobs),
    },
    uploads: { POST: (exchange) => beginUpload(exchange, { registry, access }) },
    upload: {
      GET: (exchange) => getUpload(exchange, { registry, access }),
      PATCH: (exchange) => appendUpload(exchange, { registry, access }),
      PUT: (exchange) => finishUpload(exchange, { registry, access }),
      DELETE: (exchange) => cancelUpload(exchange, { registry, access }),
    },
    signatures: {
      GET: reads((exchange) => signatures.getExtension(signatureRequest(exchange))),
      PUT: (exchange) => {
        const actor = access.checkWrite(exchange);
        return signatures.putExtension(signatureRequest(exchange), actor);
      },
    },
    lookaside: {
      PUT: (exchange) => {
        const actor = access.checkWrite(exchange);
        const { position = 0 } = exchange.target;
        return signatures.putLookaside(signatureRequest(exchange), position, actor);
      },
    },
  };

  const upstreams = createUpstreamRoutes(deps.upstreams, { ...blobs, signatures, metrics: deps.metrics });

  function route(asked: Exchange): void | Promise<void> {
    const repository = upstreams.repositoryOf(asked);
    const isSame = repository === asked.target.repository;
    const exchange = isSame ? asked : { ...asked, target: { ...asked.target, repository } };
    const { target, request } = exchange;
    const handlers = routes[target.kind];
    const handler = handlers[request.method ?? ""];
    if (!handler)
      throw new OciError("UNSUPPORTED", `there is no ${request.method} here`, {
        headers: { allow: Object.keys(handlers).join(", ") },
      });
    if (target.repository !== "" && !isRepositoryName(target.repository))
      throw new OciError(
        "NAME_INVALID",
        `a repository's name is lower-case words of letters and digits, with . _ - between them and / between the words, at most ${longestName} characters`,
      );
    const fetching = upstreams.find(exchange);
    return fetching ? reads(fetching)(exchange) : handler(exchange);
  }

  const mayBegin = createPipelineLimit();
  const answer = (isTls: boolean, expectsContinue: boolean) => {
    return (request: IncomingMessage, response: ServerResponse) => {
      if (!mayBegin(request, response)) return;
      const [path, query] = splitUrl(request.url ?? "/");
      const target = parseTarget(path) ?? nowhere;
      deps.metrics.observe(request, response, target === nowhere ? "none" : target.kind);
      const { needsLogin } = access;
      const exchange = { request, response, target, query, expectsContinue, isTls, needsLogin };
      try {
        if (target === nowhere)
          throw new OciError("UNSUPPORTED", "nothing is here; the API is under /v2/", { status: 404 });
        const loggingIn = access.login(exchange);
        const done = loggingIn ? loggingIn.then(() => route(exchange)) : route(exchange);
        if (done) done.catch((error: unknown) => sendError(exchange, error, deps));
      } catch (error) {
        sendError(exchange, error, deps);
      }
    };
  };
  const plain = createServer({ requestTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 65_000 });
  plain.on("request", answer(false, false));
  plain.on("checkContinue", answer(false, true));
  const tls = await createTlsListener(
    { port: deps.tlsPort, host: deps.host, credentials: deps.credentials },
    clock,
    answer(true, false),
    (error) => log.error({ err: error }, "the registry's TLS port"),
    deps.onBrokenHandshake,
  );
  tls.server.on("checkContinue", answer(true, true));
  // A large blob takes longer than Node's five minutes.
  tls.server.requestTimeout = 0;
  const limits = { total: deps.maxConnections ?? maximumConnections, perAddress: connectionsPerAddress };
  limitConnections(plain, limits);
  limitConnections(tls.server, limits);
  let ports: { registryPort: number | undefined; registryTlsPort: number | undefined } = {
    registryPort: undefined,
    registryTlsPort: undefined,
  };
  let cancelSweep = () => {};
  const sweepLater = (): void => {
    cancelSweep = clock.after(sweepEveryMs, () => {
      registry.uploads
        .sweep()
        .catch((error: unknown) => log.error({ err: error }, "failed to drop old uploads"))
        .finally(sweepLater);
    });
  };

  return {
    /** Once started. */
    get ports() {
      return ports;
    },
    /** Binds both ports, one after the other. Each @throws PortInUse, PortNotPermitted */
    starts: [
      async (): Promise<void> => {
        ports = { ...ports, registryPort: await listenOn(plain, { ...deps, key: "registry.port" }) };
        sweepLater();
      },
      async (): Promise<void> => {
        const registryTlsPort = await tls.listen(backlog).catch((error: unknown) => {
          throw listenError(error, deps.tlsPort, "registry.tlsPort");
        });
        ports = { ...ports, registryTlsPort };
      },
    ],
    async stop(): Promise<void> {
      cancelSweep();
      const cut = clock.after(stopAfterMs, () => {
        plain.closeAllConnections();
        tls.cut();
      });
      const closed = plain.listening && new Promise<void>((resolve) => plain.close(() => resolve()));
      await Promise.all([closed, tls.close()]);
      cut();
    },
  };
}

const sweepEveryMs = 60 * 60_000;
/** Uploads and downloads under way may finish, but not hold the end up for ever. */
const stopAfterMs = 5000;
const nowhere: Target = { kind: "base", repository: "", reference: "" };
const noQuery = new URLSearchParams();

function splitUrl(url: string): [string, URLSearchParams] {
  const mark = url.indexOf("?");
  return mark < 0 ? [url, noQuery] : [url.slice(0, mark), new URLSearchParams(url.slice(mark + 1))];
}

function signatureRequest({ target, ...exchange }: Exchange): SignatureRequest {
  return { ...exchange, repository: target.repository, digest: target.reference };
}

/** With a challenge, which containers/image takes from a 200 too: it then shows the credentials that it has. */
function getBase(exchange: Exchange): void {
  if (exchange.isTls && exchange.request.headers.authorization === undefined)
    throw unauthorized(exchange, "get a token first; everybody gets one to pull");
  sendJson(exchange, "{}", { "www-authenticate": challenge(exchange), ...signatureSupport });
}

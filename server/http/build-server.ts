import { readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { Sightings } from "../boot/sightings.ts";
import type { Clock, Ids, Log } from "../domain/capabilities.ts";
import { type ConnectionShares, maximumConnections } from "../domain/connection-shares.ts";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import { type ApiDeps, registerApi } from "./api/register-api.ts";
import { type AssetRouteDeps, registerAssetRoutes } from "./asset-routes.ts";
import { type AuthorityRouteDeps, registerAuthority } from "./authority-routes.ts";
import { installAuthorization, installHostCheck } from "./authorization.ts";
import { type BootRouteDeps, registerBootRoutes } from "./boot-routes.ts";
import {
  backlog,
  connectionsPerAddress,
  createPipelineLimit,
  limitConnections,
  listenError,
} from "./connection-limits.ts";
import { type CallbackRouteDeps, registerCallbackRoutes } from "./callback-routes.ts";
import { createDownloads } from "./downloads.ts";
import { registerGrubRoutes } from "./grub-routes.ts";
import { installErrorMapper, problemDocument } from "./error-mapper.ts";
import type { LoginFailures } from "./login-failures.ts";
import { type MetricsRouteDeps, registerMetrics } from "./metrics-routes.ts";
import { type NodeRouteDeps, registerNodeRoutes } from "./node-routes.ts";
import { dashboardPath, type PageDeps, registerPages, wantsPage } from "./dashboard/pages.ts";
import { acceptCookies, createCookieSessions } from "./dashboard/session-cookie.ts";
import { registerSessions, registerSignIn, type SessionRouteDeps } from "./dashboard/session-routes.ts";
import { createSignIn, type SignInDeps } from "./dashboard/sign-in.ts";
import { clientAddress } from "./request-facts.ts";
import { createTlsListener, type TlsSettings } from "./tls-listener.ts";
import { TitledResponse } from "./titled-response.ts";
import { strictValidator } from "./validation.ts";

declare module "fastify" {
  interface FastifyInstance {
    /** Notes the time to the first octet on the boot's timeline, once per request. */
    tellBootStep(request: FastifyRequest, reply: FastifyReply): void;
  }
  interface FastifyRequest {
    /** Takes the request out of the time limit for bodies: from now on only silence ends it. */
    allowSlowBody: () => void;
  }
}

export type HttpDeps = BootRouteDeps &
  CallbackRouteDeps &
  Omit<AssetRouteDeps & ApiDeps, "downloads"> &
  NodeRouteDeps &
  MetricsRouteDeps &
  AuthorityRouteDeps &
  PageDeps &
  SignInDeps &
  Pick<SessionRouteDeps, "publicUrl"> &
  HttpSettings;

export interface HttpSettings {
  /** Where requests of machines that were refused are noted. */
  readonly sightings?: Pick<Sightings, "refusal" | "brokenHandshake"> | undefined;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** Wrong tokens by address, the registry's too. */
  readonly failures: LoginFailures;
  readonly port: number;
  /** Unix socket for the `boot` command on this machine: whoever may open it is the administrator. */
  readonly controlSocket: string;
  /** @throws when something that must work does not: the answer of /readyz */
  readonly ready: () => Promise<void>;
  readonly version: string;
  /** The same routes over TLS; undefined: HTTP alone. */
  readonly tls?: TlsSettings | undefined;
  /** Connections at once; undefined: as many as a server ever has. */
  readonly connections?: Pick<ConnectionShares, "http" | "https"> | undefined;
  /** Names beside its addresses and its host name that this server answers to. */
  readonly names?: readonly string[];
}

/** API requests are small; content goes through the upload routes, which have limits of their own. */
const bodyLimitBytes = 256 * 1024;

const httpSettings = {
  // Node's own limit knows no exception for uploads, so limitBodies has it.
  requestTimeout: 0,
  headersTimeout: 10_000,
  keepAliveTimeout: 65_000,
  ServerResponse: TitledResponse,
};

/** For limits that are no settings: tests play with others. */
export interface BodyLimits {
  /** For the whole body of a request, ms: the largest small one (256 KiB) comes in it at 5 kB/s. */
  readonly bodyMs: number;
  /** For an upload without a single octet, ms. */
  readonly uploadSilenceMs: number;
}
const bodyLimits: BodyLimits = { bodyMs: 60_000, uploadSilenceMs: 60_000 };

/** For whoever asks for the server itself and is no browser. */
const landingPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Rollcall</title>
<h1>Rollcall is up</h1>
<p>The roll: <a href="${dashboardPath}">${dashboardPath}</a> or <code>boot status</code>. The API: <a href="/api/docs">/api/docs</a>.</p></html>
`;

/** The HTTP server on its port, and the same routes on the control socket. */
export async function buildHttpServer(deps: HttpDeps) {
  const { clock, ids, log, tracker } = deps;
  const downloads = createDownloads();
  const mayBegin = createPipelineLimit();
  const limited =
    (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
    (request: IncomingMessage, response: ServerResponse): void => {
      if (mayBegin(request, response)) answer(request, response);
    };
  const app = Fastify({
    bodyLimit: bodyLimitBytes,
    serverFactory: (answer) => createServer(httpSettings, limited(answer)),
    routerOptions: { ignoreDuplicateSlashes: true, maxParamLength: 300 },
    exposeHeadRoutes: true,
    // Addresses that can't be read, like /%zz: Fastify finds them before any handler.
    frameworkErrors: (_error, request, reply) => {
      const problem = problemDocument(
        InvalidRequest({ problem: `${request.url.slice(0, 200)} is no address` }),
      );
      void (reply as FastifyReply).code(400).type("application/problem+json").send(JSON.stringify(problem));
    },
  }) as unknown as FastifyInstance;

  limitConnections(app.server, {
    total: deps.connections?.http ?? maximumConnections,
    perAddress: connectionsPerAddress,
  });
  limitBodies(app, clock, bodyLimits);
  app.setValidatorCompiler(strictValidator);
  app.decorateRequest("bootStep", undefined);
  app.decorateRequest("arrivedAt", 0);
  app.decorate("tellBootStep", (request: FastifyRequest) => {
    const { bootStep } = request;
    if (!bootStep) return;
    request.bootStep = undefined;
    tracker.step(bootStep.machineId, bootStep.step, clock.monotonicMs() - request.arrivedAt, bootStep.detail);
  });
  app.addHook("onRequest", (request, _reply, done) => {
    request.arrivedAt = clock.monotonicMs();
    done();
  });
  app.addHook("onSend", (request, reply, payload, done) => {
    app.tellBootStep(request, reply);
    void reply.header("x-content-type-options", "nosniff");
    done(null, payload);
  });
  const control = new ControlSocket(app);
  const isControl = (request: FastifyRequest) => control.owns(request);
  installHostCheck(app, { hostname: await ownHostname(), configured: deps.names ?? [], isControl });
  acceptForms(app);
  installErrorMapper(app, log, ids, (request, { code, httpStatus }) => {
    // What people ask is no matter of a machine's.
    if (/^\/(api|dashboard)\//.test(request.url) || control.owns(request)) return;
    const { method, url } = request;
    deps.sightings?.refusal(clientAddress(request), { method, url, status: httpStatus, code });
  });

  await app.register(swagger, {
    openapi: {
      info: {
        title: "Rollcall",
        version: deps.version,
        description: "Boots rooms of diskless PCs over the network.",
      },
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
    },
  });
  await app.register(swaggerUi, { routePrefix: "/api/docs" });
  await app.register(async (scope) => {
    registerBootRoutes(scope, deps);
    registerGrubRoutes(scope, deps);
    registerCallbackRoutes(scope, deps);
    registerNodeRoutes(scope, deps);
    registerAssetRoutes(scope, { ...deps, downloads });
    registerAuthority(scope, deps);
    registerHealth(scope, deps.ready);
  });
  const authorization = {
    clock,
    tokens: deps.tokens,
    isControl,
    inventory: deps.inventory,
    failures: deps.failures,
  };
  const signIn = createSignIn(deps);
  const cookies = createCookieSessions(signIn, deps.record);
  const signingIn = { ...deps, signIn, failures: authorization.failures };
  await app.register(
    async (scope) => {
      await acceptCookies(scope);
      await scope.register(async (open) => registerSignIn(open, signingIn));
      await scope.register(async (closed) => {
        installAuthorization(closed, { ...authorization, cookies });
        registerSessions(closed, signingIn);
        await registerApi(closed, { ...deps, downloads });
      });
    },
    { prefix: "/api/v1" },
  );
  await app.register(async (scope) => {
    installAuthorization(scope, authorization);
    registerMetrics(scope, deps);
  });
  registerPages(app, deps);
  app.get("/", { schema: { hide: true } }, (request, reply) => {
    void reply.header("vary", "accept");
    if (wantsPage(request)) return reply.redirect(dashboardPath, 302);
    return reply.type("text/html; charset=utf-8").send(landingPage);
  });
  app.get("/api/openapi.json", { schema: { hide: true } }, () => app.swagger());

  let tlsPort: number | undefined;
  const tls =
    deps.tls &&
    (await createTlsListener(
      deps.tls,
      clock,
      limited((request, response) => app.routing(request, response)),
      (error) => log.error({ err: error }, "the HTTPS port"),
      (address, alert) => deps.sightings?.brokenHandshake("https", address, alert),
    ));
  if (tls)
    limitConnections(tls.server, {
      total: deps.connections?.https ?? maximumConnections,
      perAddress: connectionsPerAddress,
    });

  return {
    app,
    /** @returns the port of HTTP */
    async start(): Promise<number> {
      try {
        await app.listen({ port: deps.port, host: "0.0.0.0", backlog });
      } catch (error) {
        throw listenError(error, deps.port, "http.port");
      }
      try {
        tlsPort = await tls?.listen(backlog);
      } catch (error) {
        throw listenError(error, deps.tls?.port ?? 0, "https.port");
      }
      await control.listen(deps.controlSocket);
      return (app.server.address() as AddressInfo).port;
    },
    /** Of HTTPS, once started; undefined: there is none. */
    get tlsPort(): number | undefined {
      return tlsPort;
    },
    async stop(): Promise<void> {
      // Downloads under way may finish, but not hold the end up for ever.
      const cut = clock.after(5000, () => {
        app.server.closeAllConnections();
        tls?.cut();
        control.cut();
      });
      await Promise.all([app.close(), tls?.close(), control.close()]);
      cut();
    },
  };
}

/**
 * A body that comes too slowly ends its connection, also where the request was answered without it; else each slow one would hold a
 * connection for ever.
 */
export function limitBodies(app: FastifyInstance, clock: Pick<Clock, "after">, limits: BodyLimits): void {
  app.decorateRequest("allowSlowBody", () => {});
  app.addHook("onRequest", (request, _reply, done) => {
    const { raw } = request;
    const hasBody =
      raw.headers["transfer-encoding"] !== undefined || Number(raw.headers["content-length"] ?? 0) > 0;
    if (hasBody && !raw.complete) {
      const { socket } = raw;
      const cancel = clock.after(limits.bodyMs, () => {
        if (!raw.complete) socket.destroy();
      });
      raw.once("end", cancel);
      socket.once("close", cancel);
      raw.once("end", () => socket.off("close", cancel));
      request.allowSlowBody = () => {
        cancel();
        socket.setTimeout(limits.uploadSilenceMs);
        // To write a large body to the disk may take longer than that.
        raw.once("end", () => socket.setTimeout(0));
      };
    }
    done();
  });
}

/** As `hostname` prints it; undefined where it can't be read. */
async function ownHostname(): Promise<string | undefined> {
  const text = await readFile("/proc/sys/kernel/hostname", "utf8").catch(() => "");
  return text.trim() || undefined;
}

/** Form fields as busybox wget and cloud-init's phone_home send them, and logs as plain text. */
function acceptForms(app: FastifyInstance): void {
  app.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string" },
    (_request, body, done) => {
      done(null, Object.fromEntries(new URLSearchParams(body as string)));
    },
  );
}

function registerHealth(app: FastifyInstance, ready: () => Promise<void>): void {
  app.get("/healthz", { schema: { summary: "The process is up", tags: ["health"] } }, () => ({
    status: "up",
  }));
  app.get(
    "/readyz",
    { schema: { summary: "Every listener is bound and the store can be written", tags: ["health"] } },
    async () => {
      await ready();
      return { status: "ready" };
    },
  );
}

/** The same routes on a Unix socket (mode 0600): no secret has to lie on the disk for the local command. */
class ControlSocket {
  readonly #server: Server;
  readonly #sockets = new WeakSet<object>();
  #path: string | undefined;

  constructor(app: FastifyInstance) {
    this.#server = createServer((request, response) => app.routing(request, response));
    this.#server.on("connection", (socket) => this.#sockets.add(socket));
  }

  owns(request: FastifyRequest): boolean {
    return this.#sockets.has(request.raw.socket);
  }

  async listen(path: string): Promise<void> {
    await rm(path, { force: true });
    const before = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => this.#server.once("error", reject).listen(path, resolve));
    } finally {
      process.umask(before);
    }
    this.#path = path;
  }

  cut(): void {
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    if (this.#path) await rm(this.#path, { force: true });
  }
}

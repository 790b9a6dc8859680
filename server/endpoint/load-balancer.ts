import { createServer, type Server, type Socket } from "node:net";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import { maximumConnections } from "../domain/connection-shares.ts";
import { PortInUse, PortNotPermitted } from "../domain/error-catalogue.ts";
import { createRateLimitedLog } from "../domain/rate-limited-log.ts";
import { type Backend, type BackendState, createBackendHealth, type Probe } from "./backend-health.ts";
import { connectTo, joinSockets } from "./join-sockets.ts";

export interface LoadBalancerOptions {
  /** Default: every address. */
  readonly address?: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Whether a backend would serve a new client: resolves, or rejects and says why not. Has a time limit of its own. */
  readonly probe: Probe;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1, so that many servers do not probe at the same moment. */
  readonly random: () => number;
  /** Time between two probes of a backend, default 2 s. */
  readonly probeEveryMs?: DurationMs;
  /** Connections at once, two descriptors each. */
  readonly maxConnections?: number;
  /** And of one client's address, default 512: a room behind a NAT is one. */
  readonly maxPerAddress?: number;
  /** Called when a backend becomes ready or stops being it. */
  readonly onChange?: (backend: BackendState) => void;
}

export interface LoadBalancerState {
  readonly address: string;
  readonly port: number;
  readonly connections: number;
  /** Connections closed since the start because no backend was ready, or none took them. */
  readonly turnedAway: number;
  readonly backends: readonly (BackendState & {
    readonly connections: number;
    /** Since it was added. */
    readonly total: number;
  })[];
}

/** For a backend to take a connection, ms; a machine that was switched off says nothing. */
const connectLimitMs = 2_000;
/** After one side said that it is done, the other has so long to be done too. */
const halfClosedMs = 60_000;
const logIntervalMs = 10_000;

interface Connection {
  readonly client: Socket;
  readonly backend: string;
  cut(): void;
}

export type LoadBalancer = ReturnType<typeof createLoadBalancer>;

/**
 * The cluster's endpoint: each TCP connection goes to the ready API server that has the fewest, and TLS is between the two ends, none of it
 * ours. A connection lasts as long as both ends want it to; that of a backend which is no longer ready is cut, so that its client comes anew.
 */
export function createLoadBalancer(options: LoadBalancerOptions) {
  const { clock, maxConnections = maximumConnections, maxPerAddress = 512 } = options;
  const log = options.log.child({ part: "endpoint" });
  const limited = createRateLimitedLog(log, clock, logIntervalMs);
  const connections = new Set<Connection>();
  const clients = new Set<Socket>();
  const perAddress = new Map<string, number>();
  const totals = new Map<string, number>();
  let turnedAway = 0;
  let turn = 0;
  let server: Server | undefined;
  let onEmpty: (() => void) | undefined;

  const health = createBackendHealth({
    ...options,
    onChange(backend) {
      const { address, port, state, reason } = backend;
      const fields = { backend: `${address}:${port}`, state, ...(reason === undefined ? {} : { reason }) };
      if (state === "ready") log.info(fields, "an API server takes connections");
      else {
        log.warn(fields, "an API server takes no connections any more");
        cutThoseOf(backend.id);
      }
      options.onChange?.(backend);
    },
  });

  const countOf = (id: string) => {
    let count = 0;
    for (const connection of connections) if (connection.backend === id) count++;
    return count;
  };
  const cutThoseOf = (id: string) => {
    for (const connection of connections) if (connection.backend === id) connection.cut();
  };

  /** Ready backends, that with the fewest connections first; among equals each in its turn. */
  function inOrder(): BackendState[] {
    const ready = health.states().filter(({ state }) => state === "ready");
    const first = ready.length === 0 ? 0 : turn++ % ready.length;
    return [...ready.slice(first), ...ready.slice(0, first)]
      .map((backend) => ({ backend, count: countOf(backend.id) }))
      .sort((left, right) => left.count - right.count)
      .map(({ backend }) => backend);
  }

  async function accept(client: Socket): Promise<void> {
    const from = client.remoteAddress ?? "";
    const held = perAddress.get(from) ?? 0;
    if (held >= maxPerAddress || clients.size >= maxConnections) {
      limited.warn({ from, held }, "a connection to the endpoint is refused: there are too many");
      client.destroy();
      return;
    }
    perAddress.set(from, held + 1);
    clients.add(client);
    client.on("error", () => {});
    client.once("close", () => {
      clients.delete(client);
      const left = (perAddress.get(from) ?? 1) - 1;
      if (left > 0) perAddress.set(from, left);
      else perAddress.delete(from);
      if (clients.size === 0) onEmpty?.();
    });
    for (const backend of inOrder()) {
      // Counted while it is being made, so that many at once are spread.
      const connection: Connection = { client, backend: backend.id, cut() {} };
      connections.add(connection);
      const upstream = await connectTo(backend, { clock, limitMs: connectLimitMs, client });
      connections.delete(connection);
      if (client.destroyed) {
        upstream?.destroy();
        return;
      }
      // It may have stopped being ready meanwhile.
      if (upstream && health.isReady(backend.id)) return carry(client, upstream, backend.id);
      upstream?.destroy();
      health.look(backend.id);
    }
    turnedAway++;
    client.destroy();
    limited.warn({ from }, "a connection to the endpoint is closed: no API server takes it");
  }

  function carry(client: Socket, upstream: Socket, backend: string): void {
    const connection: Connection = {
      client,
      backend,
      cut() {
        client.resetAndDestroy();
        upstream.resetAndDestroy();
      },
    };
    connections.add(connection);
    totals.set(backend, (totals.get(backend) ?? 0) + 1);
    joinSockets(client, upstream, { clock, halfClosedMs, onEnd: () => connections.delete(connection) });
  }

  return {
    /** @throws PortInUse, PortNotPermitted */
    async start(): Promise<void> {
      const { address, port } = options;
      const listening = createServer(
        { allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
        (client) => void accept(client),
      );
      server = listening;
      await new Promise<void>((resolve, reject) => {
        listening.once("error", (error: NodeJS.ErrnoException) => {
          const where = { protocol: "tcp", port, address, key: "cluster.endpoint" } as const;
          if (error.code === "EADDRINUSE") reject(PortInUse(where));
          else reject(error.code === "EACCES" ? PortNotPermitted(where) : error);
        });
        listening.listen({ port, ...(address === undefined ? {} : { host: address }) }, () => resolve());
      });
      // Out of file descriptors, say: what is there goes on.
      listening.on("error", (error) => limited.warn({ error: error.message }, "the endpoint's port failed"));
      health.start();
    },

    /** The masters that there are. Connections to one that is no more among them are cut. */
    setBackends(backends: readonly Backend[]): void {
      for (const id of health.set(backends)) {
        cutThoseOf(id);
        totals.delete(id);
      }
    },

    state(): LoadBalancerState {
      const at = server?.address();
      const bound = typeof at === "object" && at !== null ? at : undefined;
      return {
        address: bound?.address ?? options.address ?? "",
        port: bound?.port ?? options.port,
        connections: clients.size,
        turnedAway,
        backends: health.states().map((backend) => ({
          ...backend,
          connections: countOf(backend.id),
          total: totals.get(backend.id) ?? 0,
        })),
      };
    },

    /** Takes no more connections; those that there are may end by themselves for `drainMs`, then they are cut. */
    async stop({ drainMs = 0 }: { readonly drainMs?: DurationMs } = {}): Promise<void> {
      health.stop();
      const closed = new Promise<void>((resolve) => {
        if (server?.listening) server.close(() => resolve());
        else resolve();
      });
      if (clients.size > 0 && drainMs > 0)
        await new Promise<void>((resolve) => {
          const cancel = clock.after(drainMs, resolve);
          onEmpty = () => {
            cancel();
            resolve();
          };
        });
      for (const connection of connections) connection.cut();
      for (const client of clients) client.destroy();
      await closed;
    },
  };
}

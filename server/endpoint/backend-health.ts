import type { Clock, DurationMs, EpochMs } from "../domain/capabilities.ts";

/** An API server. */
export interface Backend {
  readonly address: string;
  readonly port: number;
}

export interface BackendState extends Backend {
  /** `10.0.0.11:6443` */
  readonly id: string;
  readonly state: "unknown" | "ready" | "unready";
  readonly since: EpochMs;
  /** Why it is not ready. */
  readonly reason: string | undefined;
}

/**
 * Resolves with "ready", or with "slow" for one that said nothing in time. @throws for one that is not, with the reason as its
 * message
 */
export type Probe = (backend: Backend) => Promise<"ready" | "slow">;

export interface BackendHealthOptions {
  readonly probe: Probe;
  readonly clock: Clock;
  readonly random: () => number;
  readonly probeEveryMs?: DurationMs;
  /** Not called for a backend that was never ready. */
  readonly onChange?: (backend: BackendState) => void;
}

const defaultProbeEveryMs = 2_000;
/** Failures in a row that make a ready backend unready: one is a busy moment, and to cut its connections costs every client a new start. */
const fall = 2;
/**
 * The same for silence of the last one that is ready: it may have too much to do, and a room that connects anew gives it more. One that was
 * switched off ends its connections by itself.
 */
const lastFall = 15;

export const idOf = ({ address, port }: Backend): string => `${address}:${port}`;

interface Watched {
  state: BackendState;
  failures: number;
  isProbing: boolean;
  cancel: () => void;
}

/** Probes each backend now and then, one probe at a time. */
export function createBackendHealth(options: BackendHealthOptions) {
  const { probe, clock, random, probeEveryMs = defaultProbeEveryMs } = options;
  const watched = new Map<string, Watched>();
  let isRunning = false;

  const isWatched = (one: Watched) => isRunning && watched.get(one.state.id) === one;

  function become(one: Watched, state: BackendState["state"], reason?: string): void {
    const before = one.state.state;
    const isNew = before !== state;
    one.state = { ...one.state, state, reason, since: isNew ? clock.now() : one.state.since };
    if (isNew && (state === "ready" || before === "ready")) options.onChange?.(one.state);
  }

  const isLast = (one: Watched) =>
    ![...watched.values()].some((other) => other !== one && other.state.state === "ready");

  async function look(one: Watched): Promise<void> {
    if (one.isProbing) return;
    one.isProbing = true;
    one.cancel();
    let reason: string | undefined;
    let isSlow = false;
    try {
      isSlow = (await probe(one.state)) === "slow";
      if (isSlow) reason = "it says nothing in time";
    } catch (error) {
      reason = error instanceof Error ? error.message : "it does not answer";
    }
    one.isProbing = false;
    if (!isWatched(one)) return;
    one.failures = reason === undefined ? 0 : one.failures + 1;
    if (reason === undefined) become(one, "ready");
    else if (one.state.state !== "ready" || one.failures >= (isSlow && isLast(one) ? lastFall : fall))
      become(one, "unready", reason);
    one.cancel = clock.after(probeEveryMs * (0.9 + 0.2 * random()), () => void look(one));
  }

  return {
    start(): void {
      isRunning = true;
      for (const one of watched.values()) void look(one);
    },
    stop(): void {
      isRunning = false;
      for (const one of watched.values()) one.cancel();
    },
    /** @returns ids of those that are no more among them */
    set(backends: readonly Backend[]): string[] {
      const wanted = new Map(backends.map((backend) => [idOf(backend), backend]));
      const gone = [...watched.keys()].filter((id) => !wanted.has(id));
      for (const id of gone) {
        watched.get(id)?.cancel();
        watched.delete(id);
      }
      for (const [id, { address, port }] of wanted) {
        if (watched.has(id)) continue;
        const state = {
          address,
          port,
          id,
          state: "unknown",
          since: clock.now(),
          reason: undefined,
        } as const;
        const one: Watched = { state, failures: 0, isProbing: false, cancel: () => {} };
        watched.set(id, one);
        if (isRunning) void look(one);
      }
      return gone;
    },
    /** Probes one now, because somebody could not connect to it. */
    look(id: string): void {
      const one = watched.get(id);
      if (one && isRunning) void look(one);
    },
    isReady: (id: string): boolean => watched.get(id)?.state.state === "ready",
    states: (): BackendState[] => [...watched.values()].map(({ state }) => state),
  };
}

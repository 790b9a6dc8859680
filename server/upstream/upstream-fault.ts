import { OciError } from "../registry/oci-error.ts";
import { OutOfReach } from "./reach.ts";
import type { Upstream } from "./upstream.ts";

/** The upstream can't tell now, or says nonsense: what was kept of it holds on. */
export class UpstreamFault extends OciError {
  /** To ask once more is no use. */
  readonly isFinal: boolean;

  constructor(
    upstream: Upstream,
    problem: string,
    {
      status = 502,
      retryAfterSeconds,
      isFinal = false,
    }: {
      readonly status?: 429 | 502 | 504;
      readonly retryAfterSeconds?: number | undefined;
      readonly isFinal?: boolean;
    } = {},
  ) {
    super(
      status === 429 ? "TOOMANYREQUESTS" : "UNAVAILABLE",
      `the upstream registry ${upstream.url} ${problem}; this server has nothing of it that it could give instead`,
      {
        status,
        headers: retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) },
      },
    );
    this.problem = problem;
    this.upstream = upstream;
    this.isFinal = isFinal;
  }

  readonly problem: string;
  readonly upstream: Pick<Upstream, "url">;
}

/** What a fault of the network or of undici means to who asks. */
export function faultOf(upstream: Upstream, error: unknown): OciError {
  if (error instanceof OciError) return error;
  if (error instanceof OutOfReach) return new UpstreamFault(upstream, error.message, { isFinal: true });
  const { code, message } = error as NodeJS.ErrnoException;
  const isTimeout = code?.endsWith("TIMEOUT") === true || code === "ETIMEDOUT";
  return new UpstreamFault(
    upstream,
    isTimeout ? `does not answer in time (${code})` : `can't be reached (${code ?? message})`,
    { status: isTimeout ? 504 : 502 },
  );
}

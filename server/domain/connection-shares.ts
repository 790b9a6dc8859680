/** How many connections each listener may have at once. */
export interface ConnectionShares {
  readonly http: number;
  /** 0 where there is no such listener. */
  readonly https: number;
  readonly endpoint: number;
  /** Of each of its two, and of the lookaside. */
  readonly registry: number;
}

/** Some kB of memory each; far more than the machines that boot at once. */
export const maximumConnections = 8192;

/** The client's, and that of the content that it loads or of the API server that it is passed to. */
const descriptorsEach = 2;

/**
 * Divides what this process may open between its listeners, so that all of them together leave enough for the database, DHCP, TFTP's
 * transfers, etcd and the rest. Machines boot over HTTP, so that gets half of it; what one does not need goes to those behind it.
 * @param openFiles RLIMIT_NOFILE; Infinity: no limit
 */
export function shareConnections(
  openFiles: number,
  has: { readonly https: boolean; readonly endpoint: boolean; readonly registry: boolean },
): ConnectionShares {
  const reserve = Math.min(4096, Math.max(openFiles / 4, Math.min(256, openFiles / 2)));
  const registryParts = has.registry ? 2 : 0;
  let left = Math.floor((openFiles - reserve) / descriptorsEach);
  let partsLeft = 2 + Number(has.https) + Number(has.endpoint) + registryParts;
  const take = (parts: number) => {
    if (parts === 0) return 0;
    const share = Math.max(1, Math.min(maximumConnections, Math.floor((left * parts) / partsLeft)));
    left -= share;
    partsLeft -= parts;
    return share;
  };
  const http = take(2);
  const https = take(Number(has.https));
  const endpoint = take(Number(has.endpoint));
  return { http, https, endpoint, registry: Math.floor(take(registryParts) / 3) };
}

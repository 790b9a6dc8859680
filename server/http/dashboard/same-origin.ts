/** What of a request tells which site's page asked. */
export interface AskingPage {
  readonly method: string;
  /** RFC 6454 s.7: of the page; browsers send it with everything but plain GETs of the same site. */
  readonly origin: string | undefined;
  /** The name that the browser asked us by, which the host check has let through. */
  readonly host: string | undefined;
  readonly isEncrypted: boolean;
  /** No page of another site can send this header without asking first (CORS), and nobody is allowed. */
  readonly requestedBy: string | undefined;
}

/** The header's value: `X-Rollcall-Request: dashboard`. */
export const requestedByDashboard = "dashboard";

/**
 * May this request use the cookie that came with it? Cookies come along by themselves, also where another site's page asks, or another
 * server's on this host: SameSite knows no ports. What only reads is of no use to such a page, which can't see the answer.
 */
export function mayUseCookie(page: AskingPage): boolean {
  const { method, origin, requestedBy } = page;
  const isReading = method === "GET" || method === "HEAD";
  if (origin === undefined) return isReading;
  return isOwnOrigin(page) && (isReading || requestedBy === requestedByDashboard);
}

/** Is the page ours? Behind a proxy that ends TLS it is one of https where the request is not. */
export function isOwnOrigin({ origin, host, isEncrypted }: AskingPage): boolean {
  if (origin === undefined || host === undefined) return false;
  const own = isEncrypted ? ["https:"] : ["https:", "http:"];
  return own.some((scheme) => isSame(origin, `${scheme}//${host}`));
}

function isSame(origin: string, address: string): boolean {
  if (!URL.canParse(origin) || !URL.canParse(address)) return false;
  // Lower case, and without the port that the scheme has anyway.
  return new URL(origin).origin === new URL(address).origin && new URL(address).origin !== "null";
}

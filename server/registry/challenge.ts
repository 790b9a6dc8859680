/** What a registry wants to see (RFC 9110 s.11.6.1; Bearer as the distribution project's "token" document has it). */
export type Challenge =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: URL; readonly service: string | undefined };

/** A word, and what may follow it: `=` and a value, then a comma. RFC 9110 s.11.2, s.5.6.4 (quoted strings). */
const part = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/y;

/** More of a header is not looked at, characters. */
const longestHeader = 4096;

/** @param whole WWW-Authenticate, several joined by commas @returns Bearer before Basic; undefined for what nobody here can answer */
export function parseChallenge(whole: string): Challenge | undefined {
  const header = whole.slice(0, longestHeader);
  const schemes: { readonly name: string; readonly values: Map<string, string> }[] = [];
  for (let at = 0; at < header.length;) {
    part.lastIndex = at;
    const [text, name = "", quoted, plain] = part.exec(header) ?? [];
    at += Math.max(1, text?.length ?? 0);
    if (text === undefined) continue;
    const value = quoted?.replaceAll(/\\(.)/g, "$1") ?? plain;
    // A word without a value is the next challenge.
    if (value === undefined) schemes.push({ name: name.toLowerCase(), values: new Map() });
    else schemes.at(-1)?.values.set(name.toLowerCase(), value);
  }
  for (const { name, values } of schemes) {
    const realm = name === "bearer" ? URL.parse(values.get("realm") ?? "") : null;
    if (realm?.protocol === "http:" || realm?.protocol === "https:")
      return { scheme: "bearer", realm, service: values.get("service") };
  }
  return schemes.some(({ name }) => name === "basic") ? { scheme: "basic" } : undefined;
}

/** Where a token is got. @param scope `repository:<name>:pull`; undefined: none */
export function tokenAddress(
  { realm, service }: Extract<Challenge, { scheme: "bearer" }>,
  scope: string | undefined,
): URL {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  if (scope !== undefined) url.searchParams.set("scope", scope);
  return url;
}

/** Reads a token server's answer. @returns undefined when there is no token in it that a header could have */
export function parseToken(
  octets: Buffer,
): { readonly token: string; readonly lifeS: number | undefined } | undefined {
  try {
    const answer = JSON.parse(octets.toString()) as Record<string, unknown> | null;
    const token = answer?.["token"] ?? answer?.["access_token"];
    const lifeS = answer?.["expires_in"];
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) return undefined;
    return { token, lifeS: typeof lifeS === "number" && lifeS > 0 ? lifeS : undefined };
  } catch {
    return undefined;
  }
}

/** RFC 7617. */
export const basicLogin = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

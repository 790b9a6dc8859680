/** What a registry wants to see (RFC 9110 s.11.6.1; Bearer as the distribution project's "token" document has it). */
export type Challenge =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: string; readonly service: string | undefined };

/** @param header WWW-Authenticate @returns Bearer before Basic; undefined for anything else */
export function parseChallenge(header: string): Challenge | undefined {
  const bearer = /(?:^|,)\s*bearer\s+(.*)/i.exec(header)?.[1];
  if (bearer !== undefined) {
    const realm = parameter(bearer, "realm");
    if (realm !== undefined) return { scheme: "bearer", realm, service: parameter(bearer, "service") };
  }
  return /(?:^|,)\s*basic(?:\s|$)/i.test(header) ? { scheme: "basic" } : undefined;
}

function parameter(text: string, name: string): string | undefined {
  const [, quoted, plain] = new RegExp(`(?:^|[\\s,])${name}=(?:"([^"]*)"|([^\\s,"]+))`, "i").exec(text) ?? [];
  return quoted ?? plain;
}

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

export type Challenge =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: string; readonly service: string | undefined };

/** What a registry asks for with 401 (RFC 9110 s.11.6.1; distribution's token authentication). @returns undefined: nothing that we know */
export function readChallenge(header: string): Challenge | undefined {
  const bearer = /\bBearer\s+(.*)/i.exec(header)?.[1];
  if (bearer !== undefined) {
    const fields = new Map(
      [...bearer.matchAll(/([a-z_]+)="([^"]*)"/gi)].map(([, key = "", value = ""]) => [
        key.toLowerCase(),
        value,
      ]),
    );
    const realm = fields.get("realm");
    if (realm !== undefined && URL.canParse(realm))
      return { scheme: "bearer", realm, service: fields.get("service") };
  }
  return /\bBasic\b/i.test(header) ? { scheme: "basic" } : undefined;
}

export const basicHeader = ({ user, password }: Credentials): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

/** Where `podman login`, `skopeo login` and `docker login` keep what they were told (containers-auth.json(5)). */
function authFiles(environment: NodeJS.ProcessEnv): string[] {
  const { REGISTRY_AUTH_FILE: named, XDG_RUNTIME_DIR: runtime, HOME: home = homedir() } = environment;
  if (named !== undefined) return [named];
  return [
    ...(runtime === undefined ? [] : [join(runtime, "containers/auth.json")]),
    join(home, ".config/containers/auth.json"),
    join(home, ".docker/config.json"),
  ];
}

/** Credentials for this host of whoever logged in before. @param host with its port, as in `registry.local:5000` */
export function storedCredentials(host: string, environment: NodeJS.ProcessEnv): Credentials | undefined {
  for (const file of authFiles(environment).filter((path) => existsSync(path))) {
    try {
      const { auths } = JSON.parse(readFileSync(file, "utf8")) as {
        auths?: Record<string, { auth?: string }>;
      };
      const text = Buffer.from(auths?.[host]?.auth ?? "", "base64").toString("utf8");
      const colon = text.indexOf(":");
      if (colon > 0) return { user: text.slice(0, colon), password: text.slice(colon + 1) };
    } catch {
      // Another program's file that can't be read is as good as none: the registry will ask.
    }
  }
  return undefined;
}

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** A credential with the time until which it counts, epoch ms. */
export interface ShortCredentials extends Credentials {
  readonly until: number;
}

/**
 * Credentials that are asked for anew before they end, or when they are refused (a server that starts again knows none of before);
 * requests that come meanwhile wait for the same ones.
 */
export function renewed(
  ask: () => Promise<ShortCredentials>,
  { now, spareMs }: { readonly now: () => number; readonly spareMs: number },
): (wasRefused?: boolean) => Promise<Credentials> {
  let known: Promise<ShortCredentials> | undefined;
  return async (wasRefused = false) => {
    if (wasRefused) known = undefined;
    const asked = (known ??= ask());
    try {
      const found = await asked;
      if (now() < found.until - spareMs) return found;
    } catch (error) {
      if (known === asked) known = undefined;
      throw error;
    }
    if (known === asked) known = undefined;
    return (known ??= ask());
  };
}

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

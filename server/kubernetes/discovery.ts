import type { KubernetesClient } from "./client.ts";
import { unlessMissing } from "./client.ts";
import { apiPath, type Resource } from "./objects.ts";

/** Kinds of one group and version that are looked at. */
const mostKinds = 1000;

/**
 * What kinds the API server has, and where: asked once for each group and version, for as long as this value lives. Make it anew for each
 * round of work, since definitions come and go.
 */
export function createDiscovery(client: Pick<KubernetesClient, "read">) {
  const known = new Map<string, Promise<ReadonlyMap<string, Resource>>>();

  return {
    /**
     * @param apiVersion a well-formed one; undefined is told of a kind that is not there or can't be patched
     * @throws as the client
     */
    async find(apiVersion: string, kind: string): Promise<Resource | undefined> {
      let asked = known.get(apiVersion);
      if (!asked) {
        asked = client
          .read(apiPath(apiVersion))
          .catch(unlessMissing)
          .then((answer) => readResources(apiVersion, answer));
        known.set(apiVersion, asked);
        asked.catch(() => known.delete(apiVersion));
      }
      return (await asked).get(kind);
    },
  };
}

/** An APIResourceList (meta/v1) as kinds; subresources and what can't be applied are left out. Pure. */
export function readResources(apiVersion: string, answer: unknown): ReadonlyMap<string, Resource> {
  const { resources } = (answer ?? {}) as { resources?: unknown };
  const kinds = new Map<string, Resource>();
  for (const one of (Array.isArray(resources) ? resources : []) as Readonly<Record<string, unknown>>[]) {
    const { name, kind, namespaced, verbs } = one ?? {};
    if (kinds.size === mostKinds) break;
    if (typeof kind !== "string" || typeof name !== "string" || !/^[a-z0-9-]{1,63}$/.test(name)) continue;
    if (!Array.isArray(verbs) || !verbs.includes("patch")) continue;
    kinds.set(kind, { apiVersion, plural: name, isNamespaced: namespaced === true });
  }
  return kinds;
}

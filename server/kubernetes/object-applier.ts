import { KubernetesKindUnknown, KubernetesObjectMissing } from "../domain/error-catalogue.ts";
import type { KubernetesClient, Manifest } from "./client.ts";
import { createDiscovery } from "./discovery.ts";
import { pathIn } from "./objects.ts";

/** Where an object goes that names no namespace and is to be in one, as kubectl has it. */
const usualNamespace = "default";

/** Fields of the server's own objects are another's: a declared Namespace takes no label of it away. */
const manager = "rollcall-declared";

/**
 * Applies objects of any kind that the API server has.
 * @returns for one round of work, in which each group and version is asked for once
 */
export function createObjectApplier(client: Pick<KubernetesClient, "applyAt" | "read">) {
  return () => {
    const discovery = createDiscovery(client);

    /** @throws KubernetesKindUnknown, KubernetesObjectMissing for its namespace, and as the client */
    return async (object: Manifest): Promise<void> => {
      const { apiVersion, kind, metadata } = object;
      const resource = await discovery.find(apiVersion, kind);
      if (!resource) throw KubernetesKindUnknown({ kind, apiVersion });
      const { name } = metadata;
      if (!resource.isNamespaced) {
        await client.applyAt(pathIn(resource, { name }), object, manager);
        return;
      }
      const { namespace = usualNamespace } = metadata;
      const placed = { ...object, metadata: { ...metadata, namespace } };
      await client.applyAt(pathIn(resource, { name, namespace }), placed, manager).catch((error: unknown) => {
        // Apply makes what is not there, so it is what the object would be in.
        throw KubernetesObjectMissing.is(error)
          ? KubernetesObjectMissing({ what: `namespace ${namespace}` })
          : error;
      });
    };
  };
}

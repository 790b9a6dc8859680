/** Signatures of images, put together: who may sign, what is signed, and the listener that nodes ask. */
import type { Config } from "./config/schema.ts";
import type { ContentStore } from "./content/content-store.ts";
import type { Clock, Log } from "./domain/capabilities.ts";
import type { RecordEvent } from "./domain/event.ts";
import { createLookasideServer } from "./http/v2/lookaside-server.ts";
import { createSignatureRoutes } from "./http/v2/signature-routes.ts";
import { createAttachments } from "./signatures/attachments.ts";
import { createKeyFiles } from "./signatures/key-files.ts";
import { createSignatures } from "./signatures/signatures.ts";
import { createSigners } from "./signatures/signers.ts";
import type { Store } from "./store/open-store.ts";
import type { UpstreamSignatures } from "./upstream/upstream-signatures.ts";

export interface KeptSignaturesDeps {
  readonly config: Pick<Config, "registry" | "lookaside" | "services">;
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly content: Pick<ContentStore, "open">;
  readonly record: RecordEvent;
  readonly store: Pick<Store, "signers" | "signatures" | "registry">;
}

/** Who brought the signatures that are found at the start; no token has such a name. */
const startActor = "(start)";

export function keepSignatures({ config, clock, log, content, record, store }: KeptSignaturesDeps) {
  const names = { host: config.registry.host, aliases: config.registry.aliases };
  const examine = (by: string): void =>
    void attachments
      .examineAll(by)
      .catch((error: unknown) => log.error({ err: error }, "failed to look at signatures anew"));
  const signers = createSigners({
    clock,
    record,
    signers: store.signers,
    names,
    onAdded: examine,
  });
  const signatures = createSignatures({
    clock,
    record,
    store: store.signatures,
    signers,
    names,
    manifests: store.registry,
  });
  const attachments = createAttachments({
    clock,
    record,
    store: store.signatures,
    registry: store.registry,
    async read(sha256) {
      const file = await content.open(sha256);
      return file?.readFile().finally(() => void file.close());
    },
    signers,
    signatures,
  });
  return {
    names,
    signers,
    signatures,
    attachments,
    /** What an older version judged by other rules, and what came in the moment in which the last server ended. */
    start: () => examine(startActor),
    /** For the registry's router. */
    routes: createSignatureRoutes(signatures),
    /** sigstore.local. */
    lookaside: (maxConnections: number | undefined, upstreams: UpstreamSignatures) =>
      createLookasideServer({
        maxConnections,
        upstreams,
        clock,
        signatures,
        keys: createKeyFiles(signers.trust, clock.now()),
        host: config.services.address ?? "0.0.0.0",
        port: config.lookaside.port,
      }),
  };
}
export type KeptSignatures = ReturnType<typeof keepSignatures>;

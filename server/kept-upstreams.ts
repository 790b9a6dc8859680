/** The cache of other registries, put together. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "./config/schema.ts";
import type { ContentStore } from "./content/content-store.ts";
import type { Clock, Ids, Log } from "./domain/capabilities.ts";
import { ownAddresses } from "./platform/network-devices.ts";
import { hexOf } from "./registry/digest.ts";
import type { Pins } from "./registry/pins.ts";
import type { Registry } from "./registry/registry.ts";
import type { RegistryRepository } from "./store/registry.ts";
import type { UpstreamRepository } from "./store/upstreams.ts";
import { createCachedContent } from "./upstream/cached-content.ts";
import { createPrewarm, type Prewarm } from "./upstream/prewarm.ts";
import { heldContent } from "./upstream/held-content.ts";
import { createPullThrough, type PullThrough, type PullThroughDeps } from "./upstream/pull-through.ts";
import { createUpstreamMap, type Place } from "./upstream/upstream.ts";
import { createUpstreamClient, type UpstreamClient } from "./upstream/upstream-client.ts";
import { createUpstreamSignatures, type UpstreamSignatures } from "./upstream/upstream-signatures.ts";
import { createUpstreamTags, type UpstreamTags } from "./upstream/upstream-tags.ts";

export interface KeptUpstreamsDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly content: ContentStore;
  readonly registry: Registry;
  readonly pins: Pick<Pins, "matcher">;
  readonly attachments: PullThroughDeps["attachments"];
  readonly store: { readonly registry: RegistryRepository; readonly upstreams: UpstreamRepository };
  /** Is this content needed as a boot asset? */
  readonly isAsset: (sha256: string) => boolean;
}

export interface KeptUpstreams {
  readonly pull: PullThrough;
  readonly tags: UpstreamTags;
  readonly signatures: UpstreamSignatures;
  readonly prewarm: Prewarm;
  stop(): Promise<void>;
}

export function keepUpstreams(deps: KeptUpstreamsDeps): KeptUpstreams {
  const { config, clock, registry, store } = deps;
  const upstreams = createUpstreamMap(config.registry.upstreams);
  const clients = new Map<string, UpstreamClient>(
    upstreams.all.map((upstream) => [
      upstream.prefix,
      createUpstreamClient(upstream, { clock, ownAddresses }),
    ]),
  );
  const clientOf = ({ upstream }: Place): UpstreamClient => clients.get(upstream.prefix) as UpstreamClient;
  const directory = join(config.dataDir, "blobs", "downloads");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // What the last server was fetching when it ended.
  for (const name of readdirSync(directory)) rmSync(join(directory, name));
  const cached = createCachedContent({
    ...deps,
    store: store.upstreams,
    maxBytes: config.registry.cacheBytes,
    isNeeded: (digest) => registry.isArriving(digest) || deps.isAsset(hexOf(digest)),
    held: () =>
      heldContent({ store: store.upstreams, namesOf: upstreams.namesOf, isPinned: deps.pins.matcher() }),
  });
  const pull = createPullThrough({ ...deps, upstreams, clientOf, cached, directory });
  const signatures = createUpstreamSignatures({ ...deps, upstreams, clientOf });
  return {
    pull,
    tags: createUpstreamTags({ clock, clientOf, store: store.registry }),
    signatures,
    prewarm: createPrewarm({
      ...deps,
      pull,
      signatures,
      hosts: [config.registry.host, ...config.registry.aliases],
    }),
    async stop() {
      await Promise.all([...clients.values()].map((client) => client.close()));
    },
  };
}

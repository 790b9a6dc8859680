/** The container registry, put together. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Sightings } from "./boot/sightings.ts";
import type { Config } from "./config/schema.ts";
import type { CollectorDeps } from "./content/asset-collector.ts";
import type { ContentStore } from "./content/content-store.ts";
import type { RegistryAddress } from "./domain/container-images.ts";
import type { ConnectionShares } from "./domain/connection-shares.ts";
import type { Clock, FileSender, Ids, Log } from "./domain/capabilities.ts";
import type { RecordEvent } from "./domain/event.ts";
import type { LoginFailures } from "./http/login-failures.ts";
import type { Access } from "./http/v2/access.ts";
import { createRegistryServer } from "./http/v2/registry-server.ts";
import { createRegistryMetrics, type RegistryMetrics } from "./metrics/registry-metrics.ts";
import type { Authority } from "./pki/certificates.ts";
import { openServiceAuthority } from "./pki/service-authority.ts";
import { createRegistryCheck, type RegistryCheck } from "./registry/check.ts";
import { createGarbageCollection, type GarbageCollection } from "./registry/garbage-collection.ts";
import { limitContent } from "./registry/quota.ts";
import { createImageRemoval, type ImageRemoval } from "./registry/image-removal.ts";
import { createImageGate } from "./registry/image-gate.ts";
import { createRegistry, type Registry } from "./registry/registry.ts";
import type { Pins } from "./registry/pins.ts";
import { createRepositoryQuotas } from "./registry/repository-quota.ts";
import { createUploads } from "./registry/uploads.ts";
import { keepAccess } from "./kept-access.ts";
import { type KeptPinsDeps, keepPins } from "./kept-pins.ts";
import { keepSignatures, type KeptSignatures, type KeptSignaturesDeps } from "./kept-signatures.ts";
import { type ClientSettings, serviceNames } from "./signatures/policy/client-files.ts";
import { serverCertificates } from "./server-certificate.ts";
import { type KeptUpstreams, keepUpstreams } from "./kept-upstreams.ts";
import type { RegistryRepository } from "./store/registry.ts";
import type { RegistryUpkeepRepository } from "./store/registry-upkeep.ts";
import type { TokenRepository } from "./store/tokens.ts";
import type { UpstreamRepository } from "./store/upstreams.ts";

export interface KeptRegistryDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly failures: LoginFailures;
  readonly connections?: ConnectionShares | undefined;
  readonly fileSender?: FileSender | undefined;
  /** What `boot doctor` is told of clients that break off. */
  readonly sightings: Pick<Sightings, "brokenHandshake">;
  readonly content: ContentStore;
  readonly store: KeptSignaturesDeps["store"] & {
    readonly registry: RegistryRepository;
    readonly registryUpkeep: RegistryUpkeepRepository;
    readonly tokens: TokenRepository;
    readonly upstreams: UpstreamRepository;
    readonly assignments: KeptPinsDeps["store"]["assignments"];
  };
  /** Is this content needed as a boot asset? */
  readonly isAsset: (sha256: string) => boolean;
  readonly roles: KeptPinsDeps["roles"];
  /** Signs this server's certificates; undefined: one of the registry's own. */
  readonly authority: Authority | undefined;
  readonly ownAddresses: readonly string[];
}

export interface KeptRegistry {
  readonly service: Registry;
  readonly upstreams: KeptUpstreams;
  readonly collection: GarbageCollection;
  readonly check: RegistryCheck;
  readonly pins: Pins;
  /** Who may do what; undefined: it is switched off. */
  readonly access: Access | undefined;
  /** What the API tells of it. */
  readonly api: Pick<KeptSignatures, "signers"> & {
    readonly metrics: RegistryMetrics;
    readonly containers: {
      address(): RegistryAddress | undefined;
      readonly store: RegistryRepository;
      readonly stateOf: KeptSignatures["signatures"]["stateOf"];
      readonly removal: ImageRemoval;
    };
  };
  /** Authority that the certificate of `registry.tlsPort` is of, PEM; undefined: the registry is switched off. */
  readonly authorityPem: string | undefined;
  /** Of plain HTTP and of TLS, once started; undefined: it is switched off. */
  readonly ports: {
    readonly registryPort: number | undefined;
    readonly registryTlsPort: number | undefined;
    readonly lookasidePort: number | undefined;
  };
  /** Opens its ports, one after the other. */
  readonly starts: readonly (() => Promise<void>)[];
  /** What nodes that boot now are told. */
  clientSettings(): ClientSettings;
  stop(): Promise<void>;
}

/** Without any grace a push must have the time to name what it brought. */
const shortestLeaseMs = 5 * 60_000;

export async function keepRegistry(given: KeptRegistryDeps): Promise<KeptRegistry> {
  const { config, store } = given;
  const metrics = createRegistryMetrics({
    sentOver: given.fileSender?.sentOver,
    clock: given.clock,
    stock: store.registryUpkeep.stock,
    uploads: () => ({ count: uploads.count(), bytes: uploads.sizeBytes() }),
  });
  const deps = { ...given, record: metrics.counting(given.record) };
  const signing = keepSignatures(deps);
  const directory = join(config.dataDir, "blobs", "sessions");
  const { graceSeconds, quotaBytes, scrubBytesPerSecond } = config.registry;
  const graceMs = graceSeconds * 1000;
  const content = limitContent({
    content: deps.content,
    keptBytes: store.registryUpkeep.pushedBytes,
    arrivingBytes: () => uploads.sizeBytes(),
    quotaBytes,
  });
  const quotas = createRepositoryQuotas({
    rules: config.registry.repositories,
    keptBytes: store.registry.repositoryBytes,
    arrivingBytes: (repository) => uploads.sizeBytes(repository),
  });
  const pins = keepPins(deps);
  const uploads = await createUploads({ ...deps, content, quotas, directory, store: store.registry });
  const registry = createRegistry({
    ...deps,
    content,
    uploads,
    quotas,
    pins,
    store: store.registry,
    leaseMs: Math.max(graceMs, shortestLeaseMs),
    attachments: signing.attachments,
    onDamage: (digest) => check.suspect(digest),
  });
  const upstreams = keepUpstreams({ ...deps, registry, pins, attachments: signing.attachments });
  const upkeep = {
    ...deps,
    pins: pins.digests,
    registry,
    store: store.registryUpkeep,
    graceMs,
    random: Math.random,
  };
  const collection = createGarbageCollection({
    ...upkeep,
    onRun(run) {
      metrics.collected(run);
      // Signatures go with their manifests.
      if (run.manifestCount > 0) signing.signatures.changed();
    },
  });
  const check = createRegistryCheck({ ...upkeep, scrubBytesPerSecond });
  const { names, signers, signatures } = signing;
  const removal = createImageRemoval({
    store: store.registry,
    upkeep: store.registryUpkeep,
    registry,
    collection,
    pins,
    hosts: [names.host, ...names.aliases],
    graceMs,
  });
  const api = (address: () => RegistryAddress | undefined): KeptRegistry["api"] => ({
    metrics,
    signers,
    containers: { address, store: store.registry, stateOf: signatures.stateOf, removal },
  });
  const off = { registryPort: undefined, registryTlsPort: undefined, lookasidePort: undefined };
  const settings = () => ({
    names,
    trust: signers.trust(),
    unsignedImages: config.cluster.unsignedImages,
    // Without a registry here, whatever is at that address, as podsec has it.
    port: config.registry.port || 80,
    lookasidePort: config.lookaside.port || 81,
    authorityPem: undefined,
  });
  if (!config.registry.enabled)
    return {
      clientSettings: settings,
      service: registry,
      upstreams,
      collection,
      check,
      pins,
      access: undefined,
      api: api(() => undefined),
      authorityPem: undefined,
      ports: off,
      starts: [],
      stop: async () => void (await Promise.all([upstreams.stop(), signing.attachments.stop()])),
    };

  const { clock, ownAddresses } = deps;
  const authority = deps.authority ?? (await openServiceAuthority(config.dataDir, clock.now()));
  // For whoever sets up clients: /etc/containers/certs.d/registry.local/ca.crt.
  writeFileSync(join(config.dataDir, "pki", "registry-ca.crt"), authority.certificatePem);
  const addresses = [config.services.address, config.address, ...ownAddresses].filter(
    (one) => one !== undefined,
  );
  const dnsNames = [...serviceNames({ names }, ["registry.local", "sigstore.local"]), ...config.http.names];
  const { keyAlgorithm } = config.cluster;
  const issue = serverCertificates(authority, { dnsNames, addresses }, { clock, keyAlgorithm });
  const { access, stop: stopLogins } = keepAccess(deps);
  const server = await createRegistryServer({
    ...deps,
    access,
    metrics,
    registry,
    upstreams,
    signatures: signing.routes,
    gate: createImageGate({
      clock,
      record: deps.record,
      rules: config.registry.repositories,
      namesOf: upstreams.pull.upstreams.namesOf,
      signatures,
    }),
    host: config.services.address ?? "0.0.0.0",
    port: config.registry.port,
    tlsPort: config.registry.tlsPort,
    credentials: async () => ({ ...(await issue()), authorityPem: undefined }),
    onBrokenHandshake: (address, alert) => deps.sightings.brokenHandshake("registry", address, alert),
    maxConnections: deps.connections?.registry,
  });
  const lookaside = signing.lookaside(deps.connections?.registry, upstreams.signatures);
  let lookasidePort: number | undefined;
  const address = (): RegistryAddress => {
    const literal = addresses[0] ?? "127.0.0.1";
    const { registryPort = config.registry.port, registryTlsPort = config.registry.tlsPort } = server.ports;
    return {
      url: originOf("http", literal, registryPort),
      tlsUrl: originOf("https", literal, registryTlsPort),
      host: config.registry.host,
      aliases: config.registry.aliases,
      authority: authority.certificatePem,
    };
  };
  return {
    service: registry,
    upstreams,
    collection,
    check,
    pins,
    access,
    api: api(address),
    authorityPem: authority.certificatePem,
    clientSettings: () => ({
      ...settings(),
      port: server.ports.registryTlsPort ?? config.registry.tlsPort,
      lookasidePort: lookasidePort ?? config.lookaside.port,
      authorityPem: authority.certificatePem,
    }),
    get ports() {
      return { ...server.ports, lookasidePort };
    },
    starts: [
      ...server.starts,
      async () => void (lookasidePort = await lookaside.start()),
      async () => {
        collection.start();
        check.start();
        signing.start();
      },
    ],
    async stop() {
      await Promise.all([server.stop(), lookaside.stop()]);
      await stopLogins();
      await upstreams.stop();
      await Promise.all([collection.stop(), check.stop(), signing.attachments.stop()]);
    },
  };
}

/** The content without what the registry keeps, which is no asset: it neither counts nor goes with them. */
export function withoutRegistry(
  content: CollectorDeps["content"],
  keeps: (digest: string) => boolean,
): CollectorDeps["content"] {
  const isKept = (sha256: string) => keeps(`sha256:${sha256}`);
  return {
    list: async () => (await content.list()).filter(({ sha256 }) => !isKept(sha256)),
    remove: (sha256, isWanted) => content.remove(sha256, () => (isWanted?.() ?? false) || isKept(sha256)),
  };
}

/** Without the port where it is the scheme's own. */
const originOf = (scheme: "http" | "https", address: string, port: number): string =>
  new URL(`${scheme}://${address}:${port}`).origin;

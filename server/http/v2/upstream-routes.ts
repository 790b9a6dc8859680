import { OciError } from "../../registry/oci-error.ts";
import type { Registry } from "../../registry/registry.ts";
import type { PreparedManifest, PullThrough } from "../../upstream/pull-through.ts";
import type { Place } from "../../upstream/upstream.ts";
import type { UpstreamSignatures } from "../../upstream/upstream-signatures.ts";
import type { UpstreamTags } from "../../upstream/upstream-tags.ts";
import { type BlobRouteDeps, getBlob, readDigest } from "./blob-routes.ts";
import { askerOf, type Exchange, isHead } from "./exchange.ts";
import { getTags, tagPage } from "./list-routes.ts";
import { admit, getManifest, type ManifestReadDeps, sendManifest } from "./manifest-routes.ts";
import type { SignatureRoutes } from "./signature-routes.ts";

export interface UpstreamRoutes {
  readonly pull: PullThrough;
  readonly tags: UpstreamTags;
  readonly signatures: UpstreamSignatures;
}

/** One more than the page, to know whether there are more. */
const pageAndOne = ({ after, limit }: { after: string | undefined; limit: number }) => ({
  after,
  limit: limit + 1,
});
type Answer = void | Promise<void>;

/** Repositories of upstreams: what is asked for is fetched first, if need be, and then answered as our own. */
export function createUpstreamRoutes(
  { pull, tags, signatures }: UpstreamRoutes,
  deps: ManifestReadDeps &
    BlobRouteDeps & {
      readonly registry: Registry;
      readonly signatures: Pick<SignatureRoutes, "getExtension">;
      readonly metrics: { cacheAsked(upstream: string, isHit: boolean): void };
    },
) {
  function manifest(exchange: Exchange, place: Place): Answer {
    const { reference } = exchange.target;
    const finish = ({ warning, passed }: PreparedManifest): Answer => {
      if (warning !== undefined) exchange.response.setHeader("warning", warning);
      if (!passed) return getManifest(exchange, deps);
      const admitted = admit(exchange, passed, deps);
      return sendManifest(exchange, passed, isHead(exchange) ? undefined : passed.octets, admitted);
    };
    const prepared = pull.prepareManifest(place, reference, askerOf(exchange));
    deps.metrics.cacheAsked(place.upstream.prefix, !(prepared instanceof Promise));
    return prepared instanceof Promise ? prepared.then(finish) : finish(prepared);
  }

  async function blob(exchange: Exchange, place: Place): Promise<void> {
    const { request, target } = exchange;
    const isPart = request.headers.range !== undefined;
    const digest = readDigest(target.reference);
    const asked = { isHead: isHead(exchange), isPart, asker: askerOf(exchange) };
    const arriving = await pull.findBlob(place, digest, asked);
    deps.metrics.cacheAsked(place.upstream.prefix, !arriving);
    if (!arriving) return getBlob(exchange, deps);
    // What is not kept is there once, from its beginning.
    if (!arriving.isSeekable) delete request.headers.range;
    const { sizeBytes } = arriving;
    const source = { findBlob: () => ({ digest: digest.text, sizeBytes }), openBlob: arriving.open };
    return getBlob(exchange, { ...deps, registry: source });
  }

  const list = (exchange: Exchange, place: Place): Promise<void> =>
    tags.tags(place, pageAndOne(tagPage(exchange)), askerOf(exchange)).then((names) => {
      getTags(exchange, { registry: { tags: () => names } });
    });

  /** Our own first: their places in the lookaside begin with 1 whatever the upstream has. */
  async function listSignatures(exchange: Exchange, { repository }: Place): Promise<void> {
    const { target } = exchange;
    const passedOn = await signatures.passedOn(repository, target.reference, askerOf(exchange));
    deps.signatures.getExtension({ ...exchange, repository, digest: target.reference }, passedOn);
  }

  return {
    /** `?ns=` names the registry beside the path. */
    repositoryOf: ({ target, query, response }: Exchange): string => {
      const namespace = query.get("ns");
      if (namespace === null || target.repository === "") return target.repository;
      const repository = pull.upstreams.fromNamespace(namespace, target.repository);
      if (repository !== target.repository) response.setHeader("oci-namespace", namespace);
      return repository;
    },

    /** @returns what answers for a repository of an upstream; undefined: it is one of our own */
    find(exchange: Exchange): ((exchange: Exchange) => Answer) | undefined {
      const { target, request } = exchange;
      const place = target.repository === "" ? undefined : pull.upstreams.find(target.repository);
      if (!place) return undefined;
      const isRead = request.method === "GET" || request.method === "HEAD";
      const isPush = request.method === "PUT" ? target.kind === "manifest" : target.kind === "uploads";
      if (isPush)
        throw new OciError(
          "DENIED",
          `repositories below ${place.upstream.prefix} are those of ${place.upstream.url}: push there, or to a repository of another name here`,
        );
      if (!isRead) return undefined;
      // Whoever pushes asks first what is here: the upstream, which may be gone, has no part in a push that is refused next.
      const isAskedToPush = target.kind === "blob" && request.method === "HEAD";
      if (isAskedToPush && deps.access.isPushing(exchange)) return (asked) => getBlob(asked, deps);
      if (target.kind === "manifest") return (exchange) => manifest(exchange, place);
      if (target.kind === "blob") return (exchange) => blob(exchange, place);
      if (target.kind === "tags") return (exchange) => list(exchange, place);
      if (target.kind === "signatures") return (exchange) => listSignatures(exchange, place);
      return undefined;
    },
  };
}

import { mediaTypes } from "../../registry/manifest.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Registry } from "../../registry/registry.ts";
import { readDigest } from "./blob-routes.ts";
import { type Exchange, sendJson } from "./exchange.ts";
import { isShown, type ManifestReadDeps } from "./manifest-routes.ts";

export interface ListRouteDeps {
  readonly registry: Registry;
}

/** Names of repositories in one answer, where the client does not say. */
const catalogPage = 1000;

/** `n` and `last`. @throws OciError when n is no number */
function readPage({ query }: Exchange, without: number): { after: string | undefined; limit: number } {
  const n = query.get("n");
  if (n !== null && !/^\d{1,9}$/.test(n)) throw new OciError("UNSUPPORTED", "n is a number", { status: 400 });
  return { after: query.get("last") ?? undefined, limit: n === null ? without : Number(n) };
}

/** One more than the page is asked for, to know whether there are more. @returns the page and its Link */
function cut(names: string[], limit: number, path: string) {
  const page = names.slice(0, limit);
  const last = page.at(-1);
  const hasMore = names.length > limit && last !== undefined;
  const link = `<${path}?n=${limit}&last=${encodeURIComponent(last ?? "")}>; rel="next"`;
  return { page, headers: hasMore ? { link } : {} };
}

export const tagPage = (exchange: Exchange) => readPage(exchange, Number.POSITIVE_INFINITY);

/** All tags at once unless `n` is given: podsec takes the last of them for the newest. spec.md, "Listing tags". */
export function getTags(
  exchange: Exchange,
  { registry }: { readonly registry: Pick<Registry, "tags"> },
): void {
  const { repository } = exchange.target;
  const { after, limit } = tagPage(exchange);
  const names = registry.tags(repository, { after, limit: limit + 1 });
  const { page, headers } = cut(names, limit, `/v2/${repository}/tags/list`);
  sendJson(exchange, JSON.stringify({ name: repository, tags: page }), headers);
}

/** Not in the specification; tools ask for it. */
export function getCatalog(exchange: Exchange, { registry }: ListRouteDeps): void {
  const { after, limit } = readPage(exchange, catalogPage);
  const names = registry.repositories({ after, limit: limit + 1 });
  const { page, headers } = cut(names, limit, "/v2/_catalog");
  sendJson(exchange, JSON.stringify({ repositories: page }), headers);
}

/** spec.md, "Listing referrers": never a 404. Of an image that is not shown there are none, and what is not shown itself is not among them. */
export function getReferrers(exchange: Exchange, deps: ManifestReadDeps): void {
  const { repository, reference } = exchange.target;
  const digest = readDigest(reference);
  const artifactType = exchange.query.get("artifactType") ?? undefined;
  const after = exchange.query.get("last") ?? "";
  const asked = { artifactType, after };
  const { body, last } = deps.registry.referrers(repository, digest, asked, (manifest) =>
    isShown(exchange, manifest, deps),
  );
  const next = new URLSearchParams({ ...(artifactType !== undefined && { artifactType }), last: last ?? "" });
  sendJson(exchange, body, {
    "content-type": mediaTypes.ociIndex,
    ...(artifactType !== undefined && { "oci-filters-applied": "artifactType" }),
    ...(last !== undefined && { link: `</v2/${repository}/referrers/${reference}?${next}>; rel="next"` }),
  });
}

import { isRepositoryName, isTag } from "../registry/repository-name.ts";
import { ArchiveError } from "./archive-error.ts";

/** What an image is called in a registry. */
export interface TaggedName {
  readonly repository: string;
  readonly tag: string;
}

export const textOfName = ({ repository, tag }: TaggedName): string => `${repository}:${tag}`;

/** The registry that stands in front of a name, if one does (as docker and podman tell it from a word of the name). */
function withoutHost(text: string): { readonly host: string | undefined; readonly rest: string } {
  const [first = "", ...rest] = text.split("/");
  const hasHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return hasHost ? { host: first, rest: rest.join("/") } : { host: undefined, rest: text };
}

/**
 * `p10/pause:3.9`, also with the registry in front that it came from, which is left out: `registry.altlinux.org/p10/pause:3.9`.
 * @param defaultTag for a name without one; undefined: then it is none
 */
export function readName(text: string, defaultTag?: string): TaggedName | undefined {
  const name = withoutHost(text).rest;
  const colon = name.lastIndexOf(":");
  const repository = colon < 0 ? name : name.slice(0, colon);
  const tag = colon < 0 ? defaultTag : name.slice(colon + 1);
  return tag !== undefined && isRepositoryName(repository) && isTag(tag) ? { repository, tag } : undefined;
}

/** @throws ArchiveError ARCHIVE_NAME_INVALID */
export function requireName(text: string, defaultTag?: string): TaggedName {
  const name = readName(text, defaultTag);
  if (name) return name;
  throw new ArchiveError(
    "ARCHIVE_NAME_INVALID",
    `${JSON.stringify(text.slice(0, 300))} is no name of an image`,
    "Write it like p10/kube-apiserver:v1.26.9: small letters, digits, dots, hyphens and slashes, then a colon and the tag.",
  );
}

/**
 * The name that an image is to have in a registry.
 * @param hosts that registry's own names: one of them may stand in front @throws ArchiveError ARCHIVE_NAME_INVALID
 */
export function requireNameFor(text: string, hosts: readonly string[]): TaggedName {
  const { host, rest } = withoutHost(text);
  if (host === undefined || hosts.includes(host)) return requireName(text);
  const name = readName(rest, "TAG");
  throw new ArchiveError(
    "ARCHIVE_NAME_INVALID",
    `${JSON.stringify(text.slice(0, 300))} names another registry, ${host}, and the image goes to ${hosts[0]}`,
    `Write what it is to be called there: --as ${name ? textOfName(name) : "p10/pause:3.9"}. For another registry: --registry HOST[:PORT].`,
  );
}

/**
 * Other names that podsec knows an image by. Archives of its first versions have `k8s-c10f2/`; a node of today asks for `c10f/`
 * (podsec-load-sign-oci tags it a second time, too).
 */
export function aliasesOf({ repository, tag }: TaggedName): TaggedName[] {
  const old = "k8s-c10f2/";
  return repository.startsWith(old) ? [{ repository: `c10f/${repository.slice(old.length)}`, tag }] : [];
}

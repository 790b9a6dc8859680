import { isRepositoryName, isTag, withoutOwnHost } from "../registry/repository-name.ts";
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
 * `p10/pause:3.9` as an archive has it, also with the registry in front that it came from, which is left out:
 * `registry.altlinux.org/p10/pause:3.9`.
 */
export const readName = (text: string): TaggedName | undefined => readWhole(withoutHost(text).rest);

/** @param defaultTag for a name without one; undefined: then it is none */
function readWhole(name: string, defaultTag?: string): TaggedName | undefined {
  const colon = name.lastIndexOf(":");
  const repository = colon < 0 ? name : name.slice(0, colon);
  const tag = colon < 0 ? defaultTag : name.slice(colon + 1);
  return tag !== undefined && isRepositoryName(repository) && isTag(tag) ? { repository, tag } : undefined;
}

/** The same. @throws ArchiveError ARCHIVE_NAME_INVALID */
export const requireName = (text: string): TaggedName => readName(text) ?? invalid(text);

function invalid(text: string): never {
  throw new ArchiveError(
    "ARCHIVE_NAME_INVALID",
    `${JSON.stringify(text.slice(0, 300))} is no name of an image`,
    "Write it like p10/kube-apiserver:v1.26.9: small letters, digits, dots, hyphens and slashes, then a colon and the tag.",
  );
}

/**
 * What a registry has: an image, or a repository with all its tags (without `tag`). Below the prefix of an upstream a name begins with a
 * host, `docker.io/library/alpine:3.20`, so that only the registry's own names may be left out in front.
 * @param hosts that registry's own names @returns undefined for what is no name there
 */
export function readNameThere(
  text: string,
  hosts: readonly string[],
): { readonly repository: string; readonly tag: string | undefined } | undefined {
  const name = withoutOwnHost(text, hosts);
  return readWhole(name) ?? (isRepositoryName(name) ? { repository: name, tag: undefined } : undefined);
}

/** An image that a registry has. @param hosts that registry's own names @throws ArchiveError ARCHIVE_NAME_INVALID */
export function requireNameThere(text: string, hosts: readonly string[]): TaggedName {
  return readWhole(withoutOwnHost(text, hosts)) ?? invalid(text);
}

/** What to look at where a registry has no image of this name. */
export function adviceOnMissing(repository: string): string {
  const { host, rest } = withoutHost(repository);
  const shorter = host === undefined ? "" : ` Where it lies without ${host} in front, name it so: ${rest}.`;
  return `Look at the name and the tag, or push the image first: boot image import FILE.${shorter}`;
}

/**
 * The name that an image is to have in a registry.
 * @param hosts that registry's own names: one of them may stand in front @throws ArchiveError ARCHIVE_NAME_INVALID
 */
export function requireNameFor(text: string, hosts: readonly string[]): TaggedName {
  const { host, rest } = withoutHost(withoutOwnHost(text, hosts));
  if (host === undefined) return readWhole(rest) ?? invalid(text);
  const name = readWhole(rest, "TAG");
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

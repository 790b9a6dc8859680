import { isRepositoryName, isTag } from "../registry/repository-name.ts";
import { ArchiveError } from "./archive-error.ts";

/** What an image is called in a registry. */
export interface TaggedName {
  readonly repository: string;
  readonly tag: string;
}

export const textOfName = ({ repository, tag }: TaggedName): string => `${repository}:${tag}`;

/**
 * `p10/pause:3.9`, also with the registry in front that it came from, which is left out: `registry.altlinux.org/p10/pause:3.9`.
 * @param defaultTag for a name without one; undefined: then it is none
 */
export function readName(text: string, defaultTag?: string): TaggedName | undefined {
  const [first = "", ...rest] = text.split("/");
  const hasHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const name = hasHost ? rest.join("/") : text;
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
 * Other names that podsec knows an image by. Archives of its first versions have `k8s-c10f2/`; a node of today asks for `c10f/`
 * (podsec-load-sign-oci tags it a second time, too).
 */
export function aliasesOf({ repository, tag }: TaggedName): TaggedName[] {
  const old = "k8s-c10f2/";
  return repository.startsWith(old) ? [{ repository: `c10f/${repository.slice(old.length)}`, tag }] : [];
}

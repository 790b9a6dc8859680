/** Names and tags as the distribution specification has them (spec.md, "Pulling manifests"). */
const nameForm = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagForm = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Clients count the host name too; a name that no client can ask for is no use. */
export const longestName = 255;

export const isRepositoryName = (text: string): boolean => text.length <= longestName && nameForm.test(text);

export const isTag = (text: string): boolean => tagForm.test(text);

/**
 * A name of an image without the registry in front of it, where that is this one; any other first word is part of the name, as those below
 * the prefix of an upstream: `docker.io/library/alpine:3.20`.
 * @param hosts what this registry is called, with a port where there is one; on another port it is the same one
 */
export function withoutOwnHost(name: string, hosts: readonly string[]): string {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(0, slash)).toLowerCase();
  const isOwn = hosts
    .map((host) => host.toLowerCase())
    .some((host) => first === host || first.replace(/:\d{1,5}$/, "") === host);
  return isOwn ? name.slice(slash + 1) : name;
}

/** Does the pattern of a token allow this repository? `*` stands for any characters: `p10/*` is all below p10. */
export function matchesPattern(pattern: string, repository: string): boolean {
  const parts = pattern.split("*");
  const [first = "", ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return pattern === repository;
  if (!repository.startsWith(first)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = repository.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return repository.length - last.length >= at && repository.endsWith(last);
}

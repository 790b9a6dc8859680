/** Names and tags as the distribution specification has them (spec.md, "Pulling manifests"). */
const nameForm = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagForm = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Clients count the host name too; a name that no client can ask for is no use. */
export const longestName = 255;

export const isRepositoryName = (text: string): boolean => text.length <= longestName && nameForm.test(text);

export const isTag = (text: string): boolean => tagForm.test(text);

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

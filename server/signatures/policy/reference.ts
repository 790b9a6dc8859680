/** `registry.local/p10/pause:3.9@sha256:…`, in its parts and with its defaults written out. */
export interface ImageReference {
  /** With its port. */
  readonly host: string;
  readonly path: string;
  /** `host/path` */
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const hostForm =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?$/;
const pathForm = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const tagForm = /^\w[\w.-]{0,127}$/;
const digestForm = /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/;
const longestName = 255;

/**
 * Reads a reference as `reference.ParseNormalizedNamed` of containers/image does: a name without a host is one of Docker Hub.
 * @returns undefined when it is none
 */
export function parseReference(text: string): ImageReference | undefined {
  if (/^[0-9a-f]{64}$/.test(text)) return undefined;
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : tagged.slice(colon + 1);
  const [host, path] = splitHost(colon < 0 ? tagged : tagged.slice(0, colon));
  const name = `${host}/${path}`;
  if (!hostForm.test(host) || !pathForm.test(path) || name.length > longestName) return undefined;
  if (tag !== undefined && !tagForm.test(tag)) return undefined;
  if (digest !== undefined && !digestForm.test(digest)) return undefined;
  return { host, path, name, tag, digest };
}

function splitHost(name: string): [host: string, path: string] {
  const slash = name.indexOf("/");
  const first = name.slice(0, slash);
  const isHost = slash > 0 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const host = isHost ? first : "docker.io";
  const path = isHost ? name.slice(slash + 1) : name;
  if (host !== "docker.io" && host !== "index.docker.io") return [host, path];
  return ["docker.io", path.includes("/") ? path : `library/${path}`];
}

export function formatReference({ name, tag, digest }: ImageReference): string {
  return `${name}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/**
 * Where containers/image looks for a rule, the most specific place first (containers-policy.json(5), "Docker"): with tag or digest, the
 * repository, its namespaces, the host, and the domains above it.
 */
export function scopesOf(reference: ImageReference): string[] {
  const scopes = [formatReference(reference)];
  const words = reference.name.split("/");
  for (let length = words.length; length > 0; length--) scopes.push(words.slice(0, length).join("/"));
  const labels = reference.host.replace(/:.*$/, "").split(".");
  for (let skipped = 1; skipped < labels.length; skipped++)
    scopes.push(`*.${labels.slice(skipped).join(".")}`);
  return [...new Set(scopes)];
}

/** Whether a text can stand as a scope of policy.json: a host with a repository or a part of one, or `*.example.com`. */
export function isScope(text: string): boolean {
  if (text.startsWith("*.")) return hostForm.test(text.slice(2)) && !text.includes(":");
  if (!text.includes("/")) return hostForm.test(text);
  const reference = parseReference(text);
  return reference !== undefined && formatReference(reference) === text;
}

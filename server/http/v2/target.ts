import { parseSignaturePath } from "./signature-routes.ts";

/** What a request is about. */
export interface Target {
  readonly kind:
    | "base"
    | "catalog"
    | "token"
    | "tags"
    | "manifest"
    | "blob"
    | "uploads"
    | "upload"
    | "referrers"
    | "signatures"
    | "lookaside";
  /** As it was asked for: nobody has looked at it yet. */
  readonly repository: string;
  /** Tag, digest or id of an upload. */
  readonly reference: string;
  /** Of a signature in the lookaside, from 1. */
  readonly position?: number;
}

const whole = (kind: Target["kind"]): Target => ({ kind, repository: "", reference: "" });
/** Longest first: `…/blobs/uploads/<id>` is no blob. */
const lists = [
  ["/blobs/uploads", "upload"],
  ["/manifests", "manifest"],
  ["/blobs", "blob"],
  ["/referrers", "referrers"],
] as const;

/**
 * Reads a path from its end, for names of repositories have slashes and may have any of our words in them. Double slashes count as one.
 * @param path without its query @returns undefined when nothing is there
 */
export function parseTarget(path: string): Target | undefined {
  let text = path;
  if (text.includes("%"))
    try {
      text = decodeURIComponent(text);
    } catch {
      return undefined;
    }
  if (text.includes("//")) text = text.replaceAll(/\/{2,}/g, "/");
  if (!text.startsWith("/v2")) return signatureTarget(path);
  const rest = text.slice(3);
  if (rest === "" || rest === "/") return whole("base");
  if (!rest.startsWith("/")) return undefined;
  if (rest === "/_catalog") return whole("catalog");
  if (rest === "/token") return whole("token");
  if (rest.endsWith("/tags/list"))
    return { kind: "tags", repository: rest.slice(1, -"/tags/list".length), reference: "" };
  if (rest.endsWith("/blobs/uploads") || rest.endsWith("/blobs/uploads/"))
    return { kind: "uploads", repository: rest.slice(1, rest.lastIndexOf("/blobs/uploads")), reference: "" };
  const slash = rest.lastIndexOf("/");
  const head = rest.slice(0, slash);
  for (const [end, kind] of lists)
    if (head.endsWith(end))
      return { kind, repository: head.slice(1, -end.length), reference: rest.slice(slash + 1) };
  return undefined;
}

function signatureTarget(path: string): Target | undefined {
  const found = parseSignaturePath(path);
  if (!found) return undefined;
  const { repository, digest: reference } = found;
  return found.kind === "extension"
    ? { kind: "signatures", repository, reference }
    : { kind: "lookaside", repository, reference, position: found.position };
}

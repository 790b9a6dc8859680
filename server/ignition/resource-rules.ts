import type { Resource } from "./config.ts";
import { isDataUrl } from "./data-url.ts";
import type { Path } from "./shape.ts";

/** What a shape can't say, as Ignition's own validation has it (coreos/ignition config/v3_x/types). */
export type Report = (path: Path, message: string) => void;

/** Calls `look` with each item and its place. */
export function eachOf<T>(
  items: readonly T[] | undefined,
  look: (item: T, path: Path, index: number) => void,
  ...path: (string | number)[]
): void {
  (items ?? []).forEach((item, index) => look(item, [...path, index], index));
}

const sourceSchemes = "http, https, tftp, s3, arn, gs or data";

/** Something that Ignition loads: contents, a config, a certificate. */
export function resource(
  { compression, httpHeaders, source, verification }: Resource,
  path: Path,
  report: Report,
): void {
  if (compression && compression !== "gzip") report([...path, "compression"], "must be gzip, or left out");
  const hash = verification?.hash;
  const hashPath = [...path, "verification", "hash"];
  if (hash !== undefined) {
    const [, kind, sum = ""] = /^([^-]*)-(.*)$/s.exec(hash) ?? [];
    const length = kind === "sha512" ? 128 : kind === "sha256" ? 64 : undefined;
    if (length === undefined) report(hashPath, "must be sha512-<digest> or sha256-<digest>");
    else if (!/^[0-9a-fA-F]*$/.test(sum) || sum.length !== length)
      report(hashPath, `a digest of ${kind} has ${length} hexadecimal digits`);
    if (source === undefined) report(hashPath, "has nothing to verify: the key source is missing");
  }
  if (source) {
    const [, scheme = ""] = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(source) ?? [];
    const isKnown = ["http", "https", "tftp", "s3", "arn", "gs", "data"].includes(scheme);
    if (!isKnown || (["http", "https", "tftp"].includes(scheme) && !URL.canParse(source)))
      report([...path, "source"], `must be an address that begins with ${sourceSchemes}`);
    else if (scheme === "data" && !isDataUrl(source))
      report([...path, "source"], "is no data URL (RFC 2397)");
    if (httpHeaders && httpHeaders.length > 0 && !["http", "https"].includes(scheme))
      report([...path, "httpHeaders"], "are for http and https only");
  } else if (httpHeaders && httpHeaders.length > 0)
    report([...path, "httpHeaders"], "are for http and https only");
  eachOf(
    httpHeaders,
    ({ name, value }, at) => {
      if (name === "") report([...at, "name"], "must not be empty");
      if (value === "") report([...at, "value"], "must not be empty");
    },
    ...path,
    "httpHeaders",
  );
}

/** A path of the new system: absolute, without `.`, `..`, double and last slashes. @returns what is wrong, or undefined */
export function pathFault(path: string): string | undefined {
  if (!path.startsWith("/")) return "must be an absolute path";
  const isClean =
    path === "/" ||
    path
      .slice(1)
      .split("/")
      .every((part) => !["", ".", ".."].includes(part));
  return isClean ? undefined : "must be a path without //, ., .. and a slash at its end";
}

import { ImageError } from "./image-error.ts";

/**
 * The build host's apt sources, cut down to the Debian archive of one suite: an image is made from the mirror that
 * its maker already trusts and can reach, and from nothing else that happens to be configured there.
 */
export interface AptSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Keyring path, fingerprint or a key block, as written. Lines of a block keep their line ends. */
  readonly signedBy: string | undefined;
}

const DebianComponents = new Set(["main", "contrib", "non-free", "non-free-firmware"]);

/** Reads a file of /etc/apt/sources.list.d in the deb822 form (*.sources); see sources.list(5). */
export function parseDeb822(text: string): readonly AptSource[] {
  return text.split(/\n[ \t]*\n/).flatMap((stanza) => {
    const fields = readStanza(stanza);
    const list = (name: string): string[] =>
      (fields.get(name) ?? "").split(/\s+/).filter((item) => item !== "");
    if (
      !list("types").includes("deb") ||
      /^(no|false|off|0|without|disable)$/i.test(fields.get("enabled") ?? "yes")
    )
      return [];
    return [
      {
        uris: list("uris"),
        suites: list("suites"),
        components: list("components"),
        signedBy: fields.get("signed-by"),
      },
    ];
  });
}

/** Reads sources.list or a *.list file: `deb [options] uri suite component...`. */
export function parseOneLine(text: string): readonly AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) return [];
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    return [
      {
        uris: [uri],
        suites: [suite],
        components: components.split(/\s+/).filter((item) => item !== ""),
        signedBy,
      },
    ];
  });
}

/**
 * Leaves only what is the Debian archive of `suite` (with its -updates and -security).
 *
 * A foreign archive can call a suite of its own `bookworm` too; it is told apart by its components and by the key
 * that it names. What names no key at all is held to Debian's keyring by `formatSources`.
 */
export function selectDebianSources(sources: readonly AptSource[], suite: string): readonly AptSource[] {
  const wanted = new Set([suite, `${suite}-updates`, `${suite}-security`]);
  return sources.flatMap((source) => {
    const suites = source.suites.filter((name) => wanted.has(name));
    const isDebian =
      source.components.length > 0 &&
      source.components.every((name) => DebianComponents.has(name)) &&
      (source.signedBy === undefined || isDebianKeyring(source.signedBy));
    return isDebian && suites.length > 0 && source.uris.length > 0 ? [{ ...source, suites }] : [];
  });
}

/** Every archive component that the sources offer. */
export function componentsOf(sources: readonly AptSource[]): ReadonlySet<string> {
  return new Set(sources.flatMap((source) => source.components));
}

/** Writes sources in the deb822 form, without passwords in addresses: the file stays in the image. */
export function formatSources(sources: readonly AptSource[], keyring: string): string {
  return sources
    .map((source) =>
      [
        "Types: deb",
        `URIs: ${source.uris.map(withoutPassword).join(" ")}`,
        `Suites: ${source.suites.join(" ")}`,
        `Components: ${source.components.join(" ")}`,
        `Signed-By: ${source.signedBy ?? keyring}`,
        "",
      ].join("\n"),
    )
    .join("\n");
}

/**
 * A key as a value of `Signed-By`: its lines one by one, each behind a blank, an empty one as a dot; see sources.list(5).
 * @throws ImageError IMAGE_RECIPE_INVALID when it is no ASCII-armoured public key
 */
export function armouredKey(file: string, text: string): string {
  const block = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/.exec(
    text,
  )?.[0];
  if (block === undefined)
    throw new ImageError(
      "IMAGE_RECIPE_INVALID",
      `${file} beside recipe.yaml is not there, or no ASCII-armoured public key`,
      "make it with: gpg --export --armor KEY > FILE.asc",
    );
  return `\n${block
    .split(/\r?\n/)
    .map((line) => ` ${line.trim() === "" ? "." : line.trim()}`)
    .join("\n")}`;
}

/**
 * Of `apt-config dump`, the settings by which this host reaches its mirror, as options for the build's own apt.
 * Nothing that weakens the check of signatures is taken over.
 */
export function selectAptOptions(dump: string): readonly string[] {
  const taken =
    /^Acquire::(https?::(Proxy(::[^ ]+)?|Timeout|CaInfo)|Retries|ForceIPv4|Check-Valid-Until|Check-Date) "[^"]+";$/i;
  return dump
    .split("\n")
    .filter((line) => taken.test(line))
    .map((line) => line.slice(0, -1));
}

function readStanza(stanza: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let current: string | undefined;
  for (const line of stanza.split("\n")) {
    if (line.startsWith("#")) continue;
    if (/^[ \t]/.test(line) && current !== undefined) {
      fields.set(current, `${fields.get(current) ?? ""}\n${line}`);
      continue;
    }
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    current = line.slice(0, colon).trim().toLowerCase();
    fields.set(current, line.slice(colon + 1).trim());
  }
  return fields;
}

function isDebianKeyring(signedBy: string): boolean {
  return /(^|\/)debian-archive-[^/]+\.(gpg|asc|pgp)$/.test(signedBy.trim());
}

function withoutPassword(uri: string): string {
  return uri.replace(/^([a-z+.-]+:\/\/)[^/@]*@/i, "$1");
}

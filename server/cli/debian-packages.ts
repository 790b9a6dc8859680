import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readlinkSync } from "node:fs";
import { basename, dirname, isAbsolute, join, normalize } from "node:path";

/** One file of a Debian package, as `source` in boot-assets/manifest.json names it. */
export type DebianSource =
  /** `debian:PACKAGE:/PATH`: of this host's own suite and architecture, installed or not. */
  | { readonly kind: "package"; readonly name: string; readonly path: string }
  /** `debian-pool:FILE:/PATH`: of any suite and architecture; FILE as it lies below `pool/` on every mirror. */
  | { readonly kind: "pool"; readonly file: string; readonly path: string };

/** @returns undefined for a file that does not come from Debian */
export function parseDebianSource(source: string): DebianSource | undefined {
  const match = /^(debian|debian-pool):([a-z0-9][A-Za-z0-9.+~_/-]*):(\/[^:]+)$/.exec(source);
  const [, form, from = "", path = ""] = match ?? [];
  if (form === undefined || `${from}/${path}`.split("/").includes("..")) return undefined;
  if (form === "debian") return from.includes("/") ? undefined : { kind: "package", name: from, path };
  return from.endsWith(".deb") ? { kind: "pool", file: from, path } : undefined;
}

/** Where every file of Debian's archive can be had, after the mirrors that this host is told to use. */
const defaultMirror = "http://deb.debian.org/debian/";
/**
 * Mirrors have the newest version of a package only, and the manifest names one version; this archive keeps all of them. The day is one
 * on which the versions of boot-assets/manifest.json were on the mirrors: move it with them.
 */
const keepingMirror = "http://snapshot.debian.org/archive/debian/20261115T000000Z/";
/** A mirror that does not answer is given up after 15 s. */
const impatience = ["-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=0"];

/**
 * Fetches Debian packages and unpacks them below `work`, each once, and installs none: a package of another architecture
 * or suite does no harm to this host's own.
 */
export function createDebianPackages(work: string, onFetch: (what: string) => void) {
  const unpacked = new Map<string, string | undefined>();
  /** Mirrors that did not answer: each would be waited for again with every package. */
  const silent = new Set<string>();
  let hasUpdated: boolean | undefined;

  function run(command: string, words: string[], cwd: string): boolean {
    return spawnSync(command, words, { cwd, stdio: "ignore" }).status === 0;
  }

  /** By the host's apt, which checks it by the archive's signature. */
  function downloadPackage(name: string, directory: string): boolean {
    const download = () => run("apt-get", [...impatience, "download", name], directory);
    if (download()) return true;
    // A fresh machine has no package lists yet; only root may fetch them.
    if (process.getuid?.() !== 0) return false;
    hasUpdated ??= run("apt-get", [...impatience, "update"], directory);
    return hasUpdated && download();
  }

  /** From the first mirror that has it, through apt's own proxy settings. */
  function downloadFile(file: string, sha256: string, directory: string): boolean {
    return mirrors().some((mirror) => {
      if (silent.has(mirror)) return false;
      const target = [`${mirror}pool/${file}`, join(directory, "package.deb"), `SHA256:${sha256}`];
      const { status, stderr } = spawnSync(
        "/usr/lib/apt/apt-helper",
        [...impatience, "download-file", ...target],
        { cwd: directory, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] },
      );
      // What answers without the file may have the next one.
      if (status !== 0 && !/ [45][0-9]{2} |mismatch/i.test(stderr)) silent.add(mirror);
      return status === 0;
    });
  }

  function unpack(source: DebianSource, packageSha256: string | undefined): string | undefined {
    const directory = join(work, String(unpacked.size));
    mkdirSync(directory);
    onFetch(source.kind === "package" ? source.name : basename(source.file));
    const isThere =
      source.kind === "package"
        ? downloadPackage(source.name, directory)
        : packageSha256 !== undefined && downloadFile(source.file, packageSha256, directory);
    const archive = isThere && readdirSync(directory).find((name) => name.endsWith(".deb"));
    if (!archive || !run("dpkg-deb", ["-x", archive, "tree"], directory)) return undefined;
    return join(directory, "tree");
  }

  return {
    /**
     * Where the file may lie, the nearest place first: as installed, then in the package, which is fetched when it comes to that.
     * @param packageSha256 of a package from the pool, which no signature vouches for
     */
    *find(source: DebianSource, packageSha256?: string): Generator<string> {
      if (source.kind === "package" && existsSync(source.path)) yield source.path;
      const key = source.kind === "package" ? source.name : source.file;
      if (!unpacked.has(key)) unpacked.set(key, unpack(source, packageSha256));
      const tree = unpacked.get(key);
      const file = tree === undefined ? undefined : fileInside(tree, source.path);
      if (file !== undefined) yield file;
    },
  };
}

/** The addresses of the Debian archives that apt is configured with, each with its final slash, then Debian's own two. */
function mirrors(): string[] {
  const { stdout } = spawnSync("apt-get", ["indextargets", "--format", "$(ORIGIN) $(REPO_URI)"], {
    encoding: "utf8",
  });
  const configured = (stdout ?? "")
    .split("\n")
    .map((line) => /^Debian (https?:\S+\/)$/.exec(line)?.[1])
    .filter((uri) => uri !== undefined);
  return [...new Set([...configured, defaultMirror, keepingMirror])];
}

/** Debian's own links are absolute (/usr/lib/ipxe/ipxe.efi -> /boot/ipxe.efi), so they are followed within the tree. */
function fileInside(tree: string, path: string): string | undefined {
  for (let at = path, hops = 0; hops < 8; hops++) {
    const inTree = join(tree, normalize(at));
    let target: string;
    try {
      target = readlinkSync(inTree);
    } catch {
      return existsSync(inTree) ? inTree : undefined;
    }
    at = isAbsolute(target) ? target : join(dirname(at), target);
  }
  return undefined;
}

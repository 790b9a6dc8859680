import type { Recipe } from "./recipe.ts";
import { packagesFor } from "./recipe.ts";

/** A program and its arguments. Never a shell line: nothing in it is parsed again. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
}

export interface BootstrapFacts {
  /** `root` when the build runs as root, else `unshare` (user namespaces; needs newuidmap). */
  readonly mode: "root" | "unshare";
  /** Directory that holds finish-root.sh and takes the kernel, the initrd and the facts. */
  readonly stageDir: string;
  /** Files with the apt sources, or a mirror; none leaves the choice to mmdebstrap. */
  readonly sourcesFiles: readonly string[];
  /** Archive components that the sources offer. */
  readonly components: ReadonlySet<string>;
  /** How this host reaches its mirror: `Acquire::http::Proxy "http://..."`. */
  readonly aptOptions: readonly string[];
}

/** Makes the root and writes it to standard output as a tar archive. */
export function bootstrapCommand(recipe: Recipe, facts: BootstrapFacts): Command {
  const excluded = [
    ...recipe.dropPaths,
    ...recipe.dropModules.map((folder) => `/lib/modules/*/kernel/${folder}/*`),
  ];
  return {
    program: "mmdebstrap",
    args: [
      `--mode=${facts.mode}`,
      "--variant=apt",
      "--format=tar",
      // Else usrmerge does in each root what is done already, and brings all of Perl along for it.
      "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
      "--verbose",
      `--architectures=${recipe.architecture}`,
      `--include=${packagesFor(recipe, facts.components).join(",")}`,
      ...['Acquire::Languages "none"', 'APT::Install-Recommends "false"', ...facts.aptOptions].map(
        (option) => `--aptopt=${option}`,
      ),
      "--dpkgopt=force-unsafe-io",
      ...excluded.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
      // mmdebstrap hands a hook to `sh -c` with the root as $1; the directory comes by the environment, so it needs no quoting here.
      '--customize-hook=sh "$ROLLCALL_STAGE/finish-root.sh" "$1"',
      ...["vmlinuz", "initrd.img", "facts"].map(
        (name) => `--customize-hook=download /boot/${name} ${quoteForHook(`${facts.stageDir}/${name}`)}`,
      ),
      // The machine gets its kernel and its initrd by name and digest, not out of its root.
      '--customize-hook=rm -rf "$1"/boot/* "$1"/vmlinuz* "$1"/initrd.img*',
      recipe.suite,
      "-",
      ...facts.sourcesFiles,
    ],
  };
}

/** Environment of the build: what the caller has, and what makes the result the same everywhere. */
export function buildEnvironment(
  recipe: Recipe,
  inherited: Readonly<Record<string, string | undefined>>,
  stageDir: string,
): Record<string, string> {
  const kept = Object.entries(inherited).flatMap(([key, value]) => {
    const wanted =
      key === "PATH" || key === "HOME" || key === "USER" || key === "LOGNAME" || /_proxy$/i.test(key);
    return wanted && value !== undefined ? [[key, value] as const] : [];
  });
  return {
    ...Object.fromEntries(kept),
    SOURCE_DATE_EPOCH: inherited["SOURCE_DATE_EPOCH"] ?? String(recipe.sourceDateEpoch),
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    DEBIAN_FRONTEND: "noninteractive",
    // The kernel package would build an initrd with every driver; finish-root.sh builds the only one that is wanted.
    INITRD: "No",
    ROLLCALL_STAGE: stageDir,
    TMPDIR: `${stageDir}/tmp`,
  };
}

/**
 * Packs a tar archive from standard input into a squashfs file.
 *
 * mksquashfs 4.5 gives "/" itself to whoever runs it, and -root-uid does not count with -tar; a system whose root
 * belongs to some user is open to that user. So an ordinary user runs it as root of a namespace.
 */
export function squashCommand(recipe: Recipe, outputFile: string, mode: BootstrapFacts["mode"]): Command {
  const { compression, level, blockKiB } = recipe.squashfs;
  const levelOption = {
    zstd: ["-Xcompression-level", String(level)],
    xz: [],
    lz4: ["-Xhc"],
  } as const satisfies Record<typeof compression, readonly string[]>;
  const squash: Command = {
    program: "mksquashfs",
    args: [
      "-",
      outputFile,
      "-tar",
      "-noappend",
      "-no-progress",
      "-root-mode",
      "0755",
      "-comp",
      compression,
      ...levelOption[compression],
      "-b",
      `${blockKiB}K`,
    ],
  };
  if (mode === "root") return squash;
  return { program: "unshare", args: ["--map-root-user", squash.program, ...squash.args] };
}

/** mmdebstrap splits the words of its own hooks like a shell does. */
function quoteForHook(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

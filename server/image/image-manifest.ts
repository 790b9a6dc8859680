/** What lies in an image directory: image.json. */
export interface ImageManifest {
  readonly name: string;
  /** Debian's version and the first digits of a digest over all files: the same content has the same version. */
  readonly version: string;
  readonly arch: "x86_64" | "arm64";
  readonly kernelRelease: string;
  /** Number of installed Debian packages. */
  readonly packages: number;
  readonly files: { readonly kernel: ImageFile; readonly initrd: ImageFile; readonly rootfs: ImageFile };
  /** ISO 8601, UTC. */
  readonly builtAt: string;
}

export interface ImageFile {
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What finish-root.sh wrote down about the root. */
export interface RootFacts {
  readonly kernelRelease: string;
  readonly debianVersion: string;
  readonly packages: number;
}

/** Reads key=value lines; undefined when one that is needed is missing or empty. */
export function parseRootFacts(text: string): RootFacts | undefined {
  const values = new Map(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at > 0 ? [[line.slice(0, at), line.slice(at + 1).trim()] as const] : [];
    }),
  );
  const kernelRelease = values.get("kernelRelease");
  const debianVersion = values.get("debianVersion");
  const packages = Number(values.get("packages"));
  if (!kernelRelease || !debianVersion || !Number.isInteger(packages) || packages <= 0) return undefined;
  return { kernelRelease, debianVersion, packages };
}

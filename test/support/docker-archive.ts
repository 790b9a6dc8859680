import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface ContainerImage {
  /** With its tag: `k8s.gcr.io/pause:3.2`. */
  readonly name: string;
  /** Path in the image -> file or directory of this host. Links are followed. */
  readonly files: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
  readonly environment?: readonly string[];
  /** As Go calls it; default: this host's. */
  readonly architecture?: string;
}

/** The same content gives the same octets. */
function pack(directory: string, archive: string): void {
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"];
  execFileSync("tar", [...same, "-C", directory, "-cf", archive, "."]);
}

/** A program and the shared libraries that it loads, each at the path that it has on this host. */
export function withLibraries(...programs: readonly string[]): Record<string, string> {
  const files = programs.flatMap((program) => [
    program,
    ...(execFileSync("ldd", [program], { encoding: "utf8" }).match(/\/[^ )\n]+/g) ?? []),
  ]);
  return Object.fromEntries(files.map((file) => [file, file]));
}

/** An image of one layer in the form of `docker save`, which containerd imports; made by tar alone. */
export function writeDockerArchive(image: ContainerImage, archive: string): void {
  const work = mkdtempSync(join(tmpdir(), "rollcall-archive-"));
  try {
    const root = join(work, "root");
    mkdirSync(root);
    for (const [path, source] of Object.entries(image.files)) {
      mkdirSync(join(root, dirname(path)), { recursive: true });
      cpSync(source, join(root, path), { dereference: true, recursive: true });
    }
    execFileSync("chmod", ["-R", "u=rwX,go=rX", root]);
    const layer = join(work, "layer.tar");
    pack(root, layer);
    const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");
    const diff = sha256(readFileSync(layer));
    const config = JSON.stringify({
      architecture: image.architecture ?? (process.arch === "arm64" ? "arm64" : "amd64"),
      os: "linux",
      config: {
        Entrypoint: image.entrypoint,
        Env: image.environment ?? ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
      },
      rootfs: { type: "layers", diff_ids: [`sha256:${diff}`] },
    });
    const out = join(work, "out");
    mkdirSync(out);
    renameSync(layer, join(out, `${diff}.tar`));
    const configFile = `${sha256(config)}.json`;
    writeFileSync(join(out, configFile), config);
    writeFileSync(
      join(out, "manifest.json"),
      JSON.stringify([{ Config: configFile, RepoTags: [image.name], Layers: [`${diff}.tar`] }]),
    );
    pack(out, archive);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

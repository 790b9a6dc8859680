import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

export const ociManifest = "application/vnd.oci.image.manifest.v1+json";
export const ociIndex = "application/vnd.oci.image.index.v1+json";

export const digestOf = (content: Uint8Array | string, algorithm = "sha256") =>
  `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`;

export interface Blob {
  readonly digest: string;
  readonly content: Buffer;
}
export const blobOf = (content: Uint8Array | string, algorithm?: string): Blob => ({
  digest: digestOf(content, algorithm),
  content: Buffer.from(content),
});

export const descriptorOf = ({ digest, content }: Blob, mediaType = "application/octet-stream") => ({
  mediaType,
  digest,
  size: content.length,
});

/** A manifest of a config and layers. @param more fields, e.g. subject or artifactType */
export function manifestOf(config: Blob, layers: readonly Blob[], more: object = {}): Blob {
  return blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: descriptorOf(config, "application/vnd.oci.image.config.v1+json"),
      layers: layers.map((layer) => descriptorOf(layer, "application/vnd.oci.image.layer.v1.tar+gzip")),
      ...more,
    }),
  );
}

export function indexOf(manifests: readonly Blob[], more: object = {}): Blob {
  return blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: manifests.map((manifest) => descriptorOf(manifest, ociManifest)),
      ...more,
    }),
  );
}

export interface SampleImage {
  readonly config: Blob;
  readonly layers: readonly Blob[];
  readonly manifest: Blob;
}

/** An image that programs can unpack: one layer with one file. */
export function sampleImage(directory: string, text: string, architecture = "amd64"): SampleImage {
  mkdirSync(join(directory, "layer"), { recursive: true });
  writeFileSync(join(directory, "layer", "greeting"), text);
  const tar = execFileSync("tar", ["-c", "-C", join(directory, "layer"), "--mtime=@0", "greeting"]);
  const layer = blobOf(gzipSync(tar));
  const config = blobOf(
    JSON.stringify({
      architecture,
      os: "linux",
      config: { Cmd: ["/greeting"] },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
    }),
  );
  return { config, layers: [layer], manifest: manifestOf(config, [layer]) };
}

/** The images as an OCI layout, each under its name. */
export function writeLayout(directory: string, images: Readonly<Record<string, SampleImage>>): void {
  const write = ({ digest, content }: Blob) =>
    writeFileSync(join(directory, "blobs/sha256", digest.slice("sha256:".length)), content);
  mkdirSync(join(directory, "blobs/sha256"), { recursive: true });
  writeFileSync(join(directory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const manifests = Object.entries(images).map(([name, { config, layers, manifest }]) => {
    for (const blob of [config, ...layers, manifest]) write(blob);
    return {
      ...descriptorOf(manifest, ociManifest),
      annotations: { "org.opencontainers.image.ref.name": name },
    };
  });
  writeFileSync(
    join(directory, "index.json"),
    JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests }),
  );
}

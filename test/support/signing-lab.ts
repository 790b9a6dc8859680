import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { temporaryDirectory } from "./samples.ts";

const run = promisify(execFile);

interface Teardown {
  teardown(fn: () => void | Promise<void>): unknown;
}

/** Keys and signatures by the real gpg, in a home of their own. */
export function createGpg(t: Teardown) {
  const home = temporaryDirectory(t);
  chmodSync(home, 0o700);
  const environment = { ...process.env, GNUPGHOME: home, LC_ALL: "C" };
  const gpg = (...words: string[]) =>
    run("gpg", ["--batch", "--yes", "--quiet", "--no-tty", "--passphrase", "", ...words], {
      env: environment,
      encoding: "buffer",
      maxBuffer: 16 * 1024 * 1024,
    });
  t.teardown(async () => {
    await run("gpgconf", ["--kill", "all"], { env: environment });
  });
  let files = 0;

  return {
    home,
    gpg,
    /** @param more options such as `--faked-system-time` @returns fingerprint */
    async makeKey(
      name: string,
      algorithm: string,
      { expires = "never", usage = "sign", more = [] as string[] } = {},
    ): Promise<string> {
      await gpg(...more, "--quick-generate-key", `${name} <${name}@lab.test>`, algorithm, usage, expires);
      const { stdout } = await gpg("--with-colons", "--list-keys", `<${name}@lab.test>`);
      return /^fpr:+([0-9A-F]{40}):/m.exec(stdout.toString())?.[1] ?? "";
    },
    exportKey: async (name: string, ...more: string[]): Promise<Buffer> =>
      (await gpg(...more, "--export", name)).stdout,
    /** By the certificate that gpg made beside the key. */
    async revoke(fingerprint: string): Promise<void> {
      const text = readFileSync(join(home, "openpgp-revocs.d", `${fingerprint}.rev`), "utf8");
      const file = join(home, "revocation.asc");
      writeFileSync(file, text.replace(":-----BEGIN", "-----BEGIN"));
      await gpg("--import", file);
    },
    /** @param more options; without any: a signed message, compressed, as gpg makes it by itself */
    async sign(key: string, payload: string | Uint8Array, ...more: string[]): Promise<Buffer> {
      const file = join(home, `payload-${++files}`);
      writeFileSync(file, payload);
      const command = more.some((word) => /^--(clear|detach-)sign$/.test(word)) ? [] : ["--sign"];
      const { stdout } = await gpg("--local-user", key, "--output", "-", ...more, ...command, file);
      return stdout;
    },
  };
}
export type Gpg = ReturnType<typeof createGpg>;

export const digestOf = (content: Uint8Array | string) =>
  `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** A payload as containers/image writes it. */
export function payloadFor(digest: string, reference: string, more: object = {}): string {
  return JSON.stringify({
    critical: {
      identity: { "docker-reference": reference },
      image: { "docker-manifest-digest": digest },
      type: "atomic container signature",
    },
    optional: { creator: "lab", timestamp: 1_795_205_327, ...more },
  });
}

const mediaTypes = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
} as const;

export interface LabImage {
  readonly digest: string;
  readonly manifest: string;
  readonly mediaType: string;
  readonly blobs: ReadonlyMap<string, Uint8Array>;
}

/** The smallest image that clients store: one empty layer. @param label makes it another one than the next */
export function makeImage(label: string, architecture = "amd64"): LabImage {
  const layer = new Uint8Array(1024);
  const config = JSON.stringify({
    architecture,
    os: "linux",
    config: { Labels: { label } },
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
    history: [{ created: "2026-11-21T00:00:00Z" }],
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, size: config.length, digest: digestOf(config) },
    layers: [{ mediaType: mediaTypes.layer, size: layer.length, digest: digestOf(layer) }],
  });
  return {
    digest: digestOf(manifest),
    manifest,
    mediaType: mediaTypes.manifest,
    blobs: new Map([
      [digestOf(layer), layer],
      [digestOf(config), Buffer.from(config)],
    ]),
  };
}

export function makeIndex(images: readonly (LabImage & { readonly architecture: string })[]): LabImage {
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: images.map(({ digest, manifest: text, architecture }) => ({
      mediaType: mediaTypes.manifest,
      size: text.length,
      digest,
      platform: { os: "linux", architecture },
    })),
  });
  return { digest: digestOf(manifest), manifest, mediaType: mediaTypes.index, blobs: new Map() };
}

/** A registry to pull from that has the same in every repository. @param tags tag -> image; more may come to it later */
export async function serveImages(
  t: Teardown,
  tags: Readonly<Record<string, LabImage>>,
  more: readonly LabImage[] = [],
) {
  const all = () => [...Object.values(tags), ...more];
  const blobOf = (digest: string) =>
    all()
      .find(({ blobs }) => blobs.has(digest))
      ?.blobs.get(digest);
  const server = createServer((request, response) => {
    const [, kind, reference = ""] = /\/(manifests|blobs)\/([^/?]+)$/.exec(request.url ?? "") ?? [];
    if (request.url === "/v2/") return void response.end("{}");
    const image = tags[reference] ?? all().find(({ digest }) => digest === reference);
    const content = kind === "manifests" ? image && Buffer.from(image.manifest) : blobOf(reference);
    if (!content)
      return void response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"none"}]}');
    response.writeHead(200, {
      "content-type": kind === "manifests" && image ? image.mediaType : "application/octet-stream",
      "content-length": content.length,
      "docker-content-digest": digestOf(content),
    });
    response.end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port };
}

export interface ClientFiles {
  readonly policy: string;
  readonly registriesD: string;
  readonly registriesConf: string;
}

export interface Pulled {
  readonly accepted: boolean;
  readonly said: string;
}

/** Debian's skopeo and podman, with a home of their own that has these files. */
export function createClients(t: Teardown, files: ClientFiles) {
  const home = temporaryDirectory(t);
  const config = join(home, ".config/containers");
  mkdirSync(join(config, "registries.d"), { recursive: true });
  writeFileSync(join(config, "policy.json"), files.policy);
  writeFileSync(join(config, "registries.d/default.yaml"), files.registriesD);
  writeFileSync(join(config, "registries.conf"), files.registriesConf);
  const environment = { PATH: process.env["PATH"] ?? "", HOME: home, LC_ALL: "C", TMPDIR: home };
  let number = 0;

  const pull = (program: string, words: readonly string[]) =>
    new Promise<Pulled>((resolve, reject) => {
      const child = spawn(program, words, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
      let said = "";
      child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
      child.on("error", reject);
      child.on("exit", (code) => resolve({ accepted: code === 0, said }));
    });

  return {
    home,
    skopeo: (reference: string) =>
      pull("skopeo", ["copy", "--quiet", `docker://${reference}`, `dir:${join(home, `copy-${++number}`)}`]),
    podman: (reference: string) => {
      // What is in the storage already is not verified again, so each pull has one of its own.
      const storage = join(home, `storage-${++number}`);
      return pull("podman", [
        "--root",
        join(storage, "root"),
        "--runroot",
        join(storage, "run"),
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "none",
        "pull",
        "--quiet",
        reference,
      ]);
    },
  };
}

/** The packets of an uncompressed message of gpg's: each has a length of one, two or four octets in front (RFC 4880, section 4.2). */
export function packetsOf(octets: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 0; at < octets.length;) {
    const first = octets[at] ?? 0;
    const isNew = (first & 0x40) !== 0;
    const one = octets[at + 1] ?? 0;
    const [header, length] = isNew
      ? one < 192
        ? [2, one]
        : [3, ((one - 192) << 8) + (octets[at + 2] ?? 0) + 192]
      : (first & 3) === 0
        ? [2, one]
        : [3, octets.readUInt16BE(at + 1)];
    packets.push(octets.subarray(at, at + header + length));
    at += header + length;
  }
  return packets;
}

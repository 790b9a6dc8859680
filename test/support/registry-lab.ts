import type { Test } from "tap";
import { type Dispatcher, request } from "undici";
import { type ServerOptions, startServer } from "./http-fixture.ts";
import { type Blob, descriptorOf, manifestOf, ociManifest, blobOf, type SampleImage } from "./oci-image.ts";

export interface RegistryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  readonly text: string;
  /** Code of the first error. */
  readonly code: string | undefined;
  /** The parsed body; throws where it is not JSON. */
  readonly json: Record<string, unknown>;
}

export interface RegistryRequest {
  readonly method?: Dispatcher.HttpMethod;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer | AsyncIterable<Uint8Array>;
  /** API token, as the password of Basic; undefined: none. */
  readonly token?: string | undefined;
}

/** Asks a registry. @param path below its address */
export async function askRegistry(
  url: string,
  path: string,
  { method = "GET", headers = {}, body, token }: RegistryRequest = {},
): Promise<RegistryAnswer> {
  const credentials =
    token === undefined
      ? {}
      : { authorization: `Basic ${Buffer.from(`anybody:${token}`).toString("base64")}` };
  const response = await request(`${url}${path}`, {
    method,
    headers: { ...credentials, ...headers },
    body: (body ?? null) as Buffer | null,
  });
  const bytes = Buffer.from(await response.body.arrayBuffer());
  const text = bytes.toString();
  return {
    status: response.statusCode,
    headers: response.headers as Record<string, string>,
    bytes,
    text,
    get code() {
      return (JSON.parse(text) as { errors?: { code: string }[] }).errors?.[0]?.code;
    },
    get json() {
      return JSON.parse(text) as Record<string, unknown>;
    },
  };
}

/** A server with its registry, and hands that push. */
export async function registryLab(t: Test, options: ServerOptions = {}) {
  const server = await startServer(t, options);
  const address = `127.0.0.1:${server.app.addresses.registryPort}`;
  const url = `http://${address}`;
  const pull = (path: string, more: RegistryRequest = {}) => askRegistry(url, path, more);
  const push = (method: Dispatcher.HttpMethod, path: string, more: RegistryRequest = {}) =>
    askRegistry(url, path, { method, token: server.adminToken, ...more });
  const must = (answer: RegistryAnswer, status: number): RegistryAnswer => {
    if (answer.status !== status) throw new Error(`${answer.status} instead of ${status}: ${answer.text}`);
    return answer;
  };
  const lab = {
    server,
    address,
    url,
    pull,
    push,
    /** Begins an upload. @returns its path */
    begin: async (repository: string, query = ""): Promise<string> =>
      must(await push("POST", `/v2/${repository}/blobs/uploads/${query}`), 202).headers["location"] ?? "",
    async blob(repository: string, blob: Blob): Promise<Blob> {
      const path = `/v2/${repository}/blobs/uploads/?digest=${blob.digest}`;
      const headers = { "content-length": String(blob.content.length) };
      if (blob.content.length > 0) must(await push("POST", path, { body: blob.content, headers }), 201);
      else must(await push("PUT", `${await lab.begin(repository)}?digest=${blob.digest}`), 201);
      return blob;
    },
    manifest: (repository: string, reference: string, { content }: Blob, type = ociManifest) =>
      push("PUT", `/v2/${repository}/manifests/${reference}`, {
        body: content,
        headers: { "content-type": type },
      }),
    /** A config, layers and a manifest under a tag. */
    async image(repository: string, tag: string, text = "a layer"): Promise<SampleImage> {
      const config = await lab.blob(repository, blobOf(JSON.stringify({ os: "linux", text })));
      const layers = [await lab.blob(repository, blobOf(text))];
      const manifest = manifestOf(config, layers);
      must(await lab.manifest(repository, tag, manifest), 201);
      return { config, layers, manifest };
    },
    /** An artifact about a manifest. */
    async referrer(
      repository: string,
      subject: Blob,
      artifactType: string,
      more: object = {},
    ): Promise<Blob> {
      const empty = await lab.blob(repository, blobOf("{}"));
      const manifest = manifestOf(empty, [], {
        artifactType,
        subject: descriptorOf(subject, ociManifest),
        ...more,
      });
      must(await lab.manifest(repository, manifest.digest, manifest), 201);
      return manifest;
    },
  };
  return lab;
}
export type RegistryLab = Awaited<ReturnType<typeof registryLab>>;

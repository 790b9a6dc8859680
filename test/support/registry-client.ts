import { Agent, type Dispatcher, request } from "undici";
import { type Blob, digestOf, ociManifest } from "./oci-image.ts";

/** The server's last word on a request that it refused. */
export class RefusedPush extends Error {
  readonly status: number;
  constructor(request: string, status: number, text: string) {
    super(`${request}: ${status}: ${text}`);
    this.status = status;
  }
}

/** Pushes and pulls as a client of the specification does, in the ways that it allows. @param token of a pusher; empty: of nobody */
export function registryClient(url: string, token: string) {
  const agent = new Agent({ connections: 16 });
  const credentials = `Basic ${Buffer.from(`anybody:${token}`).toString("base64")}`;
  const login = token === "" ? {} : { authorization: credentials };

  async function ask(
    method: Dispatcher.HttpMethod,
    path: string,
    { body, headers = {} }: { body?: Uint8Array; headers?: Record<string, string> } = {},
  ) {
    const answer = await request(new URL(path, url), {
      method,
      dispatcher: agent,
      headers: { ...login, ...headers },
      body: body === undefined ? null : Buffer.from(body),
    });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    return { status: answer.statusCode, headers: answer.headers as Record<string, string>, bytes };
  }
  async function must(status: number, ...words: Parameters<typeof ask>) {
    const answer = await ask(...words);
    if (answer.status !== status)
      throw new RefusedPush(`${words[0]} ${words[1]}`, answer.status, answer.bytes.toString());
    return answer;
  }

  const client = {
    url,
    ask,
    must,
    close: () => agent.destroy(),
    async begin(repository: string, query = ""): Promise<string> {
      const { headers } = await must(202, "POST", `/v2/${repository}/blobs/uploads/${query}`);
      return headers["location"] ?? "";
    },
    /** In one request. */
    async pushWhole(repository: string, { digest, content }: Blob): Promise<void> {
      await must(201, "POST", `/v2/${repository}/blobs/uploads/?digest=${digest}`, { body: content });
    },
    /** As podman and skopeo do: POST, PATCH, PUT. @param pieces that it comes in */
    async pushInPieces(repository: string, { digest, content }: Blob, pieces = 2): Promise<void> {
      let path = await client.begin(repository);
      const length = Math.ceil(content.length / pieces);
      for (let at = 0; at < content.length; at += length)
        path =
          (await must(202, "PATCH", path, { body: content.subarray(at, at + length) })).headers["location"] ??
          path;
      await must(201, "PUT", `${path}?digest=${digest}`);
    },
    /** @returns false when it has to be pushed */
    async mount(repository: string, { digest }: Blob, from: string): Promise<boolean> {
      const query = `?mount=${digest}&from=${from}`;
      return (await ask("POST", `/v2/${repository}/blobs/uploads/${query}`)).status === 201;
    },
    /** Asks first, as clients do. */
    async push(repository: string, blob: Blob): Promise<void> {
      if ((await ask("HEAD", `/v2/${repository}/blobs/${blob.digest}`)).status === 200) return;
      await client.pushWhole(repository, blob);
    },
    async putManifest(repository: string, reference: string, { content }: Blob, type = ociManifest) {
      const headers = { "content-type": type };
      await must(201, "PUT", `/v2/${repository}/manifests/${reference}`, { body: content, headers });
    },
    deleteManifest: (repository: string, reference: string) =>
      must(202, "DELETE", `/v2/${repository}/manifests/${reference}`),
    hasBlob: async (repository: string, { digest }: Pick<Blob, "digest">): Promise<boolean> =>
      (await ask("HEAD", `/v2/${repository}/blobs/${digest}`)).status === 200,
    hasManifest: async (repository: string, reference: string): Promise<boolean> =>
      (await ask("HEAD", `/v2/${repository}/manifests/${reference}`)).status === 200,
    /** A whole image, every octet compared with its digest. @returns digest of its manifest @throws RefusedPush, Error */
    async pull(repository: string, reference: string): Promise<string> {
      const { bytes } = await must(200, "GET", `/v2/${repository}/manifests/${reference}`);
      const { config, layers } = JSON.parse(bytes.toString()) as Record<"config", { digest: string }> &
        Record<"layers", { digest: string }[]>;
      for (const { digest } of [config, ...layers]) await client.pullBlob(repository, digest);
      return digestOf(bytes);
    },
    async pullBlob(repository: string, digest: string): Promise<void> {
      const { bytes } = await must(200, "GET", `/v2/${repository}/blobs/${digest}`);
      if (digestOf(bytes) !== digest) throw new Error(`${digest} came with other octets`);
    },
    tags: async (repository: string): Promise<string[]> => {
      const { status, bytes } = await ask("GET", `/v2/${repository}/tags/list`);
      return status === 404 ? [] : (JSON.parse(bytes.toString()) as { tags: string[] }).tags;
    },
  };
  return client;
}
export type RegistryClient = ReturnType<typeof registryClient>;

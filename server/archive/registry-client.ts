import { mediaTypes as manifestTypes } from "../registry/manifest.ts";
import { ArchiveError, damaged } from "./archive-error.ts";
import { checked, type Descriptor, digestOf, hashFor, isDigest, longestManifestBytes } from "./manifest.ts";
import {
  collectBounded,
  mostTries,
  RegistryConnection,
  type RegistryOptions,
} from "./registry-connection.ts";

export interface StoredManifest {
  readonly octets: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

/** A signature as the extension has it (containers/image, docs/signature-protocols.md). */
export interface ExtensionSignature {
  readonly schemaVersion: 2;
  /** `<manifest digest>@<32 hexadecimal digits>` */
  readonly name: string;
  readonly type: "atomic";
  /** Base64. */
  readonly content: string;
}

const accepted = Object.values(manifestTypes).join(", ");

/** Speaks the OCI distribution protocol (distribution specification 1.1), as a client that pushes, pulls and signs. */
export class RegistryClient {
  readonly origin: string;
  readonly #connection: RegistryConnection;

  constructor(options: RegistryOptions) {
    this.#connection = new RegistryConnection(options);
    this.origin = this.#connection.origin;
  }

  /** @returns whether it takes signatures @throws ArchiveError TRANSFER_UNREACHABLE, TRANSFER_REFUSED, TRANSFER_UNAUTHORIZED */
  async ping(): Promise<{ takesSignatures: boolean }> {
    const { headers, body } = await this.#connection.send({ method: "GET", url: "/v2/", expected: [200] });
    await body.dump();
    return { takesSignatures: headers["x-registry-supports-signatures"] === "1" };
  }

  async hasBlob(repository: string, digest: string): Promise<boolean> {
    const url = `/v2/${repository}/blobs/${digest}`;
    const { statusCode, body } = await this.#connection.send({
      method: "HEAD",
      url,
      repository,
      expected: [200, 404],
    });
    await body.dump();
    return statusCode === 200;
  }

  async hasManifest(repository: string, reference: string, digest: string): Promise<boolean> {
    const { statusCode, headers, body } = await this.#connection.send({
      method: "HEAD",
      url: `/v2/${repository}/manifests/${reference}`,
      repository,
      headers: { accept: accepted },
      expected: [200, 404],
    });
    await body.dump();
    return statusCode === 200 && (reference === digest || headers["docker-content-digest"] === digest);
  }

  /** @param reference tag or digest @returns undefined: there is none */
  async manifest(repository: string, reference: string): Promise<StoredManifest | undefined> {
    const { statusCode, headers, body } = await this.#connection.send({
      method: "GET",
      url: `/v2/${repository}/manifests/${reference}`,
      repository,
      headers: { accept: accepted },
      expected: [200, 404],
    });
    if (statusCode === 404) {
      await body.dump();
      return undefined;
    }
    const octets = await collectBounded(body, longestManifestBytes, `${repository}:${reference}`);
    const digest = isDigest(reference) ? reference : digestOf(octets);
    if (`${digest.slice(0, 6)}:${hashFor(digest).update(octets).digest("hex")}` !== digest)
      throw damaged(`${this.origin}: ${repository}@${reference}`, "the registry gives another manifest");
    return {
      octets,
      digest,
      mediaType:
        String(headers["content-type"] ?? "")
          .split(";")[0]
          ?.trim() ?? "",
    };
  }

  /** Takes a blob of another repository of this registry along. @returns whether it is there now */
  async mountBlob(repository: string, digest: string, from: string): Promise<boolean> {
    const { statusCode, body } = await this.#connection.send({
      method: "POST",
      url: `/v2/${repository}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`,
      repository,
      expected: [201, 202],
    });
    await body.dump();
    return statusCode === 201;
  }

  /** @param octets asked for anew when the connection broke */
  async pushBlob(
    repository: string,
    { digest, size }: Descriptor,
    octets: () => AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#connection.tryAgain(async () => {
      const started = await this.#connection.once({
        method: "POST",
        url: `/v2/${repository}/blobs/uploads/`,
        repository,
        headers: { "content-length": "0" },
        expected: [202],
      });
      await started.body.dump();
      const location = new URL(String(started.headers["location"] ?? ""), `${this.origin}/v2/`);
      location.searchParams.set("digest", digest);
      const { body } = await this.#connection.once({
        method: "PUT",
        url: location.href,
        repository,
        headers: { "content-type": "application/octet-stream", "content-length": String(size) },
        body: size === 0 ? () => Buffer.alloc(0) : octets,
        expected: [201],
      });
      await body.dump();
    });
  }

  /** @param reference tag or digest */
  async putManifest(
    repository: string,
    reference: string,
    { octets, mediaType }: Pick<StoredManifest, "octets" | "mediaType">,
  ): Promise<void> {
    const { body } = await this.#connection.send({
      method: "PUT",
      url: `/v2/${repository}/manifests/${reference}`,
      repository,
      headers: { "content-type": mediaType },
      body: () => octets,
      expected: [201],
    });
    await body.dump();
  }

  /** A blob as it is in the registry; goes on where a connection broke. @throws ArchiveError also when its digest is another one */
  readBlob(repository: string, descriptor: Descriptor): AsyncGenerator<Uint8Array> {
    return checked(this.#blobParts(repository, descriptor), descriptor, `${this.origin}: ${repository}`);
  }

  async *#blobParts(repository: string, { digest, size }: Descriptor): AsyncGenerator<Uint8Array> {
    let done = 0;
    for (let failures = 0; ;) {
      const before = done;
      try {
        const { statusCode, body } = await this.#connection.send({
          method: "GET",
          url: `/v2/${repository}/blobs/${digest}`,
          repository,
          headers: done === 0 ? {} : { range: `bytes=${done}-` },
          expected: [200, 206],
        });
        // A registry that knows no ranges begins anew.
        let toSkip = statusCode === 206 ? 0 : done;
        for await (const chunk of body as AsyncIterable<Buffer>) {
          const rest = chunk.subarray(Math.min(toSkip, chunk.length));
          toSkip -= chunk.length - rest.length;
          done += rest.length;
          if (rest.length > 0) yield rest;
        }
        return;
      } catch (error) {
        if (error instanceof ArchiveError || done >= size) throw error;
        failures = done > before ? 1 : failures + 1;
        if (failures >= mostTries) throw this.#connection.unreachable(error);
        await this.#connection.pause(failures, 0);
      }
    }
  }

  /** All tags of a repository, also where the registry gives them in pages. */
  async tags(repository: string): Promise<string[]> {
    const found: string[] = [];
    for (let url = `/v2/${repository}/tags/list`; url !== "";) {
      const { statusCode, headers, body } = await this.#connection.send({
        method: "GET",
        url,
        repository,
        expected: [200, 404],
      });
      const answer = await this.#connection.json(body, `the tags of ${repository}`);
      if (statusCode === 404) return [];
      found.push(...((answer["tags"] as string[] | null) ?? []));
      const next = /<([^>]+)>\s*;\s*rel="?next/i.exec(String(headers["link"] ?? ""))?.[1];
      url = next === undefined ? "" : new URL(next, this.origin).href;
    }
    return found;
  }

  async signatures(repository: string, digest: string): Promise<readonly ExtensionSignature[]> {
    const url = `/extensions/v2/${repository}/signatures/${digest}`;
    const { statusCode, body } = await this.#connection.send({
      method: "GET",
      url,
      repository,
      expected: [200, 404],
    });
    const answer = await this.#connection.json(body, `the signatures of ${repository}@${digest}`);
    return statusCode === 404 ? [] : ((answer["signatures"] as ExtensionSignature[] | null) ?? []);
  }

  async putSignature(repository: string, digest: string, signature: ExtensionSignature): Promise<void> {
    const { body } = await this.#connection.send({
      method: "PUT",
      url: `/extensions/v2/${repository}/signatures/${digest}`,
      repository,
      headers: { "content-type": "application/json" },
      body: () => Buffer.from(JSON.stringify(signature)),
      expected: [201],
    });
    await body.dump();
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

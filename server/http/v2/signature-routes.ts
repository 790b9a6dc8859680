import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { SignatureMalformed } from "../../domain/error-catalogue.ts";
import { largestSignature, mostSignatures } from "../../domain/signature.ts";
import { parseSignaturePlace, plainPath } from "../../signatures/lookaside.ts";
import type { Signatures } from "../../signatures/signatures.ts";
import { cacheControl, type Exchange, smallBodyOf } from "./exchange.ts";

/** One request, after the router has looked at its path and at who asks. */
export interface SignatureRequest extends Pick<Exchange, "needsLogin"> {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly repository: string;
  /** As the path has it: `sha256:…` */
  readonly digest: string;
  /** The client waits for a word before it sends its body. */
  readonly expectsContinue: boolean;
}

/** The header of `GET /v2/` by which clients learn that signatures are here; they look nowhere else then. */
export const signatureSupport = { "x-registry-supports-signatures": "1" } as const;

/** Base64 and what is around it. */
const largestBody = Math.ceil(largestSignature / 3) * 4 + 4096;

const extensionForm = /^\/extensions\/v2\/(.{1,255})\/signatures\/([a-z0-9]+:[0-9a-f]{64,128})$/;

/** `/extensions/v2/<repository>/signatures/<digest>`. @param path from `plainPath` */
export function parseExtensionPath(
  path: string,
): Pick<SignatureRequest, "repository" | "digest"> | undefined {
  const [, repository, digest] = extensionForm.exec(path) ?? [];
  return repository === undefined || digest === undefined ? undefined : { repository, digest };
}

/**
 * The signature extension of containers/image (docs/signature-protocols.md there), by which `podman push --sign-by` works from anywhere,
 * and PUT of a lookaside path for signatures that were made elsewhere. Errors are thrown: the router tells them.
 */
export function createSignatureRoutes(signatures: Pick<Signatures, "add" | "list" | "octets">) {
  return {
    /** All signatures of a manifest; of one that nobody knows there are none. @param passedOn those that its upstream has */
    getExtension(asked: SignatureRequest, passedOn: readonly Buffer[] = []): void {
      const { response, repository, digest } = asked;
      const own = signatures.list(repository, digest).flatMap(({ id, position }) => {
        const octets = signatures.octets(repository, digest, position);
        return octets ? [extensionView(digest, id, octets)] : [];
      });
      const found = [
        ...own,
        ...passedOn.map((octets) => extensionView(digest, sha256(octets), octets)),
      ].slice(0, mostSignatures);
      const body = JSON.stringify({ signatures: found });
      response
        .writeHead(200, {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "cache-control": cacheControl(asked),
        })
        .end(body);
    },

    /** @param actor name of the token @throws RollcallError: SIGNATURE_… */
    async putExtension(asked: SignatureRequest, actor: string): Promise<void> {
      const { response, repository, digest } = asked;
      const octets = readExtensionBody(await signatureIn(asked, largestBody), digest);
      await signatures.add({ repository, digest, octets }, actor);
      response.writeHead(201, { "content-length": 0 }).end();
    },

    /** PUT of `/sigstore/<repository>@<algorithm>=<hex>/signature-<position>`. @throws RollcallError: SIGNATURE_… */
    async putLookaside(asked: SignatureRequest, position: number, actor: string): Promise<void> {
      const { response, repository, digest } = asked;
      const octets = await signatureIn(asked, largestSignature);
      const added = await signatures.add({ repository, digest, octets, position }, actor);
      response
        .writeHead(201, {
          "content-length": 0,
          location: `/sigstore/${repository}@${digest.replace(":", "=")}/signature-${added.position}`,
        })
        .end();
    },
  };
}
export type SignatureRoutes = ReturnType<typeof createSignatureRoutes>;

/** What a path of this extension is about, for the router. @param path without its query */
export function parseSignaturePath(path: string):
  | { readonly kind: "extension"; readonly repository: string; readonly digest: string }
  | {
      readonly kind: "lookaside";
      readonly repository: string;
      readonly digest: string;
      readonly position: number;
    }
  | undefined {
  const plain = plainPath(path);
  const extension = plain === undefined ? undefined : parseExtensionPath(plain);
  if (extension) return { kind: "extension", ...extension };
  const place = plain === undefined ? undefined : parseSignaturePlace(plain);
  return place && { kind: "lookaside", ...place };
}

const sha256 = (octets: Buffer) => createHash("sha256").update(octets).digest("hex");

function extensionView(digest: string, id: string, octets: Buffer): object {
  return {
    schemaVersion: 2,
    name: `${digest}@${id.slice(0, 32)}`,
    type: "atomic",
    content: octets.toString("base64"),
  };
}

/** @throws SignatureMalformed */
function readExtensionBody(body: Buffer, digest: string): Buffer {
  let sent: Partial<Record<"schemaVersion" | "name" | "type" | "content", unknown>> | null;
  try {
    sent = JSON.parse(body.toString("utf8")) as typeof sent;
  } catch {
    throw SignatureMalformed({ problem: "the request is not JSON" });
  }
  const { schemaVersion, name, type, content } = sent ?? {};
  if (schemaVersion !== 2 || type !== "atomic")
    throw SignatureMalformed({ problem: "it is not of schemaVersion 2 and type atomic" });
  if (typeof name !== "string" || !name.startsWith(`${digest}@`))
    throw SignatureMalformed({ problem: "its name is not the image's digest, @, and a name" });
  if (typeof content !== "string" || !/^[A-Za-z0-9+/]+={0,2}$/.test(content))
    throw SignatureMalformed({ problem: "its content is not base64" });
  return Buffer.from(content, "base64");
}

/** @throws SignatureMalformed when it is larger */
const signatureIn = (asked: SignatureRequest, limit: number): Promise<Buffer> =>
  smallBodyOf(asked, { what: "a signature", limit }, () =>
    SignatureMalformed({ problem: `it is larger than ${limit} octets` }),
  );

import { randomBytes } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ArchiveError } from "./archive-error.ts";
import { cancelled } from "./decompress.ts";
import type { Signer } from "./gpg.ts";
import { readManifest } from "./manifest.ts";
import { adviceOnMissing, type TaggedName, textOfName } from "./reference.ts";
import type { RegistryClient } from "./registry-client.ts";
import { claimOf, signedMessage } from "./simple-signing.ts";

export interface SignOptions {
  readonly registry: RegistryClient;
  readonly signer: Signer;
  /** Host that nodes pull by, which stands in the signature: `registry.local`. */
  readonly identityHost: string;
  readonly creator: string;
  /** Seconds of the epoch. */
  readonly now: () => number;
  /** Directory in the form of a lookaside (containers-registries.d(5)) that signatures are written to, in place of the registry. */
  readonly directory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (name: string, number: number, count: number) => void;
}

export interface SignResult {
  readonly name: string;
  readonly digest: string | undefined;
  /** Manifests: the tag's own and, of an index, one for each platform. */
  readonly signed: number;
  /** Signed by this key for this name before. */
  readonly present: number;
  readonly error: { readonly code: string; readonly message: string; readonly advice: string } | undefined;
}

/** Whatever is signed, the next one would fail likewise. */
const finalCodes: ReadonlySet<string> = new Set([
  "SIGN_FAILED",
  "SIGN_KEY_INVALID",
  "TRANSFER_CANCELLED",
  "TRANSFER_UNREACHABLE",
]);

/** containers/image tries no more signatures of one image. */
const mostSignatures = 128;

/**
 * Signs images of a registry: each manifest that a tag leads to, and all children of an index, since a node that pulls checks the manifest
 * of its own platform alone. What this key has signed for the same name is left as it is. One that fails does not hold up the others.
 */
export async function signImages(names: readonly TaggedName[], options: SignOptions): Promise<SignResult[]> {
  const results: SignResult[] = [];
  let ended: SignResult["error"];
  for (const name of names) {
    options.onProgress?.(textOfName(name), results.length + 1, names.length);
    const counts = { digest: undefined as string | undefined, signed: 0, present: 0 };
    try {
      if (!ended) await signImage(name, options, counts);
      results.push({ name: textOfName(name), ...counts, error: ended });
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      const { code, message, advice } = error;
      if (finalCodes.has(code)) ended = { code, message, advice };
      results.push({ name: textOfName(name), ...counts, error: { code, message, advice } });
    }
  }
  return results;
}

/** @throws ArchiveError SIGN_UNSUPPORTED where the registry takes no signatures from clients */
export async function requireSignatures(registry: RegistryClient): Promise<void> {
  const { takesSignatures } = await registry.ping();
  if (takesSignatures) return;
  throw new ArchiveError(
    "SIGN_UNSUPPORTED",
    `${registry.origin} takes no signatures (it does not say X-Registry-Supports-Signatures)`,
    "Write them for a lookaside server in its place: boot sign ... --to DIR; podsec's own lies in /var/sigstore/sigstore.",
  );
}

async function signImage(
  name: TaggedName,
  options: SignOptions,
  counts: { digest: string | undefined; signed: number; present: number },
): Promise<void> {
  const { registry, signal } = options;
  const digests = await manifestsOf(name, registry);
  // The children first: once the tag's own manifest is signed, all of it is.
  for (const digest of digests.toReversed()) {
    if (signal?.aborted) throw cancelled();
    const isNew = await signManifest(name, digest, options);
    if (isNew) counts.signed++;
    else counts.present++;
  }
  counts.digest = digests[0];
}

async function manifestsOf({ repository, tag }: TaggedName, registry: RegistryClient): Promise<string[]> {
  const place = `${registry.origin}: ${repository}:${tag}`;
  const found = await registry.manifest(repository, tag);
  if (!found)
    throw new ArchiveError("TRANSFER_NOT_FOUND", `${place} is not there`, adviceOnMissing(repository));
  const manifest = readManifest(found.octets, found.mediaType, place);
  const children = manifest.kind === "index" ? manifest.manifests.map(({ digest }) => digest) : [];
  return [...new Set([found.digest, ...children])];
}

/** @returns whether there was none of this key for this name */
async function signManifest(name: TaggedName, digest: string, options: SignOptions): Promise<boolean> {
  const { registry, signer, identityHost, creator, now, directory } = options;
  const reference = `${identityHost}/${textOfName(name)}`;
  const { repository } = name;
  if (directory === undefined) {
    const present = await registry.signatures(repository, digest);
    for (const { content } of present.slice(0, mostSignatures)) {
      const message = await signer.open(Buffer.from(content, "base64"));
      if (message && isClaim(message, reference, digest)) return false;
    }
  }
  const signature = await signer.sign(signedMessage({ reference, digest }, creator, now()));
  if (directory !== undefined) await writeSignature(directory, repository, digest, signature);
  else
    await registry.putSignature(repository, digest, {
      schemaVersion: 2,
      name: `${digest}@${randomBytes(16).toString("hex")}`,
      type: "atomic",
      content: signature.toString("base64"),
    });
  return true;
}

function isClaim(message: Buffer, reference: string, digest: string): boolean {
  try {
    const claim = claimOf(message);
    return claim.reference === reference && claim.digest === digest;
  } catch {
    return false;
  }
}

/** `<repository>@sha256=<hex>/signature-N`, N from 1 without gaps: clients stop at the first that is not there. */
async function writeSignature(
  root: string,
  repository: string,
  digest: string,
  signature: Buffer,
): Promise<void> {
  const directory = join(root, `${repository}@${digest.replace(":", "=")}`);
  try {
    await mkdir(directory, { recursive: true });
    const count = (await readdir(directory)).filter((name) => /^signature-\d+$/.test(name)).length;
    await writeFile(join(directory, `signature-${count + 1}`), signature, { flag: "wx" });
  } catch (error) {
    throw new ArchiveError(
      "ARCHIVE_NOT_WRITABLE",
      `${directory}: ${(error as Error).message}`,
      "Name a directory that you may write to with --to DIR.",
    );
  }
}

import { readFileSync, statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { ArchiveError } from "../archive/archive-error.ts";
import { packingOf } from "../archive/decompress.ts";
import { type Credentials, renewed, storedCredentials } from "../archive/registry-auth.ts";
import { RegistryClient } from "../archive/registry-client.ts";
import { RollcallError } from "../domain/errors.ts";
import { Refused } from "./client.ts";
import { formatBytes } from "./output.ts";
import { progressLine } from "./put-image.ts";
import type { Session } from "./session.ts";

export interface RegistryChoice {
  readonly registry?: string;
  readonly registryCa?: string;
}

/** Of each command that speaks to a registry. */
export const registryOptions: readonly (readonly [string, string])[] = [
  ["--registry <host[:port]>", "registry to speak to, or its URL; default: the server's own"],
  ["--registry-ca <file>", "PEM of the authority that the registry's certificate is of"],
];

/** What `boot image import` was given: images for containers, a directory with image.json, or the name of a known image. */
export async function isContainerArchive(source: string): Promise<boolean> {
  const found = statSync(source, { throwIfNoEntry: false });
  if (found?.isDirectory()) return !isThere(join(source, "image.json"));
  // A name is taken for a file only where the file is an archive.
  if (found?.isFile()) return source.includes("/") || (await packingOf(source)) !== undefined;
  return /\.(tar|tgz|txz|tar\.[a-z]+)$/.test(source);
}

const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

/** What `GET /registry` says. */
interface OwnRegistry {
  readonly url: string;
  readonly tlsUrl: string;
  readonly host: string;
  readonly aliases: readonly string[];
  readonly authority: string;
}

interface RegistryPlace {
  readonly origin: string;
  /** PEM of the authority of its certificate; undefined: one of the system's. */
  readonly authority: string | undefined;
  /** What nodes call it. */
  readonly host: string;
  readonly aliases: readonly string[];
}

/** Over plain HTTP on its own machine, where nobody listens, and else over TLS. */
const placeOf = ({ url, tlsUrl, host, aliases, authority }: OwnRegistry): RegistryPlace =>
  isOfThisMachine(new URL(url).hostname)
    ? { origin: url, authority: undefined, host, aliases }
    : { origin: tlsUrl, authority, host, aliases };

/** Does this name the server's own registry? @param registry as it was given: a host, with a port or not, or a URL */
function isOwnName(registry: string, { url, tlsUrl, host, aliases }: OwnRegistry): boolean {
  const [, scheme, name = ""] = /^(?:(https?):\/\/)?([^/]+)\/?$/.exec(registry.toLowerCase()) ?? [];
  const portOf = (text: string) => new URL(text).port || (text.startsWith("https:") ? "443" : "80");
  const ports = [
    ...(scheme === "https" ? [] : [portOf(url)]),
    ...(scheme === "http" ? [] : [portOf(tlsUrl)]),
  ];
  const names = [host, ...aliases].map((one) => one.toLowerCase());
  const address = new URL(url).hostname;
  const isHere = isOfThisMachine(address);
  const [, hostname = "", port] = /^(.*?)(?::(\d{1,5}))?$/.exec(name) ?? [];
  // A name of its own stands for it on whichever port; an address may have other registries on others.
  if (names.includes(name) || (names.includes(hostname) && port !== undefined && ports.includes(port)))
    return true;
  const isItsAddress =
    hostname === address || (isHere && (hostname === "localhost" || isOfThisMachine(hostname)));
  return isItsAddress && ports.includes(port ?? (scheme === "http" ? "80" : "443"));
}

/** The server's own registry, where what was named is that. Undefined: it is another one, or no server says. */
async function ownRegistryCalled(session: Session, registry: string): Promise<RegistryPlace | undefined> {
  const own = await session.client.get<OwnRegistry>("/registry").catch((error: unknown) => {
    if (error instanceof Refused || error instanceof RollcallError) return undefined;
    throw error;
  });
  return own && isOwnName(registry, own) ? placeOf(own) : undefined;
}

/** The server's own registry. @throws ArchiveError TRANSFER_ADDRESS_UNKNOWN */
async function ownRegistry(session: Session): Promise<RegistryPlace> {
  try {
    return placeOf(await session.client.get<OwnRegistry>("/registry"));
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "NOT_FOUND") throw error;
    throw new ArchiveError(
      "TRANSFER_ADDRESS_UNKNOWN",
      "this server does not say where its registry is",
      "Name the registry: --registry HOST[:PORT], or http://HOST:PORT where it speaks plain HTTP.",
    );
  }
}

const isOfThisMachine = (address: string): boolean =>
  address.startsWith("127.") ||
  Object.values(networkInterfaces()).some((addresses) => addresses?.some((one) => one.address === address));

/** Plain HTTP only where nobody can listen, unless it is written out. */
function originFrom(registry: string): string {
  const isWhole = /^https?:\/\/[^/\s]+\/?$/.test(registry);
  const isHere = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/.test(registry);
  const origin = isWhole ? registry.replace(/\/$/, "") : `${isHere ? "http" : "https"}://${registry}`;
  if (URL.canParse(origin) && new URL(origin).pathname === "/" && !registry.includes("@")) return origin;
  throw new ArchiveError(
    "TRANSFER_ADDRESS_UNKNOWN",
    `${JSON.stringify(registry.slice(0, 200))} is no address of a registry`,
    "Write it like registry.local, 10.0.0.1:5000 or http://10.0.0.1:5000, without the name of an image.",
  );
}

export interface OpenedRegistry {
  readonly registry: RegistryClient;
  /** What nodes call it: signatures name images by it. */
  readonly host: string;
  /** By which it may stand before the name of an image: what nodes call it, and where it is. */
  readonly names: readonly string[];
}

/** An answer of `POST /registry/credentials`. */
interface ShortLogin extends Credentials {
  readonly expiresInSeconds: number;
}

/** A credential is asked for anew when it has this left, ms: a request that begins with it must find it valid. */
const spareMs = 60_000;

/**
 * What the server's own administrator shows to the server's own registry: a credential of some minutes, again and again while an archive
 * of gigabytes is on its way. It is in memory alone.
 */
function shortCredentials({ client }: Session): (wasRefused: boolean) => Promise<Credentials> {
  const ask = async () => {
    const asked = Date.now();
    try {
      const { expiresInSeconds, ...login } = await client.post<ShortLogin>("/registry/credentials", {});
      return { ...login, until: asked + expiresInSeconds * 1000 };
    } catch (error) {
      // What the server refuses it refuses the next time too.
      throw error instanceof Refused
        ? new ArchiveError("TRANSFER_UNAUTHORIZED", error.message, error.advice)
        : error;
    }
  };
  return renewed(ask, { now: Date.now, spareMs });
}

const always = (credentials: Credentials) => () => Promise.resolve(credentials);

/**
 * The registry that a command speaks to. An API token goes to the server's own registry, by whatever name, or to one that was named
 * together with it (--token), and never elsewhere; without one the control socket vouches at the server's own. Other registries get what
 * `podman login` keeps.
 */
export async function openRegistry(
  session: Session,
  { registry, registryCa }: RegistryChoice,
  signal?: AbortSignal,
): Promise<OpenedRegistry> {
  const named = registry === undefined ? undefined : originFrom(registry);
  const own =
    registry === undefined ? await ownRegistry(session) : await ownRegistryCalled(session, registry);
  const place = own ?? {
    origin: named ?? "",
    authority: undefined,
    host: "registry.local",
    aliases: [],
  };
  const { origin, host, aliases } = place;
  const token = own ? session.token : session.givenToken;
  const stored =
    named === undefined || own !== undefined || token !== undefined
      ? undefined
      : storedCredentials(new URL(named).host, process.env);
  const credentials =
    token !== undefined
      ? always({ user: "token", password: token })
      : own
        ? shortCredentials(session)
        : stored && always(stored);
  let { authority } = place;
  try {
    if (registryCa !== undefined) authority = readFileSync(registryCa, "utf8");
  } catch (error) {
    throw new ArchiveError(
      "ARCHIVE_NOT_READABLE",
      `${registryCa} can't be read: ${(error as Error).message}`,
      "Look at the path and at who may read it.",
    );
  }
  const names = [
    host,
    ...aliases,
    new URL(origin).host,
    ...(named === undefined ? [] : [new URL(named).host]),
  ];
  return { registry: new RegistryClient({ origin, credentials, authority, signal }), host, names };
}

/** Runs with Ctrl-C as a way out that leaves nothing half done. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once("SIGINT", stop);
  try {
    return await work(abort.signal);
  } finally {
    process.removeListener("SIGINT", stop);
  }
}

/** One line that is rewritten on a terminal; elsewhere nothing is said but the result. */
export function transferProgress() {
  const isTerminal = process.stderr.isTTY === true;
  const line = progressLine(true);
  let shownAt = 0;
  return {
    show(text: string): void {
      // A terminal need not draw each of 64 KiB.
      if (!isTerminal || performance.now() - shownAt < 100) return;
      shownAt = performance.now();
      line.show(text);
    },
    end: () => isTerminal && line.end(),
  };
}

/** `40 % of 210 MB` */
export const partText = (doneBytes: number, totalBytes: number): string =>
  `${totalBytes === 0 ? 100 : Math.floor((doneBytes / totalBytes) * 100)} % of ${formatBytes(totalBytes)}`;

interface Failure {
  readonly name: string;
  readonly error: { readonly code: string; readonly message: string; readonly advice: string } | undefined;
}

/** The last column of a table of results; only where something failed. */
export const problemColumn = (results: readonly Pick<Failure, "error">[]): readonly string[] =>
  results.some(({ error }) => error !== undefined) ? ["problem"] : [];

/** Failures on standard error, each with what to do, and exit code 1; the rest is done. */
export function tellFailures(session: Session, results: readonly Failure[]): void {
  const failed = results.filter(({ error }) => error !== undefined);
  if (failed.length === 0) return;
  process.exitCode = 1;
  if (session.format !== "table") return;
  for (const { name, error } of failed) process.stderr.write(`${error?.code}: ${name}: ${error?.message}\n`);
  for (const advice of new Set(failed.map(({ error }) => error?.advice))) process.stderr.write(`${advice}\n`);
}

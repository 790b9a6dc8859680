/**
 * Where files come from: ordered, named routes, each of which opens what it knows and says `NotMine` to the rest.
 * The only file of the room that touches the file system.
 */
import { constants, type BigIntStats } from "node:fs";
import { open, realpath, type FileHandle } from "node:fs/promises";
import { join, sep } from "node:path";
import type { Ipv4 } from "../net/ipv4.ts";

export interface FileRequest {
  /** As asked, one character for each octet; a route cleans it as it needs (`cleanFileName`). */
  readonly file: string;
  readonly clientAddress: Ipv4;
  /** The address that was asked: what a generated file must point at for this client to reach us again. */
  readonly serverAddress: Ipv4;
}

/** One file for one transfer: what it holds does not change until it is closed. */
export interface TftpFile {
  readonly sizeBytes: number;
  /**
   * Octets from `offset`, which the caller does not write into.
   * @returns fewer octets than asked when the file became shorter since it was opened
   * @throws when it changed or can't be read: its parts would not belong together
   */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  close(): void | Promise<void>;
}

export const NotMine = Symbol("not mine");
export type NotMine = typeof NotMine;

export interface FileRoute {
  /** For the log: which route answered. */
  readonly name: string;
  /** @throws when the file is there and can't be read; the client then gets an ERROR without the reason */
  open(request: FileRequest): Promise<TftpFile | NotMine>;
}

/** The first route that knows the file. */
export async function openFirst(
  routes: readonly FileRoute[],
  request: FileRequest,
): Promise<{ route: string; file: TftpFile } | NotMine> {
  for (const route of routes) {
    const file = await route.open(request);
    if (file !== NotMine) return { route: route.name, file };
  }
  return NotMine;
}

/**
 * The name as a relative path in plain form: backslashes are slashes, leading and doubled slashes and `.` go away, and so
 * do the 0xFF and control octets that old ROMs leave at the end, where they take option 67 for a C string.
 * @returns undefined when no honest client asks for it: control characters, `..`, too long, or nothing left
 */
export function cleanFileName(asked: string): string | undefined {
  const name = asked.replace(/[\x00-\x1f\x7f\xff]+$/, "").replaceAll("\\", "/");
  if (/[\x00-\x1f\x7f]/.test(name)) return undefined;
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0 || parts.includes("..")) return undefined;
  const clean = parts.join("/");
  return clean.length <= 255 ? clean : undefined;
}

export function bufferFile(content: Uint8Array): TftpFile {
  return {
    sizeBytes: content.length,
    read: (offset, length) => content.subarray(offset, offset + length),
    close() {},
  };
}

/** Files that are made for each request, or lie in memory. `find` gets the cleaned name. */
export function bufferRoute(
  name: string,
  find: (file: string, request: FileRequest) => Uint8Array | undefined | Promise<Uint8Array | undefined>,
): FileRoute {
  return {
    name,
    async open(request) {
      const file = cleanFileName(request.file);
      const content = file === undefined ? undefined : await find(file, request);
      return content === undefined ? NotMine : bufferFile(content);
    },
  };
}

/**
 * The name without the folder of its own that a board asks in. A Raspberry Pi puts its serial number before every name, or
 * its MAC as the bootloader's TFTP_PREFIX=2 has it (firmware-quirk Q30).
 * @returns undefined for a name without such a folder
 */
export function withoutBoardFolder(name: string): string | undefined {
  return /^(?:[0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{2}(?:-[0-9a-f]{2}){5})\/(.+)$/i.exec(name)?.[1];
}

/** Each board has its own files where they are there, and shares all others: the same name without its folder. */
export function sharedBetweenBoards(route: FileRoute): FileRoute {
  return {
    name: route.name,
    async open(request) {
      const own = await route.open(request);
      if (own !== NotMine) return own;
      const name = cleanFileName(request.file);
      const shared = name === undefined ? undefined : withoutBoardFolder(name);
      return shared === undefined ? NotMine : route.open({ ...request, file: shared });
    },
  };
}

export interface DirectoryRouteOptions {
  readonly name?: string;
  /** Files up to this size are read at once and kept. Default 4 MiB. */
  readonly smallFileBytes?: number;
  /** What is kept of small files, all together. Default 64 MiB. */
  readonly cacheBytes?: number;
}

/**
 * Files below `root` whose cleaned name is allowed. A symlink is followed only within the root; directories, devices, pipes
 * and sockets are not files. A file is opened once for each transfer, so one that is replaced under the same name goes on
 * as it was, and one that is written in place ends the transfer with an ERROR.
 *
 * @param allowedNames relative names with slashes; undefined allows every file below the root
 */
export function directoryRoute(
  root: string,
  allowedNames: ReadonlySet<string> | undefined,
  options: DirectoryRouteOptions = {},
): FileRoute {
  const smallFileBytes = options.smallFileBytes ?? 4 * 1024 * 1024;
  const cache = createContentCache(options.cacheBytes ?? 64 * 1024 * 1024);
  return {
    name: options.name ?? "directory",
    async open(request) {
      const name = cleanFileName(request.file);
      if (name === undefined || (allowedNames !== undefined && !allowedNames.has(name))) return NotMine;
      const path = await resolveInside(root, name);
      const opened = path === undefined ? undefined : await openRegularFile(path);
      if (path === undefined || opened === undefined) return NotMine;
      const { handle, stats } = opened;
      if (stats.size > smallFileBytes) return handleFile(handle, stats);
      try {
        return bufferFile(await cache.get(contentKey(path, stats), () => readWhole(handle, stats)));
      } finally {
        await handle.close();
      }
    },
  };
}

/** The real path of a name, if it is there and lies below the root after every symlink is resolved. */
async function resolveInside(root: string, name: string): Promise<string | undefined> {
  try {
    const realRoot = await realpath(root);
    const path = await realpath(join(realRoot, name));
    return path.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep) ? path : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function openRegularFile(
  path: string,
): Promise<{ handle: FileHandle; stats: BigIntStats } | undefined> {
  let handle: FileHandle;
  try {
    // The path was real a moment ago: a symlink in its place now is an attack. A pipe must not block the opening.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
  const stats = await handle.stat({ bigint: true });
  if (stats.isFile()) return { handle, stats };
  await handle.close();
  return undefined;
}

/** ELOOP: a symlink where there was a file; ENXIO: a socket, or a pipe without a writer. */
function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return ["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ENXIO"].includes(code ?? "");
}

function contentKey(path: string, stats: BigIntStats): string {
  return `${path}\0${stats.ino}\0${stats.mtimeNs}\0${stats.ctimeNs}\0${stats.size}`;
}

function isUnchanged(before: BigIntStats, now: BigIntStats): boolean {
  // Not ctime: it changes as well when another file takes over the name, which does not touch what is open here.
  return before.size === now.size && before.mtimeNs === now.mtimeNs;
}

async function readWhole(handle: FileHandle, stats: BigIntStats): Promise<Uint8Array> {
  const content = await readFully(handle, 0, Number(stats.size));
  await refuseChanged(handle, stats);
  return content;
}

function handleFile(handle: FileHandle, stats: BigIntStats): TftpFile {
  return {
    sizeBytes: Number(stats.size),
    async read(offset, length) {
      const content = await readFully(handle, offset, length);
      await refuseChanged(handle, stats);
      return content;
    },
    close: () => handle.close(),
  };
}

/** @throws Error when the open file was written into: what was read before and after would not belong together */
async function refuseChanged(handle: FileHandle, before: BigIntStats): Promise<void> {
  if (!isUnchanged(before, await handle.stat({ bigint: true })))
    throw new Error("file changed while it was read");
}

async function readFully(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const content = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(content, filled, length - filled, offset + filled);
    if (bytesRead === 0) return content.subarray(0, filled);
    filled += bytesRead;
  }
  return content;
}

/** Contents by key, the least recently used go first; transfers that begin together share one reading. */
function createContentCache(maxBytes: number) {
  const kept = new Map<string, Uint8Array>();
  const loading = new Map<string, Promise<Uint8Array>>();
  let keptBytes = 0;

  function keep(key: string, content: Uint8Array): void {
    if (content.length > maxBytes) return;
    kept.set(key, content);
    keptBytes += content.length;
    for (const [oldestKey, oldest] of kept) {
      if (keptBytes <= maxBytes) break;
      kept.delete(oldestKey);
      keptBytes -= oldest.length;
    }
  }

  return {
    async get(key: string, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
      const found = kept.get(key);
      if (found !== undefined) {
        kept.delete(key);
        kept.set(key, found);
        return found;
      }
      const shared = loading.get(key);
      if (shared !== undefined) return shared;
      const promise = load();
      loading.set(key, promise);
      try {
        const content = await promise;
        keep(key, content);
        return content;
      } finally {
        loading.delete(key);
      }
    },
  };
}

import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { constants } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import {
  type Declared,
  type DeclaredDocument,
  type DeclaredObject,
  type DeclaredProblem,
  describeObject,
  identityOf,
} from "../domain/declared-object.ts";
import { ofFile } from "./declared-text.ts";
import { createDeclaredThread, type DeclaredParser } from "./declared-thread.ts";

/** Octets of a file. */
const largestFile = 1024 ** 2;
/** Documents of a directory, the items of Lists counted one by one. */
const mostDocuments = 2000;
/** Files of a directory, and their octets together. */
const mostFiles = 2000;
const mostOctets = 16 * 1024 ** 2;
/** A file that nobody has written to for so long is taken for whole, ms. */
const usualSettleMs = 2000;
/** A file that is written to for longer is told, ms. */
const longestWriteMs = 30_000;

export interface DeclaredReaderOptions {
  readonly clock: Clock;
  /** How long a file has to be as it is before it counts, ms; 0: it is read as it stands. */
  readonly settleMs?: DurationMs;
  /** Why an object can't be declared; undefined: it can. */
  readonly reasonAgainst?: (object: DeclaredObject) => string | undefined;
  readonly parser?: DeclaredParser;
}

/** A file, and what it declares as long as nothing newer of it counts. */
interface FileState {
  /** By which a file differs from what it was: its inode, size and times. */
  readonly stamp: string;
  /** Of the clock that never jumps: since when the stamp is this one, and since when what was read is no longer what is there. */
  readonly sinceMs: DurationMs;
  readonly changedMs: DurationMs | undefined;
  /** Stamp and digest of what was read. */
  readonly read: string | undefined;
  readonly digest: string | undefined;
  /** Of what was read: as text, or as JSON with all that its aliases stand for. */
  readonly octets: number;
  /** Another number for each other content. */
  readonly version: number;
  readonly documents: readonly DeclaredDocument[];
  /** What it had before, and may have in a place that can't be read. */
  readonly kept: readonly DeclaredDocument[];
  readonly problems: readonly DeclaredProblem[];
}

const unknown: FileState = {
  stamp: "",
  sinceMs: 0,
  changedMs: undefined,
  read: undefined,
  digest: undefined,
  octets: 0,
  version: 0,
  documents: [],
  kept: [],
  problems: [],
};

/**
 * Objects of Kubernetes from the files `*.yaml`, `*.yml` and `*.json` of a directory, sorted by name. What can't be read any more stays declared
 * as it was read last; a file that is gone does not.
 * @returns what reads them: the same value as long as the files say the same; only a file that changed is opened
 */
export function createDeclaredReader(
  directory: string,
  {
    clock,
    settleMs = usualSettleMs,
    reasonAgainst,
    parser = createDeclaredThread(clock),
  }: DeclaredReaderOptions,
): () => Promise<Declared> {
  let files = new Map<string, FileState>();
  /** Where files were found last. */
  let inhabited: string | undefined;
  let versions = 0;
  let last: { readonly state: string; readonly declared: Declared } | undefined;

  /** Undefined: what was read before stays. */
  async function namesIn(problems: DeclaredProblem[]): Promise<readonly string[] | undefined> {
    const keep = (reason: string) => {
      const rest = files.size > 0 ? "; what was read before stays declared" : "";
      problems.push(ofFile(directory, `${reason}${rest}`));
      return undefined;
    };
    try {
      const names = (await readdir(directory)).filter((name) => /^[^.].*\.(yaml|yml|json)$/.test(name));
      const { dev, ino } = await stat(directory, { bigint: true });
      const place = `${dev}:${ino}`;
      if (names.length > 0) inhabited = place;
      else if (inhabited !== undefined && inhabited !== place)
        return keep("it is another directory now, and empty: is what belongs here not mounted?");
      else
        problems.push(
          ofFile(directory, "no *.yaml, *.yml or *.json is in it: is what belongs here not mounted?"),
        );
      if (names.length > mostFiles)
        problems.push(ofFile(directory, `it has more than ${mostFiles} files; the others are left out`));
      return names.toSorted().slice(0, mostFiles);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return keep(
        code === "ENOENT"
          ? "there is no such directory: is it not mounted yet? Its files are read as soon as it is there"
          : `it can't be read (${code})`,
      );
    }
  }

  /** Looks at one file. */
  async function look(file: string, octetsLeft: number): Promise<{ state: FileState; octets: number }> {
    const path = join(directory, file);
    const known = files.get(file) ?? unknown;
    try {
      const facts = await stat(path, { bigint: true });
      const octets = Number(facts.size);
      if (!facts.isFile()) return { state: failed(known, file, "it is no file"), octets: 0 };
      if (octets > largestFile)
        return { state: failed(known, file, "it is larger than 1 MiB; divide it"), octets: 0 };
      if (octets > octetsLeft)
        return {
          state: failed(
            known,
            file,
            `the files before it have ${mostOctets >> 20} MiB already; it is left out`,
          ),
          octets: 0,
        };
      const stamp = stampOf(facts);
      if (known.read === stamp) return { state: known, octets: known.octets };
      const now = clock.monotonicMs();
      const seen =
        known.stamp === stamp ? known : { ...known, stamp, sinceMs: now, changedMs: known.changedMs ?? now };
      const isSettled = now - seen.sinceMs >= settleMs || clock.now() - Number(facts.mtimeMs) >= settleMs;
      const content = isSettled ? await readWhole(path, stamp) : undefined;
      if (content) {
        const state = await take(seen, file, content);
        return { state, octets: state.octets };
      }
      const isTold = now - (seen.changedMs ?? now) >= longestWriteMs;
      return { state: isTold ? failed(seen, file, "it is still being written to") : seen, octets };
    } catch (error) {
      return {
        state: failed(known, file, `it can't be read (${(error as NodeJS.ErrnoException).code})`),
        octets: 0,
      };
    }
  }

  /** What a file declares with another content. */
  async function take(seen: FileState, file: string, content: Buffer): Promise<FileState> {
    const read = { ...seen, read: seen.stamp, changedMs: undefined, octets: content.length };
    const digest = createHash("sha256").update(content).digest("base64");
    if (digest === seen.digest) return { ...read, octets: seen.octets };
    const text = decode(content);
    if (text === undefined) return { ...failed(read, file, "it is not UTF-8"), digest: undefined };
    const reading = await parser.parse(file, text);
    const documents = reading.documents.map(({ place, line, json, digest: of }) => ({
      file,
      place,
      line,
      digest: of,
      object: JSON.parse(json) as DeclaredObject,
    }));
    const there = new Set(documents.map(({ object }) => identityOf(object)));
    const isWhole = reading.problems.length === 0;
    const kept = isWhole
      ? []
      : [...seen.documents, ...seen.kept].filter(({ object }) => !there.has(identityOf(object)));
    const characters = reading.documents.reduce((sum, { json }) => sum + json.length, 0);
    versions++;
    return {
      ...read,
      digest,
      octets: Math.max(content.length, characters),
      version: versions,
      documents,
      kept,
      problems: withKept(reading.problems, kept.length),
    };
  }

  return async () => {
    /** By which a directory differs that could not be read. */
    const problems: DeclaredProblem[] = [];
    const names = await namesIn(problems);
    const found = new Map<string, FileState>();
    let octetsLeft = mostOctets;
    try {
      for (const file of names ?? []) {
        const { state, octets } = await look(file, octetsLeft);
        octetsLeft -= octets;
        found.set(file, state);
      }
    } finally {
      await parser.end();
    }
    if (names) files = found;
    const state = JSON.stringify([
      problems,
      [...files].map(([file, one]) => [file, one.version, one.problems]),
    ]);
    if (last?.state !== state)
      last = { state, declared: together([...files.values()], problems, reasonAgainst) };
    return last.declared;
  };
}

/** What was read of it before stays; it is read again as soon as it can be. */
function failed(known: FileState, file: string, reason: string): FileState {
  const count = known.documents.length + known.kept.length;
  return { ...known, read: undefined, digest: undefined, problems: withKept([ofFile(file, reason)], count) };
}

function withKept([first, ...others]: readonly DeclaredProblem[], count: number): DeclaredProblem[] {
  if (!first) return [];
  const rest =
    count === 0
      ? ""
      : `; of what the file had before, ${count === 1 ? "1 object stays" : `${count} objects stay`} declared`;
  return [{ ...first, reason: `${first.reason}${rest}` }, ...others];
}

const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats) =>
  [dev, ino, size, mtimeNs, ctimeNs].join(":");

/** The content of a file; undefined: somebody writes to it. */
async function readWhole(path: string, stamp: string): Promise<Buffer | undefined> {
  // Of a named pipe that nobody writes it would wait for ever.
  const handle: FileHandle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const before = await handle.stat({ bigint: true });
    if (stampOf(before) !== stamp) return undefined;
    const content = Buffer.alloc(Number(before.size));
    const { bytesRead } = await handle.read(content, 0, content.length, 0);
    const after = await handle.stat({ bigint: true });
    return bytesRead === content.length && stampOf(after) === stamp ? content : undefined;
  } finally {
    await handle.close();
  }
}

function decode(content: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}

/** What the files declare as a whole: each object once, and no more than can be looked at. */
function together(
  files: readonly FileState[],
  others: readonly DeclaredProblem[],
  reasonAgainst: DeclaredReaderOptions["reasonAgainst"],
): Declared {
  const known = new Map<string, DeclaredDocument>();
  const problems = [...others, ...files.flatMap((file) => file.problems)].slice(0, mostDocuments);
  const isKept = new Set(files.flatMap(({ kept }) => kept));
  for (const document of [...files.flatMap(({ documents }) => documents), ...isKept]) {
    const { file, place, line, object } = document;
    const other = known.get(identityOf(object));
    const refuse = (reason: string) =>
      problems.push({ file, place, line, object: describeObject(object), reason });
    const against = reasonAgainst?.(object);
    // It may have moved to another file.
    if (other && isKept.has(document)) continue;
    if (against !== undefined) refuse(against);
    else if (other) refuse(`it is declared in ${other.file} ${other.place} already`);
    else if (known.size < mostDocuments) known.set(identityOf(object), document);
    else {
      refuse(`there are more than ${mostDocuments} documents; this one and those after it are left out`);
      break;
    }
  }
  return { documents: [...known.values()], problems };
}

import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import {
  type Declared,
  type DeclaredDocument,
  type DeclaredProblem,
  describeObject,
  identityOf,
  readDeclared,
} from "../domain/declared-object.ts";
import { readYaml, splitYaml } from "../yaml/read-yaml.ts";

/** Octets of a file. */
const largestFile = 1024 ** 2;
/** An object as JSON, characters: what etcd takes in a request; aliases can make a small file as large as one likes. */
const largestObject = 1.5 * 1024 ** 2;
/** Documents of a directory, the items of Lists counted one by one. */
const mostDocuments = 2000;
/** Files of a directory, and their octets together. */
const mostFiles = 2000;
const mostOctets = 16 * 1024 ** 2;

/**
 * Objects of Kubernetes from the files `*.yaml`, `*.yml` and `*.json` of a directory, sorted by name.
 * @returns what reads them: the same value as long as the files say the same; only a file that changed is parsed
 */
export function createDeclaredReader(directory: string): () => Promise<Declared> {
  let parsed = new Map<string, { readonly text: string; readonly declared: Declared }>();
  let last: { readonly state: string; readonly declared: Declared } | undefined;

  return async () => {
    const known = parsed;
    parsed = new Map();
    /** By which a file differs that could not be read. */
    const problems: DeclaredProblem[] = [];
    let octets = 0;
    let isSame = true;
    for (const file of await namesIn(directory, problems)) {
      const read = await readLimited(join(directory, file), mostOctets - octets);
      if (read.text === undefined) {
        problems.push(ofFile(file, read.problem));
        continue;
      }
      octets += read.octets;
      const before = known.get(file);
      isSame &&= before?.text === read.text;
      parsed.set(
        file,
        before?.text === read.text ? before : { text: read.text, declared: await parse(file, read.text) },
      );
    }
    const state = JSON.stringify([[...parsed.keys()], problems]);
    if (!last || !isSame || last.state !== state)
      last = {
        state,
        declared: together(
          [...parsed.values()].map(({ declared }) => declared),
          problems,
        ),
      };
    return last.declared;
  };
}

const ofFile = (file: string, reason: string, line?: number, place?: string): DeclaredProblem => ({
  file,
  place,
  line,
  object: undefined,
  reason,
});

async function namesIn(directory: string, problems: DeclaredProblem[]): Promise<string[]> {
  try {
    const names = (await readdir(directory)).filter((name) => /^[^.].*\.(yaml|yml|json)$/.test(name));
    if (names.length > mostFiles)
      problems.push(ofFile(directory, `it has more than ${mostFiles} files; the others are left out`));
    return names.toSorted().slice(0, mostFiles);
  } catch (error) {
    problems.push(ofFile(directory, `it can't be read (${(error as NodeJS.ErrnoException).code})`));
    return [];
  }
}

/** The text of a file that is neither too large nor something that has no end. */
async function readLimited(
  path: string,
  octetsLeft: number,
): Promise<{ text: string; octets: number } | { text?: undefined; problem: string }> {
  try {
    // Of a named pipe that nobody writes it would wait for ever.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) return { problem: "it is no file" };
      if (facts.size > largestFile) return { problem: "it is larger than 1 MiB; divide it" };
      if (facts.size > octetsLeft)
        return { problem: `the files before it have ${mostOctets >> 20} MiB already; it is left out` };
      const content = Buffer.alloc(facts.size);
      const { bytesRead } = await handle.read(content, 0, facts.size, 0);
      const text = new TextDecoder("utf-8", { fatal: true }).decode(content.subarray(0, bytesRead));
      return { text, octets: bytesRead };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return {
      problem:
        code === "ERR_ENCODING_INVALID_ENCODED_DATA" ? "it is not UTF-8" : `it can't be read (${code})`,
    };
  }
}

async function parse(file: string, text: string): Promise<Declared> {
  const documents: DeclaredDocument[] = [];
  const problems: DeclaredProblem[] = [];
  // Saved on a full disk, or half copied.
  if (text.trim() === "") problems.push(ofFile(file, "it is empty"));
  for (const [index, { text: part, linesBefore }] of splitYaml(text).entries()) {
    const place = `#${index + 1}`;
    // A large file takes seconds, and machines that boot meanwhile wait for none of it.
    await setImmediate();
    try {
      // Numbers and the merge key as kubectl reads them.
      const yaml = readYaml(part, { isYaml11: true });
      const [fault] = yaml.problems;
      if (fault) {
        // What follows the colon may be a word of the file, and of a Secret.
        const [reason] = fault.message.split(": ");
        problems.push(ofFile(file, `YAML: ${reason}`, linesBefore + fault.line, place));
        continue;
      }
      if (yaml.value === undefined) continue;
      for (const reading of readDeclared(yaml.value)) {
        const [, item] = reading.path;
        const line = linesBefore + yaml.positionOf(reading.path.length > 0 ? reading.path : ["kind"]).line;
        const there = typeof item === "number" ? `${place} item ${item + 1}` : place;
        if (reading.object && JSON.stringify(reading.object).length > largestObject)
          problems.push(ofFile(file, "the object is larger than etcd takes (1.5 MiB)", line, there));
        else if (reading.object) documents.push({ file, place: there, line, object: reading.object });
        else problems.push(ofFile(file, reading.reason, line, there));
      }
    } catch {
      // The parser itself, at what is nested deeper than its stack.
      problems.push(ofFile(file, "it can't be read: is it nested too deep?", linesBefore + 1, place));
    }
  }
  return { documents, problems };
}

/** What the files declare as a whole: each object once, and no more than can be looked at. */
function together(files: readonly Declared[], others: readonly DeclaredProblem[]): Declared {
  const known = new Map<string, DeclaredDocument>();
  const problems = [...others, ...files.flatMap((declared) => declared.problems)].slice(0, mostDocuments);
  for (const document of files.flatMap((declared) => declared.documents)) {
    const { file, place, line, object } = document;
    const other = known.get(identityOf(object));
    const refuse = (reason: string) =>
      problems.push({ file, place, line, object: describeObject(object), reason });
    if (other) refuse(`it is declared in ${other.file} ${other.place} already`);
    else if (known.size < mostDocuments) known.set(identityOf(object), document);
    else {
      refuse(`there are more than ${mostDocuments} documents; this one and those after it are left out`);
      break;
    }
  }
  return { documents: [...known.values()], problems };
}

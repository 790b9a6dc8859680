import { createHash } from "node:crypto";
import { type DeclaredProblem, readDeclared } from "../domain/declared-object.ts";
import { readYaml, splitYaml } from "../yaml/read-yaml.ts";

/** Characters of an object as JSON: what etcd takes in a request. Aliases can make a small file as large as one likes. */
const largestObject = 1.5 * 1024 ** 2;
/** The same of all objects of a file. */
const largestObjects = 4 * 1024 ** 2;
/** Maps, lists, keys and values of a document. */
const mostNodes = 200_000;

/** What stands in a file. Objects are JSON, which costs whoever takes it from another thread the least. */
export interface TextReading {
  readonly documents: readonly {
    readonly place: string;
    readonly line: number;
    readonly json: string;
    /** Of the JSON. */
    readonly digest: string;
  }[];
  readonly problems: readonly DeclaredProblem[];
}

/** A problem of a file, or of a place in it whose object is not known. */
export const ofFile = (file: string, reason: string, line?: number, place?: string): DeclaredProblem => ({
  file,
  place,
  line,
  object: undefined,
  reason,
});

/** The objects in a file's text. A megabyte takes about a second. */
export function readDeclaredText(file: string, text: string): TextReading {
  const documents: TextReading["documents"][number][] = [];
  const problems: DeclaredProblem[] = [];
  let left = largestObjects;
  // Saved on a full disk, or half copied.
  if (text.trim() === "") problems.push(ofFile(file, "it is empty"));
  for (const [index, { text: part, linesBefore }] of splitYaml(text).entries()) {
    const place = `#${index + 1}`;
    try {
      // Numbers and the merge key as kubectl reads them.
      const yaml = readYaml(part, { isYaml11: true, mostNodes });
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
        const refuse = (reason: string) => problems.push(ofFile(file, reason, line, there));
        if (!reading.object) {
          refuse(reading.reason);
          continue;
        }
        const json = jsonWithin(reading.object, largestObject);
        if (json === undefined) refuse("the object is larger than etcd takes (1.5 MiB)");
        else if ((left -= json.length) < 0) {
          refuse(
            "the file's objects are more than 4 MiB, each alias counted as what it stands for; divide it",
          );
          return { documents, problems };
        } else
          documents.push({
            place: there,
            line,
            json,
            digest: createHash("sha256").update(json).digest("base64"),
          });
      }
    } catch {
      // The parser itself, at what is nested deeper than its stack.
      problems.push(ofFile(file, "it can't be read: is it nested too deep?", linesBefore + 1, place));
    }
  }
  return { documents, problems };
}

/** Undefined: it is longer. What aliases have made of it may be longer than any text, so that is looked at first. */
function jsonWithin(value: unknown, characters: number): string | undefined {
  if (charactersLeft(value, characters) < 0) return undefined;
  const json = JSON.stringify(value);
  return json.length > characters ? undefined : json;
}

/** No more than what is left beside the value as JSON; it ends where that is less than nothing. */
function charactersLeft(value: unknown, left: number): number {
  if (typeof value === "string") return left - value.length - 2;
  if (typeof value !== "object" || value === null) return left - 1;
  let rest = left - 2;
  for (const [key, inner] of Object.entries(value)) {
    if (rest < 0) break;
    rest = charactersLeft(inner, rest - (Array.isArray(value) ? 1 : key.length + 3));
  }
  return rest;
}

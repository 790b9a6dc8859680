import { readFileSync } from "node:fs";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import { readClassList, readStudentName } from "../domain/student-name.ts";

/**
 * The names that were meant: `anna boris`, `anna,boris`, `"Anna Kowalska"`, and all of a class list with `@group.txt` (`@-`: standard input).
 * @throws InvalidRequest
 */
export function expandNames(words: readonly string[], note: (text: string) => void = () => {}): string[] {
  const names = words.flatMap((word) => {
    if (!word.startsWith("@")) return word.split(",").map((name) => name.trim());
    const file = word.slice(1);
    const { names: listed, heading } = readClassList(readText(file));
    if (heading !== undefined)
      note(`The first line of ${file} (${heading}) names the columns, and is no student.`);
    if (listed.length === 0)
      throw InvalidRequest({
        problem: `${file} has no names in it`,
        advice:
          "It has a name a line, or a table whose first column is the name; lines with # in front say nothing.",
      });
    return listed;
  });
  const meant = names.filter((name) => name !== "");
  if (meant.length === 0)
    throw InvalidRequest({
      problem: "no student is named",
      advice: "Write names, or @FILE with a class list.",
    });
  return meant;
}

/** The same for students who are there: each as the server knows them, and none twice. @throws InvalidRequest */
export function knownNames(words: readonly string[]): string[] {
  // A name that is none is asked for as it stands: the server says that there is no such student.
  return [...new Set(expandNames(words).map((asked) => readStudentName(asked).name ?? asked))];
}

function readText(file: string): string {
  let octets: Buffer;
  try {
    octets = readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    throw InvalidRequest({
      problem: `${file} can't be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`,
      advice: "@FILE is the path of a class list, and @- the standard input.",
    });
  }
  // What Excel calls Unicode text.
  const encoding = octets[0] === 0xff && octets[1] === 0xfe ? "utf-16le" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(octets);
  } catch {
    throw InvalidRequest({
      problem: `${file} is not UTF-8, so its letters can't be told`,
      advice:
        "Save it as `CSV UTF-8` or plain text in UTF-8; `iconv -f CP1250 -t UTF-8` turns an older one over (CP1251: Cyrillic).",
    });
  }
}

/** A student's name as Kubernetes takes it, out of what stands in a class list. Pure. */

/** Length of a namespace's name and of a label's value (RFC 1123 s.2.1, a DNS label). */
const longestName = 63;
const labelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** How somebody is known from now on, or why not. */
export type NameReading =
  | { readonly asked: string; readonly name: string; readonly reason?: undefined }
  | {
      readonly asked: string;
      readonly name?: undefined;
      /** A sentence. */
      readonly reason: string;
      /** A name that would do. */
      readonly suggestion: string | undefined;
    };

/**
 * Cyrillic letters as passports have them: ICAO Doc 9303 part 3 s.6 B, with the letters of Belarusian and Ukrainian. The soft sign has none.
 */
const cyrillic: Readonly<Record<string, string>> = {
  а: "a",
  б: "b",
  в: "v",
  г: "g",
  ґ: "g",
  д: "d",
  е: "e",
  ё: "e",
  є: "ie",
  ж: "zh",
  з: "z",
  и: "i",
  і: "i",
  ї: "i",
  й: "i",
  к: "k",
  л: "l",
  м: "m",
  н: "n",
  о: "o",
  п: "p",
  р: "r",
  с: "s",
  т: "t",
  у: "u",
  ў: "u",
  ф: "f",
  х: "kh",
  ц: "ts",
  ч: "ch",
  ш: "sh",
  щ: "shch",
  ъ: "ie",
  ы: "y",
  ь: "",
  э: "e",
  ю: "iu",
  я: "ia",
};

/** Latin letters that are no letter with a mark upon it (Unicode has no decomposition of them). */
const latin: Readonly<Record<string, string>> = {
  ł: "l",
  ø: "o",
  đ: "d",
  ð: "d",
  þ: "th",
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ı: "i",
};

/** Blanks, and what stands between or inside of names: dashes, apostrophes, dots. */
const joint = /^[\s\-_.,/\u00a0\u2010-\u2015]$/u;
const dropped = /^['"`´()\u2018\u2019\u02bc\u200b\ufeff]$/u;

/** Letters as ASCII; undefined for one that this table does not have. */
function toAscii(letter: string): string | undefined {
  if (/^[a-z0-9]$/.test(letter)) return letter;
  if (joint.test(letter)) return "-";
  if (dropped.test(letter)) return "";
  const known = cyrillic[letter] ?? latin[letter];
  if (known !== undefined) return known;
  const base = letter.normalize("NFD").replaceAll(/\p{M}/gu, "");
  // A mark alone (the dot of a small İ) is no letter.
  return /^[a-z]*$/.test(base) ? base : undefined;
}

/** `Zoë Łącka` -> `zoe-lacka`: what a name comes to, letters that are not known left out. */
function spell(text: string): { readonly spelled: string; readonly unknown: readonly string[] } {
  const letters = Array.from(text.normalize("NFC").toLowerCase().normalize("NFC"));
  const unknown = letters.filter((letter) => toAscii(letter) === undefined);
  const spelled = letters
    .map((letter) => toAscii(letter) ?? "")
    .join("")
    .replaceAll(/-{2,}/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return { spelled, unknown };
}

const cut = (name: string, length = longestName) => name.slice(0, length).replaceAll(/-+$/g, "");

/** The namespace has the student's name: these are Kubernetes' own. */
const isReserved = (name: string) => name === "default" || name.startsWith("kube-");

/** The name that somebody is to have: of a DNS label as it is, of anything else by its letters. */
export function readStudentName(asked: string): NameReading {
  const refuse = (reason: string, suggestion?: string): NameReading => ({
    asked,
    reason,
    suggestion: suggestion === "" ? undefined : suggestion,
  });
  const { spelled, unknown } = spell(asked);
  if (unknown.length > 0)
    return refuse(
      `the letters ${[...new Set(unknown)].slice(0, 5).join(" ")} have no spelling that everybody agrees on: write the name in Latin letters`,
      cut(spelled),
    );
  if (spelled === "") return refuse("there is no letter in it");
  if (spelled.length > longestName)
    return refuse(
      `${spelled} has ${spelled.length} letters and a namespace ${longestName} at most`,
      cut(spelled),
    );
  if (isReserved(spelled))
    return refuse(`${spelled} is a namespace of Kubernetes' own`, cut(`student-${spelled}`));
  return { asked, name: spelled };
}

/** Whether this is a name as it stands, without a change. */
export const isStudentName = (text: string): boolean =>
  text.length <= longestName && labelPattern.test(text) && !isReserved(text);

/** All names of one call: two that come to the same are one too many, since they may well be two persons. */
export function readStudentNames(asked: readonly string[]): NameReading[] {
  const taken = new Map<string, string>();
  const readings = asked.map(readStudentName);
  const all = new Set(readings.map(({ name }) => name));
  return readings.map((reading) => {
    const { name } = reading;
    if (name === undefined) return reading;
    const first = taken.get(name);
    if (first === undefined) {
      taken.set(name, reading.asked);
      return reading;
    }
    let count = 2;
    const another = () => `${cut(name, longestName - 4)}-${count}`;
    while (taken.has(another()) || all.has(another())) count++;
    const suggestion = another();
    taken.set(suggestion, reading.asked);
    const reason =
      first === reading.asked
        ? "it stands in the list twice, and two persons can't share a namespace"
        : `it comes to ${name}, as ${first} does, and two persons can't share a namespace`;
    return { asked: reading.asked, reason, suggestion };
  });
}

/** Words over the first column of a table of persons, by which its first line is known to be no person. */
const headings = new Set(
  "name names student students login user username surname lastname last-name fullname full-name imie nazwisko uczen imia familiia fio student-ka studenty uchenik".split(
    " ",
  ),
);

export interface ClassList {
  readonly names: readonly string[];
  /** The first line where it was taken for the columns' names. */
  readonly heading: string | undefined;
}

/**
 * A class list: a name a line, or a table whose first column is the name (CSV with commas, semicolons or tabs; RFC 4180 quotes). Lines that
 * are blank or begin with # say nothing.
 */
export function readClassList(text: string): ClassList {
  const rows = text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\n|\r/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map(firstCell)
    .filter(({ cell }) => cell !== "");
  const [first] = rows;
  const isHeading = first !== undefined && first.hasMore && headings.has(spell(first.cell).spelled);
  return {
    names: (isHeading ? rows.slice(1) : rows).map(({ cell }) => cell),
    heading: isHeading ? first.cell : undefined,
  };
}

function firstCell(line: string): { readonly cell: string; readonly hasMore: boolean } {
  const quoted = /^"((?:[^"]|"")*)"\s*([,;\t]?)/.exec(line);
  if (quoted)
    return { cell: (quoted[1] ?? "").replaceAll('""', '"').trim(), hasMore: (quoted[2] ?? "") !== "" };
  const end = line.search(/[,;\t]/);
  return end === -1 ? { cell: line, hasMore: false } : { cell: line.slice(0, end).trim(), hasMore: true };
}

/** Names by a rule: `pc{n:02}`, `lab225-{seat}`; the words between braces are facts of the machine. */

export const namingWords = ["n", "seat", "group", "serial", "mac6", "switch", "port"] as const;
export type NamingWord = (typeof namingWords)[number];

/** What each word is for one machine; undefined: it has none. */
export type NamingFacts = Readonly<Partial<Record<Exclude<NamingWord, "n">, string | undefined>>>;

type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "word"; readonly word: NamingWord; readonly width: number };
export type NamingPattern = readonly Part[];

/** @returns the pattern, or what is wrong with it in one clause */
export function readNamingPattern(text: string): NamingPattern | string {
  const parts: Part[] = [];
  for (const [, literal, inner] of text.matchAll(/([^{}]+)|\{([^{}]*)\}|[{}]/g)) {
    if (literal !== undefined) {
      parts.push({ kind: "text", text: literal.toLowerCase() });
      continue;
    }
    if (inner === undefined) return "a brace is not closed, like in pc{n:02}";
    const [, name = "", width] = /^([a-z0-9]+)(?::0?([1-9]))?$/.exec(inner) ?? [];
    const word = namingWords.find((word) => word === name);
    if (!word || (width !== undefined && word !== "n"))
      return `{${inner.slice(0, 20)}} is unknown; there are {n}, {n:02}, ${namingWords
        .slice(1)
        .map((word) => `{${word}}`)
        .join(", ")}`;
    parts.push({ kind: "word", word, width: Number(width ?? 1) });
  }
  return parts;
}

/** True where each machine gets a name of its own, if its facts differ. */
export function tellsApart(pattern: NamingPattern): boolean {
  return pattern.some((part) => part.kind === "word" && part.word !== "group" && part.word !== "switch");
}

/** @returns the name, or which facts the machine lacks */
export function nameBy(
  pattern: NamingPattern,
  facts: NamingFacts,
  number: number,
): { readonly name: string } | { readonly missing: readonly string[] } {
  const missing: string[] = [];
  const name = pattern.map((part) => {
    if (part.kind === "text") return part.text;
    if (part.word === "n") return String(number).padStart(part.width, "0");
    const label = asLabel(facts[part.word] ?? "");
    if (label === "") missing.push(part.word);
    return label;
  });
  return missing.length > 0 ? { missing } : { name: name.join("") };
}

/** The letters and digits of a fact as a part of a host name: `Gi1/0/12` is gi1-0-12. */
function asLabel(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
}

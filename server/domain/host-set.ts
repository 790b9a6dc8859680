import { parseMac } from "../net/mac.ts";
import { InvalidHostSet } from "./error-catalogue.ts";
import { type Machine, naturalKey } from "./machine.ts";

/** One part of a host set, as written. */
interface Part {
  readonly text: string;
  readonly exclude: boolean;
}

/** A range like `s[01-12]x` may name this many machines at most; a typing error must not eat the memory. */
const maximumRange = 10_000;

function splitParts(text: string): Part[] {
  return text
    .split(/[\s,]+/)
    .filter((part) => part.length > 0)
    .map((part) =>
      part.startsWith("-") ? { text: part.slice(1), exclude: true } : { text: part, exclude: false },
    );
}

/**
 * Writes out the ranges of one word: `s[4-6]` is s4, s5, s6; `r[1-2]s[01-02]` is r1s01, r1s02, r2s01, r2s02; a list `s[4,7-8]`
 * can't be written here since a comma parts the set. Leading zeros are kept.
 * @throws InvalidHostSet
 */
export function expandRanges(word: string): string[] {
  const match = /\[([^\]]*)\]/.exec(word);
  if (!match) {
    if (/[[\]]/.test(word))
      throw InvalidHostSet({ part: word, reason: "a bracket is not closed, like in s[4-9]" });
    return [word];
  }
  const range = /^([0-9]{1,9})-([0-9]{1,9})$/.exec(match[1] ?? "");
  if (!range)
    throw InvalidHostSet({
      part: word,
      reason: "between brackets stands a range of numbers, like in s[4-9]",
    });
  const [, fromText = "", toText = ""] = range;
  const from = Number(fromText);
  const to = Number(toText);
  if (to < from)
    throw InvalidHostSet({ part: word, reason: `the range runs backwards: write s[${to}-${from}]` });
  if (to - from >= maximumRange)
    throw InvalidHostSet({ part: word, reason: `more than ${maximumRange} machines` });
  const before = word.slice(0, match.index);
  const rest = expandRanges(word.slice(match.index + match[0].length));
  const words: string[] = [];
  for (let number = from; number <= to; number++) {
    for (const after of rest) words.push(before + String(number).padStart(fromText.length, "0") + after);
    if (words.length > maximumRange)
      throw InvalidHostSet({ part: word, reason: `more than ${maximumRange} machines` });
  }
  return words;
}

/**
 * The machines that a host set names: names, ranges (`s[4-9]`), MACs, group names, `label=value`, parted by commas or blanks;
 * `-part` leaves some out, wherever it stands; a set of exclusions only begins with all machines.
 * @throws InvalidHostSet when a part names nothing: a typing error must not go by silently
 */
export function resolveHostSet(
  text: string,
  machines: readonly Machine[],
  groups: ReadonlySet<string> = new Set(),
): Machine[] {
  const parts = splitParts(text);
  if (parts.length === 0) throw InvalidHostSet({ part: text, reason: "it is empty" });
  // A range of thousands is looked up word by word.
  const byName = Map.groupBy(machines, ({ name }) => name);
  const byGroup = Map.groupBy(machines, ({ group }) => group);
  const chosen = new Set<Machine>();
  if (parts.every((part) => part.exclude)) for (const machine of machines) chosen.add(machine);
  for (const part of parts.filter((part) => !part.exclude))
    for (const machine of matching(part.text)) chosen.add(machine);
  for (const part of parts.filter((part) => part.exclude))
    for (const machine of matching(part.text)) chosen.delete(machine);
  return [...chosen]
    .map((machine) => ({ machine, key: naturalKey(machine.name) }))
    .sort((left, right) => (left.key < right.key ? -1 : 1))
    .map(({ machine }) => machine);

  /** A range names all that is missing in one sentence: `s6 to s9 are missing`. */
  function refuseMissing(word: string, names: readonly string[]): void {
    const isMissing = (name: string) => !byName.has(name) && !byGroup.has(name) && !groups.has(name);
    const missing = names.filter(isMissing);
    if (missing.length === 0) return;
    const runs: string[][] = [];
    names.forEach((name, index) => {
      if (!isMissing(name)) return;
      if (index > 0 && isMissing(names[index - 1] ?? "")) runs.at(-1)?.push(name);
      else runs.push([name]);
    });
    const told = runs
      .slice(0, 10)
      .map((run) => (run.length === 1 ? run[0] : `${run[0]} to ${run.at(-1)}`))
      .join(", ");
    throw InvalidHostSet({
      part: word,
      reason: `${told}${runs.length > 10 ? " and more" : ""} ${missing.length === 1 ? "is" : "are"} missing`,
    });
  }

  function matching(word: string): Machine[] {
    const named = byName.get(word) ?? [];
    const grouped = byGroup.get(word) ?? [];
    const isGroup = groups.has(word) || grouped.length > 0;
    if (named.length > 0 && isGroup)
      throw InvalidHostSet({
        part: word,
        reason: `a machine and a group are both called ${word}; name the machine by its MAC, or rename one of them`,
      });
    if (named.length > 0) return named;
    if (isGroup) return grouped;
    const mac = parseMac(word);
    if (mac) {
      const found = machines.filter((machine) => machine.macs.includes(mac));
      if (found.length === 0) throw InvalidHostSet({ part: word, reason: "no machine has this MAC" });
      return found;
    }
    const label = /^([^=]+)=(.*)$/.exec(word);
    if (label) {
      const [, key = "", value = ""] = label;
      const found = machines.filter(
        (machine) => Object.hasOwn(machine.labels, key) && machine.labels[key] === value,
      );
      if (found.length === 0) throw InvalidHostSet({ part: word, reason: "no machine has this label" });
      return found;
    }
    if (word === "all") return [...machines];
    const names = expandRanges(word);
    if (names.length === 1 && names[0] === word)
      throw InvalidHostSet({ part: word, reason: `no machine or group is called ${word}` });
    refuseMissing(word, names);
    return names.flatMap(matching);
  }
}

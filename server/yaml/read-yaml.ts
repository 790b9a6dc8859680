import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  type ScalarTag,
  stringify,
  visit,
} from "yaml";
import { expansionFault } from "./expansion.ts";

export interface YamlPosition {
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

export interface YamlText {
  /** The document as plain values; undefined when it can't be read or is empty. */
  readonly value: unknown;
  readonly problems: readonly (YamlPosition & { readonly message: string })[];
  /** A number or truth value as it is written: `1_000`, `0644`. */
  writtenAt(path: readonly (string | number)[]): string | undefined;
  /** Where a key or list item stands: the nearest enclosing one when it is not there itself. */
  positionOf(path: readonly (string | number)[]): YamlPosition;
}

/** `0644` is an octal number in YAML 1.1, and a decimal one in 1.2. */
const octalTag: ScalarTag = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  test: /^0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

/**
 * Reads one YAML 1.2 document (core schema, no custom tags; aliases are bounded against "billion laughs").
 * @param isYaml11 numbers as YAML 1.1 and Butane have them, and the merge key `<<`
 * @param mostNodes maps, lists, keys and values of a document; one with more has no value
 */
export function readYaml(
  text: string,
  { isYaml11 = false, mostNodes = Number.POSITIVE_INFINITY } = {},
): YamlText {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    // The library compares each key with all others of its map: 20,000 take seconds. See checkNodes.
    uniqueKeys: false,
    // It would write parts of the text to standard error.
    logLevel: "error",
    ...(isYaml11 ? { merge: true, customTags: (tags) => [octalTag, ...tags] } : {}),
  });
  const position = (offset: number): YamlPosition => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const problems = [...document.errors, ...document.warnings].map((error) => ({
    ...position(error.pos[0]),
    message: error.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "") ?? error.message,
  }));
  const faults = checkNodes(document, mostNodes);
  problems.push(...faults.map(({ offset, message }) => ({ ...position(offset), message })));
  problems.sort((left, right) => left.line - right.line || left.column - right.column);
  let value: unknown;
  if (problems.length === 0) {
    try {
      const fault = expansionFault(document, isYaml11);
      if (fault) problems.push({ ...position(fault.offset), message: fault.message });
      else value = document.toJS({ maxAliasCount: isYaml11 ? 5000 : 100 }) ?? undefined;
    } catch (error) {
      problems.push({ line: 1, column: 1, message: (error as Error).message });
    }
  }
  return {
    value,
    problems,
    writtenAt(path) {
      const node = document.getIn(path, true);
      return isScalar(node) ? node.source : undefined;
    },
    positionOf(path) {
      let offset = 0;
      let node: unknown = document.contents;
      for (const part of path) {
        if (isMap(node)) {
          const pair = node.items.find(
            (item) => isScalar(item.key) && String(item.key.value) === String(part),
          );
          if (!pair) break;
          if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
          node = pair.value;
        } else if (isCollection(node)) {
          node = node.items[Number(part)];
          if (isNode(node)) offset = node.range?.[0] ?? offset;
        } else break;
      }
      return position(offset);
    },
  };
}

/** What the parser takes and no reader of ours can: each key of a map once, by the text that it becomes, and none that is a map itself. */
function checkNodes(document: Document, mostNodes: number): { offset: number; message: string }[] {
  const faults: { offset: number; message: string }[] = [];
  const fault = (node: unknown, message: string) =>
    faults.push({ offset: isNode(node) ? (node.range?.[0] ?? 0) : 0, message });
  let nodes = 0;
  visit(document, (_, node) => {
    if (isNode(node) && ++nodes > mostNodes) {
      fault(node, `it has more than ${mostNodes} values`);
      return visit.BREAK;
    }
    if (!isMap(node)) return undefined;
    const known = new Set<string>();
    for (const { key } of node.items) {
      if (isCollection(key))
        fault(
          key,
          "a key is a list or map of its own; a template that was not filled in, or {{...}} without quotes?",
        );
      if (!isScalar(key)) continue;
      // As toJS writes it: `1` and `"1"` are one.
      const text = String((key.value ?? "") as string | number | boolean | symbol);
      if (known.has(text)) fault(key, "Map keys must be unique");
      known.add(text);
    }
    return undefined;
  });
  return faults;
}

/** A line that belongs to no document. */
const betweenDocuments = /^(\s*(#.*)?|%.*|\.\.\.\s*)$/;

/**
 * The documents of a stream, for {@link readYaml} one by one; those of nothing but comments are left out. `---` at the beginning of a line
 * ends a document wherever it stands (YAML 1.2.2 s.9.1.2).
 * @returns each with the line before its first
 */
export function splitYaml(text: string): { readonly text: string; readonly linesBefore: number }[] {
  const documents: { lines: string[]; linesBefore: number }[] = [{ lines: [], linesBefore: 0 }];
  for (const [index, line] of text.split("\n").entries())
    // What follows the marker in its line keeps its column.
    if (/^---(\s|$)/.test(line)) documents.push({ lines: [`   ${line.slice(3)}`], linesBefore: index });
    else documents.at(-1)?.lines.push(line);
  return documents
    .filter(({ lines }) => !lines.every((line) => betweenDocuments.test(line)))
    .map(({ lines, linesBefore }) => ({ text: lines.join("\n"), linesBefore }));
}

/**
 * Writes a value as YAML.
 * @param quoteTexts all texts stand in quotes, for readers of YAML 1.1, to whom a machine called `on` is a truth value
 */
export function writeYaml(value: unknown, { quoteTexts = false } = {}): string {
  return stringify(value, {
    lineWidth: 0,
    ...(quoteTexts ? { defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" } : {}),
  });
}

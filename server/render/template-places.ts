import type { TextPlace } from "./document-fault.ts";

/** Handlebars' tree, as far as it is looked at here. */
export interface MarkedNode {
  type: string;
  loc: { start: { line: number; column: number } };
  body?: MarkedNode[];
  program?: MarkedNode;
  inverse?: MarkedNode;
  value?: unknown;
  original?: unknown;
}

/** Noncharacters of Unicode, which no document has. */
const opening = "\uFDD0";
const closing = "\uFDD1";
const markOf = ({ line, column }: TextPlace, kind: "text" | "value") =>
  `${opening}${line}:${column}:${kind}${closing}`;

/** Puts a mark with its place before each piece of a template, so that {@link readMarks} can tell where a rendered text came from. */
export function addMarks(node: MarkedNode): void {
  node.body = (node.body ?? []).flatMap((statement) => {
    const { line, column } = statement.loc.start;
    if (statement.type === "ContentStatement") {
      markText(statement);
      return [statement];
    }
    if (statement.program) addMarks(statement.program);
    if (statement.inverse) addMarks(statement.inverse);
    if (statement.type !== "MustacheStatement") return [statement];
    const value = markOf({ line, column: column + 1 }, "value");
    return [{ type: "ContentStatement", loc: statement.loc, value, original: value }, statement];
  });
}

/** Handlebars has taken white space off both ends of `original` where a block stands alone on its line. */
function markText(statement: MarkedNode): void {
  const { start } = statement.loc;
  const original = String(statement.original);
  const value = String(statement.value);
  const dropped = original.slice(0, Math.max(0, original.indexOf(value))).split("\n");
  let line = start.line + dropped.length - 1;
  const column = (dropped.length === 1 ? start.column : 0) + (dropped.at(-1) ?? "").length + 1;
  const [first = "", ...rest] = value.split("\n");
  statement.value = [
    markOf({ line, column }, "text") + first,
    ...rest.map((text) => `\n${markOf({ line: ++line, column: 1 }, "text")}${text}`),
  ].join("");
}

/** @returns the text without marks, and for a place in it the place in the template that it came from */
export function readMarks(marked: string): { text: string; placeOf(place: TextPlace): TextPlace } {
  const marks: { offset: number; place: TextPlace; isValue: boolean }[] = [];
  let text = "";
  for (const piece of marked.split(opening)) {
    const [, line, column, kind] = /^(\d+):(\d+):(\w+)/.exec(piece) ?? [];
    if (line !== undefined)
      marks.push({
        offset: text.length,
        place: { line: Number(line), column: Number(column) },
        isValue: kind === "value",
      });
    text += piece.slice(piece.indexOf(closing) + 1);
  }
  return {
    text,
    placeOf({ line, column }) {
      const before = text.split("\n").slice(0, line - 1);
      const offset = before.reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
      const mark = marks.findLast((one) => one.offset <= offset);
      if (!mark) return { line, column };
      // Inside a value, its `{{` is the place.
      return mark.isValue
        ? mark.place
        : { line: mark.place.line, column: mark.place.column + offset - mark.offset };
    },
  };
}

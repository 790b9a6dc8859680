import { writeYaml } from "../yaml/read-yaml.ts";
import { type Paint, plainPaint } from "./colour.ts";

export type OutputFormat = "table" | "json" | "yaml";

/** A table as data: what `--output table` draws, beside the value that `json` and `yaml` print. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null | undefined)[])[];
  /** Said in place of an empty table. */
  readonly empty: string;
}

/** Control and bidirectional characters of machines' own strings must not reach the terminal. */
export function safeText(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "\u{fffd}");
}

/** The same for texts of several lines. */
export function safeLines(text: string): string {
  return text.split("\n").map(safeText).join("\n");
}

/** Columns whose words are phases or the like, and have colours. */
const paintedColumns: ReadonlySet<string> = new Set(["phase", "state"]);

/** No column is made narrower than this. */
const narrowest = 16;
const gap = 2;

/** Widths with which a table fits: the widest columns give way. @param room characters of a line */
function fittingWidths(widths: readonly number[], room: number): number[] {
  const fitting = [...widths];
  const total = () => fitting.reduce((sum, width) => sum + width, gap * (fitting.length - 1));
  while (total() > room) {
    const widest = Math.max(...fitting);
    if (widest <= narrowest) break;
    fitting[fitting.indexOf(widest)] = widest - 1;
  }
  return fitting;
}

/** Lines of whole words; one that is longer than a line, such as a URL, stays whole, so that it can be copied. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/**
 * Columns padded to their widest cell; the last one is not padded.
 * @param room characters of a line of the terminal: longer cells go on below; undefined: each row is one line, for programs
 */
export function formatTable(
  { columns, rows, empty }: Table,
  paint: Paint = plainPaint,
  room?: number,
): string {
  if (rows.length === 0) return `${empty}\n`;
  const cells = [
    columns.map((name) => name.toUpperCase()),
    ...rows.map((row) => row.map((cell) => safeText(String(cell ?? "-")))),
  ];
  const natural = columns.map((_, index) => Math.max(...cells.map((row) => (row[index] ?? "").length)));
  const widths = room === undefined ? natural : fittingWidths(natural, room);
  const isPainted = columns.map((name) => paintedColumns.has(name));
  const line = (parts: readonly string[], mayPaint: boolean) =>
    parts
      .map((part, index) => {
        const padded = index === parts.length - 1 ? part : part.padEnd(widths[index] ?? 0);
        return mayPaint && isPainted[index] ? paint(padded) : padded;
      })
      .join(" ".repeat(gap));
  const text = cells.flatMap((row, number) => {
    const isWhole = row.every((cell, index) => cell.length <= (widths[index] ?? 0));
    if (isWhole) return [line(row, number > 0)];
    const parts = row.map((cell, index) => wrapped(cell, widths[index] ?? 0));
    const height = Math.max(...parts.map(({ length }) => length));
    return Array.from({ length: height }, (_, at) =>
      line(
        parts.map((part) => part[at] ?? ""),
        number > 0,
      ).trimEnd(),
    );
  });
  return `${text.join("\n")}\n`;
}

export function formatValue(value: unknown, format: "json" | "yaml"): string {
  if (format === "yaml") return safeLines(writeYaml(value));
  return `${escapeInvisible(JSON.stringify(value, null, 2))}\n`;
}

/** One line of JSON. */
export function formatLine(value: unknown): string {
  return `${escapeInvisible(JSON.stringify(value))}\n`;
}

/** JSON escapes what is below U+0020 by itself; other invisible characters stand in strings only, so they may be escaped too. */
function escapeInvisible(json: string): string {
  return json.replaceAll(/[\u007f-\u009f\p{Cf}]/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`,
    ).join(""),
  );
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** `3 s`, `4 min`, `2 h`, `5 d` */
export function formatAge(iso: string | null, now: number): string {
  if (iso === null) return "never";
  const seconds = Math.max(0, Math.round((now - Date.parse(iso)) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

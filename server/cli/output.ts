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

/** Columns padded to their widest cell; the last one is not padded. */
export function formatTable({ columns, rows, empty }: Table, paint: Paint = plainPaint): string {
  if (rows.length === 0) return `${empty}\n`;
  const cells = [
    columns.map((name) => name.toUpperCase()),
    ...rows.map((row) => row.map((cell) => safeText(String(cell ?? "-")))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => (row[index] ?? "").length)));
  return (
    cells
      .map((row, line) =>
        row
          .map((cell, index) => {
            const padded = index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0);
            return line > 0 && paintedColumns.has(columns[index] ?? "") ? paint(padded) : padded;
          })
          .join("  "),
      )
      .join("\n") + "\n"
  );
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

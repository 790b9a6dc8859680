import { createHostList, type HostList, type ListedHost } from "./listed-host.ts";

/**
 * CSV as spreadsheets write it: RFC 4180, with `,`, `;` or a tab between the fields. Read by hand: a library would be a dependency for
 * one page, and none of them tells the line of each mistake in a quoted field.
 */

export interface CsvRecord {
  readonly line: number;
  readonly fields: readonly string[];
}

/** What is wrong with the text as CSV, where. */
export class CsvFault extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** The delimiter that the header line has most of, outside of quotes. */
export function delimiterOf(header: string): string {
  const bare = header.replaceAll(/"[^"]*"/g, "");
  const count = (one: string) => bare.split(one).length - 1;
  return [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
}

/** The records of a text, one by one; lines with nothing in them are none. @throws CsvFault */
export function* readCsv(text: string, delimiter: string): Generator<CsvRecord> {
  let at = 0;
  let line = 1;
  while (at < text.length) {
    const begun = line;
    const fields: string[] = [];
    for (;;) {
      const field = text[at] === '"' ? quoted() : bare();
      fields.push(field);
      if (text[at] !== delimiter) break;
      at++;
    }
    if (text[at] === "\r") at++;
    if (text[at] === "\n") at++;
    line++;
    if (fields.length > 1 || fields[0]?.trim() !== "") yield { line: begun, fields };
  }

  function bare(): string {
    let end = at;
    while (end < text.length && text[end] !== delimiter && text[end] !== "\n" && text[end] !== "\r") {
      if (text[end] === '"')
        throw new CsvFault(line, "a quote stands inside a field that does not begin with one");
      end++;
    }
    const field = text.slice(at, end);
    at = end;
    return field;
  }

  function quoted(): string {
    const begun = line;
    let field = "";
    for (at++; ;) {
      const end = text.indexOf('"', at);
      if (end < 0) throw new CsvFault(begun, "a quote is not closed");
      const part = text.slice(at, end);
      line += part.split("\n").length - 1;
      field += part;
      at = end + 1;
      if (text[at] !== '"') break;
      field += '"';
      at++;
    }
    if (at < text.length && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r")
      throw new CsvFault(line, "something stands between a closing quote and the end of its field");
    return field;
  }
}

type Column = "name" | "mac" | "address" | "seat" | "row" | "column" | "group" | "uuid" | "serial" | "labels";

/** What people call our columns; compared without case, blanks, hyphens and underscores. */
const columnNames: Readonly<Record<Column, readonly string[]>> = {
  name: ["name", "hostname", "host", "machine", "computer", "computername", "pc"],
  mac: ["mac", "macs", "macaddress", "macaddresses", "hwaddr", "hardwareaddress", "ethernet", "ether"],
  address: ["address", "ip", "ipv4", "ipaddress", "ipv4address"],
  seat: ["seat", "place", "desk"],
  row: ["row"],
  column: ["column", "col"],
  group: ["group", "room", "lab"],
  uuid: ["uuid", "guid", "smbiosuuid"],
  serial: ["serial", "serialnumber", "servicetag", "sn"],
  labels: ["labels", "label", "tags"],
};
const columnByName = new Map(
  (Object.keys(columnNames) as Column[]).flatMap((column) =>
    columnNames[column].map((name) => [name, column] as const),
  ),
);

export function columnOf(header: string): Column | undefined {
  return columnByName.get(header.toLowerCase().replaceAll(/[\s_.-]/g, ""));
}

/** `room=225;os=alt`, also with commas or blanks. @returns undefined where it is not */
function readLabels(text: string): Record<string, string> | undefined {
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const part of text.split(/[;,\s]+/)) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const key = part.slice(0, Math.max(0, at));
    if (!/^[A-Za-z0-9._/-]{1,63}$/.test(key) || part.length - at > 120) return undefined;
    labels[key] = part.slice(at + 1);
  }
  return { ...labels };
}

export function readCsvList(text: string): HostList {
  const list = createHostList();
  const header =
    text
      .slice(0, 10_000)
      .split(/\r?\n/)
      .find((line) => line.trim() !== "") ?? "";
  let columns: (Column | undefined)[] | undefined;
  try {
    for (const { line, fields } of readCsv(text, delimiterOf(header))) {
      if (list.isFull) break;
      if (columns) hostOf(line, fields, columns);
      else columns = readHeader(line, fields);
      if (columns.length === 0) break;
    }
  } catch (error) {
    if (!(error instanceof CsvFault)) throw error;
    list.problem(error.line, error.message);
  }
  return list;

  function readHeader(line: number, fields: readonly string[]): (Column | undefined)[] {
    const found = fields.map(columnOf);
    if (!found.includes("mac") && !found.includes("name")) {
      list.problem(line, "the first line must name the columns, `mac` or `name` among them");
      return [];
    }
    found.forEach((column, index) => {
      if (column === undefined) list.ignore(`column ${fields[index]?.trim() || index + 1}`);
      else if (column !== "mac" && found.indexOf(column) !== index)
        list.problem(
          line,
          `two columns are its ${column}: ${fields[found.indexOf(column)]} and ${fields[index]}`,
        );
    });
    return found;
  }

  function hostOf(line: number, fields: readonly string[], columns: readonly (Column | undefined)[]): void {
    if (fields.every((field) => field.trim() === "")) return;
    if (fields.length > columns.length) {
      list.problem(
        line,
        `it has ${fields.length} fields and the header ${columns.length}; quote a field with the delimiter in it`,
      );
      return;
    }
    const text = (column: Column) => {
      const value = fields[columns.indexOf(column)]?.trim();
      return value === "" ? undefined : value;
    };
    const macs = columns.flatMap((column, index) =>
      column === "mac" ? (fields[index] ?? "").split(/[\s,;|]+/).filter((mac) => mac !== "") : [],
    );
    const labels = columns.includes("labels") ? readLabels(text("labels") ?? "") : {};
    if (labels === undefined) {
      list.problem(line, "labels are written like room=225;os=alt");
      return;
    }
    const host: ListedHost = {
      line,
      name: text("name"),
      macs,
      address: text("address"),
      group: text("group"),
      seat: text("seat"),
      row: text("row"),
      column: text("column"),
      uuid: text("uuid"),
      serial: text("serial"),
      labels: Object.keys(labels).length > 0 ? labels : undefined,
    };
    list.host(host);
  }
}

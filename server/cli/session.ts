import { type Client, createClient } from "./client.ts";
import { formatTable, formatValue, type OutputFormat, type Table } from "./output.ts";

/** What every command gets: the server, and where its words go. */
export interface Session {
  readonly client: Client;
  readonly format: OutputFormat;
  readonly isTerminal: boolean;
  /** Prints the answer in the chosen format. */
  show(value: unknown, table: () => Table | string): void;
  /** A sentence about what was done; only where people read. */
  say(text: string): void;
}

export interface SessionOptions {
  readonly server?: string;
  readonly token?: string;
  readonly data?: string;
  readonly output?: OutputFormat;
}

export function createSession(
  options: SessionOptions,
  environment: Readonly<Record<string, string | undefined>>,
): Session {
  const dataDirs =
    options.data !== undefined
      ? [options.data]
      : [environment["ROLLCALL_DATA_DIR"] ?? "./data", "/var/lib/rollcall"];
  const client = createClient({
    server: options.server ?? environment["ROLLCALL_SERVER"],
    token: options.token ?? environment["ROLLCALL_TOKEN"],
    dataDirs,
  });
  const isTerminal = process.stdout.isTTY === true;
  const format = options.output ?? "table";
  return {
    client,
    format,
    isTerminal,
    show(value, table) {
      if (format !== "table") return void process.stdout.write(formatValue(value, format));
      const drawn = table();
      process.stdout.write(typeof drawn === "string" ? drawn : formatTable(drawn));
    },
    say(text) {
      if (format === "table") process.stdout.write(`${text}\n`);
    },
  };
}

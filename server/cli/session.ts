import { join, resolve } from "node:path";
import { root } from "../platform/checkout.ts";
import { type Client, createClient } from "./client.ts";
import { colourPaint, mayColour, type Paint, plainPaint } from "./colour.ts";
import { configFiles } from "./config-files.ts";
import { formatTable, formatValue, type OutputFormat, type Table } from "./output.ts";

/** Characters of a line of the terminal; undefined: it is none. */
const lineRoom = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns : undefined);

/** What every command gets: the server, and where its words go. */
export interface Session {
  readonly client: Client;
  /** API token, wherever it was given. */
  readonly token: string | undefined;
  /** The same, only if it stands on the command line. */
  readonly givenToken: string | undefined;
  readonly format: OutputFormat;
  readonly isTerminal: boolean;
  /** Colours words where they may be. */
  readonly paint: Paint;
  /** Prints the answer in the chosen format. */
  show(value: unknown, table: () => Table | string): void;
  /** A sentence about what was done; only where people read. */
  say(text: string): void;
  /** The same with what a program reads in its place. */
  done(text: string, value: unknown): void;
}

export interface SessionOptions {
  readonly server?: string;
  readonly token?: string;
  readonly data?: string;
  readonly output?: OutputFormat;
  readonly overrideExam?: boolean;
}

/**
 * Where this machine's server may have its control socket. A directory that was named is the only one: another server must not be
 * taken for the one that was meant.
 */
export async function dataDirectories(
  named: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const chosen = named ?? environment["ROLLCALL_DATA_DIR"];
  if (chosen !== undefined) return [chosen];
  const places = [await configuredDataDir(), "./data", join(root, "data"), "/var/lib/rollcall"];
  return [...new Set(places.filter((place) => place !== undefined).map((place) => resolve(place)))];
}

/** `dataDir` of the config that `boot serve` would load here; a config that can't be read is `boot config check`'s matter. */
async function configuredDataDir(): Promise<string | undefined> {
  // Loaded only here: it brings hundreds of files along, and most commands are told where to ask.
  const { loadConfig } = await import("../config/load.ts");
  try {
    return loadConfig({ defaultFiles: configFiles, environment: {}, overrides: [] }).config.dataDir;
  } catch {
    return undefined;
  }
}

export function createSession(
  options: SessionOptions,
  environment: Readonly<Record<string, string | undefined>>,
): Session {
  const token = options.token ?? environment["ROLLCALL_TOKEN"];
  const client = createClient({
    server: options.server ?? environment["ROLLCALL_SERVER"],
    token,
    overridesExam: options.overrideExam === true,
    dataDirs: () => dataDirectories(options.data, environment),
  });
  const isTerminal = process.stdout.isTTY === true;
  const format = options.output ?? "table";
  const paint = mayColour(isTerminal, environment) ? colourPaint : plainPaint;
  return {
    client,
    token,
    givenToken: options.token,
    format,
    isTerminal,
    paint,
    show(value, table) {
      if (format !== "table") return void process.stdout.write(formatValue(value, format));
      const drawn = table();
      process.stdout.write(typeof drawn === "string" ? drawn : formatTable(drawn, paint, lineRoom()));
    },
    say(text) {
      if (format === "table") process.stdout.write(`${text}\n`);
    },
    done(text, value) {
      process.stdout.write(format === "table" ? `${text}\n` : formatValue(value, format));
    },
  };
}

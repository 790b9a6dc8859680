import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { createDeclaredReader } from "../../server/config/declared-files.ts";
import { readDeclaredText } from "../../server/config/declared-text.ts";
import type { DeclaredParser } from "../../server/config/declared-thread.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { temporaryDirectory } from "./samples.ts";

export const namespace = (name: string) => `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n`;

export function directoryOf(t: Test, files: Readonly<Record<string, string | Uint8Array>>): string {
  const directory = temporaryDirectory(t);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

/** Reads in this thread. */
export const parser: DeclaredParser = {
  parse: async (file, text) => readDeclaredText(file, text),
  end: async () => undefined,
};

/** Reads files as they stand. */
export const readerOf = (directory: string) =>
  createDeclaredReader(directory, { clock: systemClock, settleMs: 0, parser });

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The checkout that this program lies in: templates/, boot-assets/ and db/ are found from here. */
export const root = resolve(import.meta.dirname, "../..");

export function readVersion(): string {
  return (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
}

import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Ids } from "./domain/capabilities.ts";

/**
 * The secret that machine-ids are made with: made at the first start and never again, since a machine with another id is another machine
 * to whoever kept the old one.
 * @param file mode 0600
 */
export function machineIdSecret(file: string, ids: Pick<Ids, "secret" | "id">): Uint8Array {
  const unfinished = `${file}.${ids.id("new")}`;
  try {
    return readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  // All of it or nothing: half a secret would be the secret from then on.
  writeFileSync(unfinished, `${ids.secret()}${ids.secret()}\n`, { mode: 0o600, flag: "wx", flush: true });
  linkSync(unfinished, file);
  rmSync(unfinished);
  return readFileSync(file);
}

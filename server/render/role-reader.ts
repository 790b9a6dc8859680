import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type LoadedRoles, loadRoles } from "./load-roles.ts";

/** Files that are looked at; whoever keeps more than this among roles has them read anew each time. */
const maximumEntries = 20_000;

/** Reads the roles again only when a file in one of the directories changed, so that what was made of them stays made. */
export function createRoleReader(directories: readonly string[]): () => LoadedRoles {
  let stamp: string | undefined;
  let loaded: LoadedRoles | undefined;
  return () => {
    const now = stampOf(directories);
    if (!loaded || now === undefined || now !== stamp) loaded = loadRoles(directories);
    stamp = now;
    return loaded;
  };
}

/** Names, sizes and times of all files; undefined where there are too many of them. */
function stampOf(directories: readonly string[]): string | undefined {
  const lines: string[] = [];
  const waiting = [...directories];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for (const name of namesIn(folder)) {
      const path = join(folder, name);
      const facts = lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (!facts) continue;
      lines.push(`${path} ${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`);
      if (facts.isDirectory()) waiting.push(path);
      if (lines.length > maximumEntries) return undefined;
    }
  }
  return lines.join("\n");
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

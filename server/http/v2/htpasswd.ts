/** The file of Apache's htpasswd(1): a user a line, `name:hash`. Of its hashes only bcrypt's withstand being read. */

export interface PasswordEntry {
  readonly name: string;
  /** As bcrypt writes it: `$2y$<cost>$<salt and digest>`. */
  readonly hash: string;
  readonly cost: number;
}

export interface Htpasswd {
  readonly entries: ReadonlyMap<string, PasswordEntry>;
  /** Lines that are left out, and why. */
  readonly problems: readonly { readonly line: number; readonly message: string }[];
}

/** Cost 14 takes seconds of JavaScript: one such login after another would keep everybody else waiting. */
export const highestCost = 13;
/** bcrypt has none below. */
const lowestCost = 4;
const hashForm = /^\$2[aby]\$(\d{2})\$[./A-Za-z0-9]{53}$/;

export function parseHtpasswd(text: string): Htpasswd {
  const entries = new Map<string, PasswordEntry>();
  const problems: { line: number; message: string }[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const leaveOut = (message: string) => void problems.push({ line: index + 1, message });
    const [, name = "", hash = ""] = /^([^:]*):([^:]*)/.exec(line) ?? [];
    const cost = Number(hashForm.exec(hash)?.[1]);
    if (name === "") leaveOut("no user and password; lines are as `htpasswd -B` writes them");
    else if (Number.isNaN(cost))
      leaveOut(`the password of ${name} is not a bcrypt hash; write it by \`htpasswd -B\``);
    else if (cost < lowestCost || cost > highestCost)
      leaveOut(`the password of ${name} has the cost ${cost}; it must be ${lowestCost} to ${highestCost}`);
    // As Apache has it, the first one counts.
    else if (entries.has(name)) leaveOut(`${name} has a line before`);
    else entries.set(name, { name, hash, cost });
  }
  return { entries, problems };
}

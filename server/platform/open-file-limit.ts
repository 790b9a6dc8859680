import { readFileSync } from "node:fs";

/** How many files this process may have open (getrlimit(2), RLIMIT_NOFILE); Infinity where nobody says. Node has raised it as far as it may. */
export function openFileLimit(limits = "/proc/self/limits"): number {
  try {
    const text = readFileSync(limits, "utf8");
    return Number(/^Max open files +([0-9]+)/m.exec(text)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Where Debian keeps programs of the administrator; a user's PATH often lacks them. */
export const administratorDirectories = ["/usr/sbin", "/sbin"] as const;

/**
 * The path of a program as a shell would find it: a name is looked for in PATH, anything with a slash is taken as it stands.
 * @param more directories after those of PATH @returns undefined when there is none that may be run
 */
export function findProgram(program: string, more: readonly string[] = []): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean), ...more];
  const candidates = program.includes("/")
    ? [program]
    : directories.map((directory) => join(directory, program));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}

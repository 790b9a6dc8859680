import { existsSync } from "node:fs";
import { join } from "node:path";

const directory = process.env["ROLLCALL_KUBERNETES"] ?? "";
// Servers that a test starts take it for a setting of theirs, and know no such one.
delete process.env["ROLLCALL_KUBERNETES"];

/**
 * A program of a Kubernetes that was built for the tests: ROLLCALL_KUBERNETES names the directory.
 * @throws when it is not there: these tests run only when they are asked for
 */
export function kubernetesProgram(name: string): string {
  const path = join(directory, name);
  if (!path.startsWith("/") || !existsSync(path))
    throw new Error(`there is no ${path}: set ROLLCALL_KUBERNETES to a directory with ${name}`);
  return path;
}

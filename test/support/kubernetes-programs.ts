import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * A program of a Kubernetes that was built for the tests: ROLLCALL_KUBERNETES names the directory.
 * @throws when it is not there: these tests run only when they are asked for
 */
export function kubernetesProgram(name: string): string {
  const path = join(process.env["ROLLCALL_KUBERNETES"] ?? "", name);
  if (!path.startsWith("/") || !existsSync(path))
    throw new Error(`there is no ${path}: set ROLLCALL_KUBERNETES to a directory with ${name}`);
  return path;
}

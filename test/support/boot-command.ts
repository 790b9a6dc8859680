import { execFile } from "node:child_process";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
/** What runs `boot`, with this Node. */
export const launcher = join(root, "server/launch.mjs");

/** As the launcher sets it. */
const compileCache = join(root, "node_modules/.cache/compiled");

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/**
 * Runs the `boot` command as a user does, with nobody at the keyboard. The launcher is left out, which would start a second Node for each
 * command: it has tests of its own (test/serve.test.ts, test/signals.test.ts).
 */
export function boot(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  input = "",
): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(root, "server/cli/main.ts"), ...words],
      {
        env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: compileCache, ...environment },
        maxBuffer: 1 << 26,
      },
      (error, out, err) => done({ code: error ? Number(error.code ?? -1) : 0, out, err }),
    );
    child.stdin?.end(input);
  });
}

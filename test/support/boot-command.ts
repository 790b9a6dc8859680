import { execFile } from "node:child_process";
import { resolve } from "node:path";

/** What runs `boot`, with this Node. */
export const launcher = resolve(import.meta.dirname, "../../server/launch.mjs");

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the `boot` command as a user does, with nobody at the keyboard. */
export function boot(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  input = "",
): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      [launcher, ...words],
      { env: { PATH: process.env["PATH"], ...environment }, maxBuffer: 1 << 26 },
      (error, out, err) => done({ code: error ? Number(error.code ?? -1) : 0, out, err }),
    );
    child.stdin?.end(input);
  });
}

import { spawn } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PowerProgramMissing } from "../domain/error-catalogue.ts";
import { makePrivateDirectory } from "./private-files.ts";

/** What was printed and is kept of it, octets. */
const outputLimitBytes = 16 * 1024;

export interface ProgramEnd {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramCall {
  readonly program: string;
  /** The package that has it, for whoever lacks it. */
  readonly package: string;
  /** Never a shell's words. @param fileOf the path of a private file, by its name */
  readonly words: (fileOf: (name: string) => string) => readonly string[];
  /** What must stand in no list of processes: files that only this user may read, and only for the time of the call. */
  readonly privateFiles: Readonly<Record<string, string>>;
  /** Where they are made: memory rather than a disk, where there is such a place. */
  readonly privateDirectory: string;
  readonly signal: AbortSignal;
}

/** Runs a program to its end; the signal kills it. @throws PowerProgramMissing, or the signal's reason */
export async function runProgram(call: ProgramCall): Promise<ProgramEnd> {
  const { signal } = call;
  signal.throwIfAborted();
  const directory = await makePrivateDirectory(call.privateDirectory);
  try {
    for (const [name, text] of Object.entries(call.privateFiles))
      await writeFile(join(directory, name), text, { mode: 0o600, flag: "wx" });
    signal.throwIfAborted();
    return await run(
      call,
      call.words((name) => join(directory, name)),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function run(
  { program, package: debianPackage, signal }: ProgramCall,
  words: readonly string[],
): Promise<ProgramEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      // Nothing of ours: no agent, no tokens, and words that do not change with the language.
      env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C" },
      stdio: ["ignore", "pipe", "pipe"],
      shell: false,
    });
    const kill = (): void => void child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] = (printed[name] + text).slice(0, outputLimitBytes);
      });
    child.once("error", (error: NodeJS.ErrnoException) => {
      signal.removeEventListener("abort", kill);
      reject(error.code === "ENOENT" ? PowerProgramMissing({ program, package: debianPackage }) : error);
    });
    child.once("close", (code) => {
      signal.removeEventListener("abort", kill);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve({ code, ...printed });
    });
  });
}

/** The last line with something in it, as part of a sentence: what it printed may come from the other end. */
export function lastWord(printed: string, otherwise: string): string {
  const line = printed
    .split("\n")
    .map((one) => one.replaceAll(/[^\x20-\x7e]/g, " ").trim())
    .findLast((one) => one !== "");
  return (line ?? otherwise).slice(0, 200);
}

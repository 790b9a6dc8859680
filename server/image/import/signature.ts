import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { ImageError } from "../image-error.ts";
import type { DownloadOptions } from "./download.ts";
import { fetchBytes } from "./fetch-text.ts";

export interface SignedFile {
  readonly file: string;
  readonly name: string;
  /** Address of the detached OpenPGP signature. */
  readonly signature: string;
  readonly keyring: string | undefined;
}

/**
 * Checks a detached signature with gpgv, which knows no other keys than those of the keyring. Where the publisher's keyring or gpgv
 * is not on this machine that is noted, unless the caller named a keyring: then it has to be checked.
 * @throws ImageError IMAGE_SIGNATURE_INVALID, IMAGE_TOOL_MISSING
 */
export async function checkSignature(
  { file, name, signature, keyring }: SignedFile,
  options: {
    readonly keyring?: string | undefined;
    readonly download: DownloadOptions;
    readonly onNote: (text: string) => void;
  },
): Promise<void> {
  const isDemanded = options.keyring !== undefined;
  if (keyring === undefined || (!isDemanded && !existsSync(keyring))) {
    options.onNote(
      `${name}: its signature was not checked, for there is no keyring${keyring ? ` ${keyring}` : ""}`,
    );
    return;
  }
  const signatureFile = `${file}.sig`;
  await writeFile(signatureFile, await fetchBytes(signature, options.download), { mode: 0o600 });
  try {
    const { code, complaint } = await run("gpgv", ["--keyring", keyring, signatureFile, file]);
    if (code === 127) {
      if (!isDemanded) return options.onNote(`${name}: its signature was not checked, for there is no gpgv`);
      throw new ImageError(
        "IMAGE_TOOL_MISSING",
        "checking a signature needs gpgv, not found on this machine",
        "apt-get install gpgv",
      );
    }
    if (code !== 0)
      throw new ImageError(
        "IMAGE_SIGNATURE_INVALID",
        `${name} is not signed by a key of ${keyring}: ${complaint.trim().split("\n").slice(-2).join("; ")}`,
        "do not use this file unless you know why: look for the publisher's new key, or another mirror",
      );
    options.onNote(`${name}: good signature by ${keyring}`);
  } finally {
    await rm(signatureFile, { force: true });
  }
}

/** 127, like a shell says it, when the program is not there. */
function run(program: string, words: readonly string[]): Promise<{ code: number; complaint: string }> {
  return new Promise((done) => {
    const child = spawn(program, words, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
    });
    let complaint = "";
    child.stderr.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4000)));
    child.once("error", () => done({ code: 127, complaint }));
    child.once("close", (code) => done({ code: code ?? 1, complaint }));
  });
}

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { ArchiveError } from "./archive-error.ts";

/** Makes signatures with one key. */
export interface Signer {
  /** Of the key, hexadecimal digits in capitals. */
  readonly fingerprint: string;
  /** @returns an OpenPGP signed message */
  sign(message: Uint8Array): Promise<Buffer>;
  /** What a signature of this key says; undefined: it is of another key, or not good. */
  open(signature: Uint8Array): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

export interface SignerOptions {
  /** Of the key, where it has one; undefined: gpg's agent asks for it, if need be. */
  readonly passphrase?: string | undefined;
}

/** A key of the user's own keyring, by what gpg finds it by: fingerprint, mail address, name. @throws ArchiveError SIGN_KEY_INVALID */
export async function keyringSigner(user: string, options: SignerOptions = {}): Promise<Signer> {
  return signerIn([], user, options, async () => undefined);
}

/** A private key in a file, which never gets into the user's keyring. @throws ArchiveError SIGN_KEY_INVALID, ARCHIVE_TOOL_MISSING */
export async function fileSigner(file: string, options: SignerOptions = {}): Promise<Signer> {
  // Short: the agent's socket lies in it, and its path has 107 octets at most (unix(7)).
  const home = await mkdtemp(join(tmpdir(), "rollcall-sign-"));
  const where = ["--homedir", home];
  const close = async () => {
    await run("gpgconf", [...where, "--kill", "all"]);
    await rm(home, { recursive: true, force: true });
  };
  try {
    const { code, complaint } = await run("gpg", [...where, "--batch", "--import", "--", file]);
    if (code === 127) throw gpgMissing();
    if (code !== 0) throw keyInvalid(`${file} has no key that gpg can read: ${lastLine(complaint)}`);
    return await signerIn(where, "", options, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function signerIn(
  where: readonly string[],
  user: string,
  { passphrase }: SignerOptions,
  close: () => Promise<void>,
): Promise<Signer> {
  const listing = ["--batch", "--with-colons", "--list-secret-keys", ...(user === "" ? [] : ["--", user])];
  const listed = await run("gpg", [...where, ...listing]);
  if (listed.code === 127) throw gpgMissing();
  // gpg's doc/DETAILS: `sec` begins a key, and the first `fpr` after it is its fingerprint.
  const lines = listed.output.toString("utf8").split("\n");
  const fingerprints = lines.flatMap((line, index) =>
    line.startsWith("sec:")
      ? [(lines.slice(index).find((later) => later.startsWith("fpr:")) ?? "").split(":")[9] ?? ""]
      : [],
  );
  const [fingerprint = ""] = fingerprints;
  if (fingerprint === "")
    throw keyInvalid(
      user === ""
        ? "the file has no private key, only public ones"
        : `the keyring has no private key for ${JSON.stringify(user)}`,
    );
  if (fingerprints.length > 1)
    throw keyInvalid(
      `${user === "" ? "the file" : JSON.stringify(user)} has ${fingerprints.length} private keys: ${fingerprints.join(", ")}`,
      "Name one by its fingerprint with --gpg, or export that one alone: gpg --export-secret-keys --armor FINGERPRINT",
    );
  return {
    fingerprint,
    close,
    async sign(message) {
      const words = ["--yes", "--local-user", fingerprint, "--sign", "--output", "-"];
      const asked =
        passphrase === undefined ? [] : ["--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "3"];
      const { code, output, complaint } = await run(
        "gpg",
        [...where, ...asked, ...words],
        message,
        passphrase,
      );
      if (code === 0 && output.length > 0) return output;
      const isLocked = /passphrase|pinentry/i.test(complaint);
      throw isLocked
        ? keyInvalid(
            `the key ${fingerprint} could not be unlocked: ${lastLine(complaint)}`,
            "Give its passphrase: --passphrase-file FILE, or type it when you are asked.",
          )
        : new ArchiveError(
            "SIGN_FAILED",
            `gpg could not sign with ${fingerprint}: ${lastLine(complaint)}`,
            "Look whether the key may sign and has not expired: gpg --list-secret-keys",
          );
    },
    async open(signature) {
      const { output, status } = await run(
        "gpg",
        [...where, "--batch", "--no-auto-key-locate", "--status-fd", "3", "--decrypt"],
        signature,
        "",
      );
      // Its last field is the fingerprint of the key that a subkey belongs to.
      const valid = /^\[GNUPG:\] VALIDSIG (.*)$/m.exec(status)?.[1]?.split(" ") ?? [];
      return valid.includes(fingerprint) ? output : undefined;
    },
  };
}

const lastLine = (complaint: string): string => complaint.trim().split("\n").at(-1)?.slice(0, 300) ?? "";

function keyInvalid(
  problem: string,
  advice = "Name a private key: --key FILE (gpg --export-secret-keys --armor USER makes one), or --gpg USER for one of the keyring.",
): ArchiveError {
  return new ArchiveError("SIGN_KEY_INVALID", problem, advice);
}

function gpgMissing(): ArchiveError {
  return new ArchiveError(
    "ARCHIVE_TOOL_MISSING",
    "signing needs the program gpg, not found on this machine",
    "Install the Debian package: apt-get install gpg gpg-agent",
  );
}

interface Ended {
  /** 127, like a shell says it, when the program is not there. */
  readonly code: number;
  readonly output: Buffer;
  readonly complaint: string;
  /** What came on descriptor 3. */
  readonly status: string;
}

/** @param third written to descriptor 3, whose answer is `status`; undefined: there is none */
function run(program: string, words: readonly string[], input?: Uint8Array, third?: string): Promise<Ended> {
  const child = spawn(program, words, {
    stdio: ["pipe", "pipe", "pipe", ...(third === undefined ? [] : (["pipe"] as const))],
    env: { ...process.env, LC_ALL: "C" },
  });
  const output: Buffer[] = [];
  let complaint = "";
  let status = "";
  child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4000)));
  const extra = child.stdio[3];
  extra?.on("error", () => undefined);
  extra?.on("data", (chunk: Buffer) => (status = (status + chunk.toString()).slice(-4000)));
  if (third !== undefined) (extra as Writable).end(third);
  // A program that ends before it has read all tells why by its exit code.
  child.stdin?.on("error", () => undefined).end(input ?? "");
  return new Promise((done) => {
    const end = (code: number) => done({ code, output: Buffer.concat(output), complaint, status });
    child.once("error", () => end(127));
    child.once("close", (code) => end(code ?? 1));
  });
}

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "./samples.ts";

export interface SigningKey {
  /** gpg's directory, with this key alone. */
  readonly home: string;
  /** The private key, armored. */
  readonly file: string;
  readonly publicFile: string;
  readonly fingerprint: string;
}

/** A new OpenPGP key. @param algorithm as gpg calls it: rsa3072, ed25519 @param passphrase "" for none */
export function makeSigningKey(
  t: { teardown(fn: () => void): unknown },
  mail: string,
  algorithm: string,
  passphrase = "",
): SigningKey {
  const home = temporaryDirectory(t);
  const quiet = ["--homedir", home, "--batch", "--quiet"];
  const unlocked = ["--pinentry-mode", "loopback", "--passphrase", passphrase];
  const gpg = (...words: string[]) =>
    execFileSync("gpg", [...quiet, ...unlocked, ...words], {
      stdio: ["ignore", "pipe", "ignore"],
    }).toString();
  t.teardown(() => void execFileSync("gpgconf", ["--homedir", home, "--kill", "all"]));
  gpg("--quick-generate-key", mail, algorithm, "sign", "never");
  const file = join(home, "secret.asc");
  writeFileSync(file, gpg("--armor", "--export-secret-keys", mail));
  const publicFile = join(home, "public.pgp");
  writeFileSync(publicFile, gpg("--armor", "--export", mail));
  const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(gpg("--with-colons", "--list-keys", mail))?.[1] ?? "";
  return { home, file, publicFile, fingerprint };
}

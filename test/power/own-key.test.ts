import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { SealBroken } from "../../server/domain/error-catalogue.ts";
import { parseHostKey } from "../../server/domain/power-settings.ts";
import { makeKey, openOwnKey } from "../../server/power/own-key.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("OpenSSH reads the key that is made, and finds the same public key in it", (t) => {
  const file = join(temporaryDirectory(t), "key");
  // The padding differs with the length of the comment.
  for (const comment of ["rollcall-power", "a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg"]) {
    const { publicKey, privateKey } = makeKey(comment);
    writeFileSync(file, privateKey, { mode: 0o600 });
    t.equal(execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).trim(), publicKey);
  }
  t.end();
});

t.test("the key is made once, lies sealed, and does not open with another seal", async (t) => {
  const directory = temporaryDirectory(t);
  const first = await openOwnKey(directory);
  const second = await openOwnKey(directory);
  t.equal(second.publicKey, first.publicKey);
  t.equal(await second.privateKey(), await first.privateKey());
  const pki = join(directory, "pki");
  for (const name of readdirSync(pki)) {
    t.notMatch(readFileSync(join(pki, name), "utf8"), /PRIVATE KEY/);
    t.equal(statSync(join(pki, name)).mode & 0o077, 0);
  }
  writeFileSync(join(pki, "seal.key"), `${"ab".repeat(32)}\n`);
  await t.rejects(openOwnKey(directory), { code: SealBroken.code });
});

t.test("a host key is exactly an Ed25519 key, and nothing that could add a line or an option", (t) => {
  const { publicKey } = makeKey();
  const [type = "", blob = ""] = publicKey.split(" ");
  t.equal(parseHostKey(publicKey), `${type} ${blob}`);
  t.equal(parseHostKey(`${type} ${blob} root@s4\n`), `${type} ${blob}`);
  for (const text of [
    "",
    blob,
    `${type} ${blob.slice(1)}`,
    `${type} ${blob}A`,
    `${type} ${blob} a\n* ${type} ${blob}`,
    `@cert-authority * ${type} ${blob}`,
    `* ${type} ${blob}`,
    `ssh-rsa ${blob}`,
    `${type}  ${blob}`,
    `${type} ${"A".repeat(68)}`,
  ])
    t.equal(parseHostKey(text), undefined, JSON.stringify(text).slice(0, 40));
  t.end();
});

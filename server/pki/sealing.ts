import { createCipheriv, createDecipheriv, randomBytes, scrypt, type ScryptOptions } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { KeyFileRefused, SealBroken } from "../domain/error-catalogue.ts";
import { writeOnce } from "./write-once.ts";

/** Seals texts that must not lie open on a disk or in a backup. */
export interface Sealer {
  /** How it seals, to be written beside what is sealed. */
  readonly kind: "key-file" | "passphrase";
  /** @param what what the text is and belongs to: it opens only under the same name */
  seal(what: string, plain: Uint8Array): Promise<string>;
  /** @throws SealBroken */
  open(what: string, sealed: string): Promise<Buffer>;
}

const keyOctets = 32;
const nonceOctets = 12;
const tagOctets = 16;
const saltOctets = 16;
/** 128 MiB and about half a second: a passphrase of a person is guessed at that price each (RFC 7914). */
const scryptCost: ScryptOptions = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 ** 2 };

const derive = promisify(scrypt) as (
  passphrase: string,
  salt: Uint8Array,
  length: number,
  options: ScryptOptions,
) => Promise<Buffer>;

/** AES-256-GCM: nonce, ciphertext, tag. The layout that kubeadm has too. */
export function encrypt(key: Uint8Array, plain: Uint8Array, context?: string): Buffer {
  const nonce = randomBytes(nonceOctets);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  if (context !== undefined) cipher.setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** @returns undefined when it is not what was encrypted under that key and context */
export function decrypt(key: Uint8Array, sealed: Uint8Array, context?: string): Buffer | undefined {
  if (sealed.length < nonceOctets + tagOctets) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, nonceOctets), {
    authTagLength: tagOctets,
  });
  if (context !== undefined) decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(sealed.subarray(sealed.length - tagOctets));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceOctets, -tagOctets)), decipher.final()]);
  } catch {
    return undefined;
  }
}

/**
 * Seals with a key that lies in a file of its own, mode 0600: safe from whoever gets the sealed data without it.
 * @param mayCreate false when there are sealed data already: a new key would not open them
 * @throws KeyFileRefused
 */
export async function sealWithKeyFile(
  file: string,
  { mayCreate }: { readonly mayCreate: boolean },
): Promise<Sealer> {
  let key = readKeyFile(file);
  if (!key && mayCreate) {
    // On the disk before anything is sealed with it.
    await writeOnce(file, `${randomBytes(keyOctets).toString("hex")}\n`);
    key = readKeyFile(file);
  }
  if (!key) throw KeyFileRefused({ file, problem: "it is gone, and what it sealed is still there" });
  return {
    kind: "key-file",
    seal: (what, plain) => Promise.resolve(encrypt(key, plain, what).toString("base64")),
    open(what, sealed) {
      const plain = decrypt(key, Buffer.from(sealed, "base64"), what);
      return plain ? Promise.resolve(plain) : Promise.reject(SealBroken({ what }));
    },
  };
}

/** Seals with a passphrase that lies nowhere: the salt stands before each sealed text. */
export function sealWithPassphrase(passphrase: string): Sealer {
  const ownSalt = randomBytes(saltOctets);
  /** The last key, since all that is sealed together has one salt. */
  let last: { readonly salt: Buffer; readonly key: Promise<Buffer> } | undefined;
  const keyFor = (salt: Buffer) => {
    if (!last?.salt.equals(salt))
      last = { salt, key: derive(passphrase.normalize("NFKC"), salt, keyOctets, scryptCost) };
    return last.key;
  };
  return {
    kind: "passphrase",
    seal: async (what, plain) =>
      Buffer.concat([ownSalt, encrypt(await keyFor(ownSalt), plain, what)]).toString("base64"),
    async open(what, sealed) {
      const octets = Buffer.from(sealed, "base64");
      const key = await keyFor(octets.subarray(0, saltOctets));
      const plain = decrypt(key, octets.subarray(saltOctets), what);
      if (!plain) throw SealBroken({ what });
      return plain;
    },
  };
}

/** @throws KeyFileRefused when others can read it, or it holds something else */
function readKeyFile(file: string): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw KeyFileRefused({ file, problem: `it can't be read (${code ?? "unknown"})` });
  }
  try {
    const { mode } = fstatSync(descriptor);
    if ((mode & 0o077) !== 0)
      throw KeyFileRefused({
        file,
        problem: `others may read it (mode ${(mode & 0o777).toString(8).padStart(4, "0")})`,
      });
    const text = readFileSync(descriptor, "utf8").trim();
    if (!/^[0-9a-f]{64}$/.test(text))
      throw KeyFileRefused({ file, problem: "it does not hold 64 hexadecimal digits" });
    return Buffer.from(text, "hex");
  } finally {
    closeSync(descriptor);
  }
}

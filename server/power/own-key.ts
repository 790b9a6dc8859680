import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { SealBroken } from "../domain/error-catalogue.ts";
import { type Sealer, sealWithKeyFile } from "../pki/sealing.ts";
import { writeOnce } from "../pki/write-once.ts";

const purpose = "ssh-key";
const keyType = "ssh-ed25519";
/** Octets that a private key is padded to (openssh/PROTOCOL.key). */
const blockOctets = 8;

export interface OwnKey {
  /** One line as in authorized_keys, without options. */
  readonly publicKey: string;
  /** As `ssh -i` reads it; opened anew each time. */
  privateKey(): Promise<string>;
  /** Seals what belongs to power over machines. */
  readonly sealer: Sealer;
}

/** The server's own key for SSH, made at the first call: `pki/ssh.json`, sealed with `pki/seal.key`. @throws KeyFileRefused, SealBroken */
export async function openOwnKey(dataDirectory: string): Promise<OwnKey> {
  const directory = join(dataDirectory, "pki");
  const file = join(directory, "ssh.json");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const known = await readFile(file, "utf8").catch(() => undefined);
  const sealer = await sealWithKeyFile(join(directory, "seal.key"), { mayCreate: known === undefined });
  if (known === undefined) {
    const made = makeKey();
    const key = await sealer.seal(purpose, Buffer.from(made.privateKey));
    await writeOnce(file, `${JSON.stringify({ publicKey: made.publicKey, key }, null, 2)}\n`);
  }
  const kept = readKept(known ?? (await readFile(file, "utf8")), file);
  const privateKey = async () => (await sealer.open(purpose, kept.key)).toString();
  // A key that does not open is told at the start, and not when a machine should be switched.
  await privateKey();
  return { publicKey: kept.publicKey, privateKey, sealer };
}

function readKept(text: string, file: string): { publicKey: string; key: string } {
  try {
    const { publicKey, key } = JSON.parse(text) as { publicKey: unknown; key: unknown };
    if (typeof publicKey === "string" && typeof key === "string") return { publicKey, key };
  } catch {
    // Told below.
  }
  throw SealBroken({ what: file });
}

const number = (value: number): Buffer => {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets;
};
/** A `string` of RFC 4251 s.5. */
const text = (value: string | Uint8Array): Buffer => {
  const octets = Buffer.from(value);
  return Buffer.concat([number(octets.length), octets]);
};

/** OpenSSH reads Ed25519 in its own format only (openssh/PROTOCOL.key); in PKCS #8 since 9.6. */
export function makeKey(comment = "rollcall-power"): { publicKey: string; privateKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const seed = Buffer.from(String(privateKey.export({ format: "jwk" }).d), "base64url");
  const point = Buffer.from(String(publicKey.export({ format: "jwk" }).x), "base64url");
  const blob = Buffer.concat([text(keyType), text(point)]);
  const check = randomBytes(4);
  const body = Buffer.concat([
    check,
    check,
    text(keyType),
    text(point),
    text(Buffer.concat([seed, point])),
    text(comment),
  ]);
  const padding = Buffer.from(
    Array.from({ length: (blockOctets - (body.length % blockOctets)) % blockOctets }, (_, at) => at + 1),
  );
  const whole = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    text("none"),
    text("none"),
    text(""),
    number(1),
    text(blob),
    text(Buffer.concat([body, padding])),
  ]);
  const lines = whole.toString("base64").match(/.{1,70}/g) ?? [];
  return {
    publicKey: `${keyType} ${blob.toString("base64")} ${comment}`,
    privateKey: [
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      ...lines,
      "-----END OPENSSH PRIVATE KEY-----",
      "",
    ].join("\n"),
  };
}

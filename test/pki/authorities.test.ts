import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import t from "tap";
import { KeyFileRefused, SealBroken } from "../../server/domain/error-catalogue.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { privateKeyPem } from "../../server/pki/key-pairs.ts";
import { sealWithKeyFile, sealWithPassphrase } from "../../server/pki/sealing.ts";
import { temporaryDirectory } from "../support/samples.ts";

const life = { now: Date.now(), keyAlgorithm: "ECDSA-P256" } as const;

t.test("the authorities are made once and are the same after every restart", async (t) => {
  const dataDirectory = temporaryDirectory(t);
  const first = await openClusterAuthorities({ dataDirectory }, life);
  const again = await openClusterAuthorities({ dataDirectory }, { ...life, now: life.now + 86_400_000 });
  for (const name of ["cluster", "frontProxy", "etcd", "agent"] as const) {
    t.equal(again[name].certificatePem, first[name].certificatePem, name);
    t.equal(privateKeyPem(again[name].privateKey), privateKeyPem(first[name].privateKey), `${name}: key`);
  }
  t.equal(privateKeyPem(again.serviceAccount), privateKeyPem(first.serviceAccount), "service accounts");
  t.equal(first.serviceAccount.asymmetricKeyType, "rsa", "whatever the authorities have");
});

t.test("two servers that start at once on the same data end with the same authorities", async (t) => {
  const dataDirectory = temporaryDirectory(t);
  const all = await Promise.all([1, 2, 3].map(() => openClusterAuthorities({ dataDirectory }, life)));
  t.equal(new Set(all.map(({ cluster }) => cluster.certificatePem)).size, 1);
  t.same(
    readdirSync(join(dataDirectory, "pki")).sort(),
    ["authorities.json", "seal.key"],
    "and no half-written file is left",
  );
});

t.test("no key lies open on the disk, and nobody else may read the files", async (t) => {
  for (const passphrase of [undefined, "correct horse battery staple"]) {
    const dataDirectory = temporaryDirectory(t);
    const authorities = await openClusterAuthorities({ dataDirectory, passphrase }, life);
    const directory = join(dataDirectory, "pki");
    t.equal(statSync(directory).mode & 0o777, 0o700);
    const names = readdirSync(directory).sort();
    t.same(names, passphrase === undefined ? ["authorities.json", "seal.key"] : ["authorities.json"]);
    for (const name of names) {
      t.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name);
      t.notMatch(readFileSync(join(directory, name), "utf8"), /PRIVATE KEY/, name);
    }
    const der = authorities.cluster.privateKey.export({ type: "sec1", format: "der" });
    const scalar = der.subarray(7, 39);
    const text = readFileSync(join(directory, "authorities.json"), "utf8");
    for (const encoding of ["hex", "base64"] as const) t.notOk(text.includes(scalar.toString(encoding)));
  }
});

t.test("whoever logs the authorities logs no key", async (t) => {
  const authorities = await openClusterAuthorities({ dataDirectory: temporaryDirectory(t) }, life);
  for (const text of [inspect(authorities, { depth: 10, showHidden: true }), JSON.stringify(authorities)])
    t.notMatch(text, /PRIVATE KEY|"d":/);
});

t.test("a lost key file is not replaced by a new one", async (t) => {
  const dataDirectory = temporaryDirectory(t);
  await openClusterAuthorities({ dataDirectory }, life);
  rmSync(join(dataDirectory, "pki/seal.key"));
  await t.rejects(openClusterAuthorities({ dataDirectory }, life), {
    code: "KEY_FILE_REFUSED",
    message: /gone/,
  });
  t.same(readdirSync(join(dataDirectory, "pki")), ["authorities.json"]);
});

t.test("a key file that others may read, or that holds something else, is refused", async (t) => {
  const file = join(temporaryDirectory(t), "seal.key");
  await sealWithKeyFile(file, { mayCreate: true });
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(file, mode);
    await t.rejects(sealWithKeyFile(file, { mayCreate: true }), {
      code: KeyFileRefused.code,
      message: new RegExp(`mode 0${mode.toString(8)}`),
    });
  }
  chmodSync(file, 0o600);
  for (const text of ["", "abc", "g".repeat(64), "a".repeat(63)]) {
    writeFileSync(file, text);
    await t.rejects(sealWithKeyFile(file, { mayCreate: true }), { code: KeyFileRefused.code });
  }
});

t.test("another key, another passphrase or another way of sealing opens nothing", async (t) => {
  const withFile = temporaryDirectory(t);
  await openClusterAuthorities({ dataDirectory: withFile }, life);
  writeFileSync(join(withFile, "pki/seal.key"), "0".repeat(64));
  await t.rejects(openClusterAuthorities({ dataDirectory: withFile }, life), { code: SealBroken.code });
  await t.rejects(openClusterAuthorities({ dataDirectory: withFile, passphrase: "x" }, life), {
    code: SealBroken.code,
    message: /sealed by key-file/,
  });
  const withPassphrase = temporaryDirectory(t);
  await openClusterAuthorities({ dataDirectory: withPassphrase, passphrase: "right" }, life);
  await t.rejects(openClusterAuthorities({ dataDirectory: withPassphrase, passphrase: "wrong" }, life), {
    code: SealBroken.code,
  });
});

t.test(
  "a changed file is noticed: keys swapped, certificates replaced, octets flipped, cut short",
  async (t) => {
    const dataDirectory = temporaryDirectory(t);
    await openClusterAuthorities({ dataDirectory }, life);
    const file = join(dataDirectory, "pki/authorities.json");
    const right = readFileSync(file, "utf8");
    interface Content {
      authorities: Record<string, { certificate: string; key: string }>;
      serviceAccount: { publicKey: string; key: string };
      version: number;
    }
    const changes: readonly ((content: Content) => unknown)[] = [
      ({ authorities }) =>
        ([authorities["cluster"], authorities["etcd"]] = [authorities["etcd"]!, authorities["cluster"]!]),
      ({ authorities }) => (authorities["cluster"]!.key = authorities["etcd"]!.key),
      ({ authorities }) => (authorities["cluster"]!.certificate = authorities["etcd"]!.certificate),
      ({ authorities }) => (authorities["agent"]!.key = `A${authorities["agent"]!.key.slice(1, -4)}AAAA`),
      ({ authorities }) => (authorities["agent"]!.key = ""),
      ({ authorities }) => delete authorities["frontProxy"],
      (content) => (content.serviceAccount.publicKey += "\n"),
      (content) => (content.version = 2),
      (content) => delete (content as Partial<Content>).authorities,
      (content) => delete (content as Partial<Content>).serviceAccount,
    ];
    for (const [index, change] of changes.entries()) {
      const content = JSON.parse(right) as Content;
      change(content);
      writeFileSync(file, JSON.stringify(content));
      await t.rejects(
        openClusterAuthorities({ dataDirectory }, life),
        { code: SealBroken.code },
        `change ${index}`,
      );
    }
    writeFileSync(file, right.slice(0, -100));
    await t.rejects(openClusterAuthorities({ dataDirectory }, life), { code: SealBroken.code }, "cut short");
    writeFileSync(file, right);
    await t.resolves(openClusterAuthorities({ dataDirectory }, life), "and as it was it opens");
  },
);

t.test("a sealed text opens under its own name only, and no two look alike", async (t) => {
  const file = join(temporaryDirectory(t), "seal.key");
  for (const sealer of [await sealWithKeyFile(file, { mayCreate: true }), sealWithPassphrase("pass")]) {
    const plain = Buffer.from("a text");
    const [one, two] = [await sealer.seal("name", plain), await sealer.seal("name", plain)];
    t.not(one, two, "another nonce each time");
    t.same(await sealer.open("name", one), plain);
    await t.rejects(sealer.open("another", one), { code: SealBroken.code });
    for (const bad of ["", "AAAA", one.slice(0, 20)])
      await t.rejects(sealer.open("name", bad), { code: SealBroken.code });
  }
});

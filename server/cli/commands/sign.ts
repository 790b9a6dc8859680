import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { ArchiveError } from "../../archive/archive-error.ts";
import { fileSigner, keyringSigner, type Signer } from "../../archive/gpg.ts";
import {
  adviceOnMissing,
  readNameThere,
  requireNameThere,
  type TaggedName,
} from "../../archive/reference.ts";
import type { RegistryClient } from "../../archive/registry-client.ts";
import { requireSignatures, signImages } from "../../archive/sign.ts";
import { readVersion } from "../../platform/checkout.ts";
import {
  interruptible,
  openRegistry,
  type RegistryChoice,
  registryOptions,
  problemColumn,
  tellFailures,
  transferProgress,
} from "../container-archives.ts";
import { askPassphrase } from "../passphrase.ts";
import type { Session } from "../session.ts";

interface SignWords extends RegistryChoice {
  readonly key?: string;
  readonly gpg?: string;
  readonly passphraseFile?: string;
  readonly identity?: string;
  readonly to?: string;
}

export function signCommand(program: Command, open: () => Session): void {
  const command = program
    .command("sign <images...>")
    .description("sign container images of the registry: a REPOSITORY:TAG, or all tags of a REPOSITORY")
    .option("--key <file>", "private OpenPGP key (gpg --export-secret-keys --armor)")
    .option("--gpg <user>", "key of your gpg keyring: fingerprint, mail address or name")
    .option("--passphrase-file <file>", "file whose first line is the key's passphrase")
    .option(
      "--identity <host>",
      "registry's name that nodes pull by; it stands in each signature; default: the server's `registry.host`, registry.local for another registry",
      hostOption,
    )
    .option("--to <dir>", "write the signatures for a lookaside server into this directory");
  for (const [flags, description] of registryOptions) command.option(flags, description);
  command
    .addHelpText(
      "after",
      "\nExamples:\n  boot sign p10/kube-apiserver:v1.26.9 --gpg imagemaker@lab.example\n  boot sign p10/pause p10/etcd --key imagemaker.asc --passphrase-file passphrase\n  boot sign p10/pause:3.9 --key imagemaker.asc --registry registry.local --to /var/sigstore/sigstore\nOf an image for several architectures each one is signed. What this key has signed before is left as it is.",
    )
    .action(async (words: string[], options: SignWords) => sign(open(), words, options));
}

function hostOption(text: string): string {
  if (/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/i.test(text)) return text;
  throw new InvalidArgumentError("write it as HOST or HOST:PORT");
}

async function sign(session: Session, words: readonly string[], options: SignWords): Promise<void> {
  const { key, gpg } = options;
  if ((key === undefined) === (gpg === undefined))
    throw new ArchiveError(
      "SIGN_KEY_INVALID",
      key === undefined ? "no key is named to sign with" : "two keys are named",
      "Name one: --key FILE, or --gpg USER for a key of your keyring.",
    );
  const passphrase =
    options.passphraseFile === undefined
      ? key === undefined
        ? undefined
        : await askPassphrase(key)
      : firstLine(options.passphraseFile);
  const progress = transferProgress();
  const results = await interruptible(async (signal) => {
    const { registry, host, names: hosts } = await openRegistry(session, options, signal);
    let signer: Signer | undefined;
    try {
      if (options.to === undefined) await requireSignatures(registry);
      const names = await namesOf(words, { registry, hosts });
      signer =
        key === undefined
          ? await keyringSigner(gpg ?? "", { passphrase })
          : await fileSigner(key, { passphrase });
      return await signImages(names, {
        registry,
        signer,
        identityHost: options.identity ?? host,
        creator: `rollcall ${readVersion()}`,
        now: () => Date.now() / 1000,
        directory: options.to,
        signal,
        onProgress: (name, number, count) => progress.show(`[${number}/${count}] signing ${name}`),
      });
    } finally {
      progress.end();
      await signer?.close();
      await registry.close();
    }
  });
  session.show(results, () => ({
    columns: ["image", "signed", "was signed", "digest", ...problemColumn(results)],
    rows: results.map(({ name, signed, present, digest, error }) => [
      name,
      signed,
      present,
      digest,
      ...(error ? [error.code] : []),
    ]),
    empty: "",
  }));
  tellFailures(session, results);
}

async function namesOf(
  words: readonly string[],
  { registry, hosts }: { readonly registry: RegistryClient; readonly hosts: readonly string[] },
): Promise<TaggedName[]> {
  const names: TaggedName[] = [];
  for (const word of words) {
    const { repository, tag } = readNameThere(word, hosts) ?? requireNameThere(word, hosts);
    if (tag !== undefined) {
      names.push({ repository, tag });
      continue;
    }
    const tags = await registry.tags(repository);
    if (tags.length === 0)
      throw new ArchiveError(
        "TRANSFER_NOT_FOUND",
        `${registry.origin}: ${repository} has no tags`,
        adviceOnMissing(repository),
      );
    names.push(...tags.map((one) => ({ repository, tag: one })));
  }
  return names;
}

function firstLine(file: string): string {
  try {
    return readFileSync(file, "utf8").split(/\r?\n/)[0] ?? "";
  } catch (error) {
    throw new ArchiveError(
      "ARCHIVE_NOT_READABLE",
      `${file} can't be read: ${(error as Error).message}`,
      "Look at the path and at who may read it.",
    );
  }
}

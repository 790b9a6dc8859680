import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import type { Session } from "../session.ts";

interface SignerView {
  name: string;
  scopes: string[];
  addedAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  keys: {
    format: string;
    fingerprint: string;
    algorithm: string;
    expiresAt: string | null;
    revoked: boolean;
  }[];
}

function days(text: string): number {
  const value = Number(text);
  if (!(value >= 0.001 && value <= 36_500))
    throw new InvalidArgumentError("it must be a number of days, at most 36500");
  return value;
}

const collect = (value: string, before: string[]) => [...before, value];

const noSigstore =
  "podman and skopeo of Debian 12 are built without sigstore, and refuse what this key has signed.\n";

const firstSigner =
  "Now that somebody may sign, nodes of the cluster take signed images only, from their next boot on: sign those of Kubernetes first,\n" +
  "or name what needs no signature in cluster.unsignedImages.\n";
const lastSigner =
  " Nobody may sign now: from their next boot on nodes take every image, unless cluster.unsignedImages says otherwise.";

/** The file's text where it is ASCII armor or PEM, else its base64. */
function readKeyFile(path: string): string {
  try {
    const content = readFileSync(path === "-" ? 0 : path);
    return content.includes("-----BEGIN ") ? content.toString("latin1") : content.toString("base64");
  } catch (error) {
    throw InvalidRequest({
      problem: `${path} can't be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`,
      advice:
        "Name the file that `gpg --export --armor NAME > FILE` wrote, or cosign.pub, or - for the standard input.",
    });
  }
}

function statusOf({ revokedAt, expiresAt, keys }: SignerView): string {
  if (revokedAt !== null) return `revoked ${revokedAt}`;
  if (keys.every(({ revoked }) => revoked)) return "key revoked";
  const ends = [expiresAt, ...(keys.length === 1 ? keys.map((key) => key.expiresAt) : [])];
  const end = ends.filter((one) => one !== null).sort()[0];
  return end === undefined ? "valid" : `until ${end}`;
}

export function keyCommands(program: Command, open: () => Session): void {
  const key = program.command("key").description("keys of those who may sign images");
  key
    .command("list")
    .description("who may sign which images")
    .addHelpText("after", "\nExample:\n  boot key list")
    .action(async () => {
      const session = open();
      const signers = await session.client.list<SignerView>("/keys");
      session.show(signers, () => ({
        columns: ["signer", "signs", "key", "state"],
        rows: signers.map((signer) => [
          signer.name,
          signer.scopes.join(" "),
          signer.keys
            .map(
              ({ format, algorithm, fingerprint }) =>
                `${format === "sigstore" ? "cosign " : ""}${algorithm} ${fingerprint}`,
            )
            .join(" "),
          statusOf(signer),
        ]),
        empty: "Nobody may sign images, and nodes take every image: boot key add NAME --file NAME.asc",
      }));
    });
  key
    .command("add <name>")
    .description("let somebody sign images; or add another key or scope to somebody who may")
    .requiredOption(
      "--file <file>",
      "public key, from `gpg --export --armor NAME`, or cosign's cosign.pub; - reads the standard input",
    )
    .addOption(
      new Option("--scope <scope>", "what may be signed, repeatable; default: the whole registry")
        .argParser(collect)
        .default([], "all"),
    )
    .addOption(
      new Option("--expires-in <days>", "for so long; without it as long as the key").argParser(days),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot key add anna --file anna.asc --scope registry.local/p10\n  boot key add ci --file cosign.pub --scope registry.local/apps\n  gpg --export anna | boot key add anna --file - --expires-in 365",
    )
    .action(async (name: string, options: { file: string; scope: string[]; expiresIn?: number }) => {
      const session = open();
      const signer = await session.client.post<SignerView>("/keys", {
        name,
        publicKey: readKeyFile(options.file),
        ...(options.scope.length > 0 && { scopes: options.scope }),
        ...(options.expiresIn !== undefined && {
          expiresInSeconds: Math.round(options.expiresIn * 86_400),
        }),
      });
      const signers = await session.client.list<SignerView>("/keys");
      session.show(
        signer,
        () =>
          `${signer.name} may sign ${signer.scopes.join(", ")}, with ${signer.keys.map(({ fingerprint }) => fingerprint).join(", ")}.\n` +
          (signer.keys.some(({ format }) => format === "sigstore") ? noSigstore : "") +
          (signers.length === 1 ? firstSigner : ""),
      );
    });
  key
    .command("revoke <name>")
    .description("let none of somebody's signatures count any more, at once")
    .addHelpText("after", "\nExample:\n  boot key revoke anna")
    .action(async (name: string) => {
      const session = open();
      await session.client.post(`/keys/${encodeURIComponent(name)}/revoke`, {});
      session.done(`Revoked ${name}: images that nobody else has signed are refused from now on.`, {
        revoked: name,
      });
    });
  key
    .command("remove <name>")
    .description("forget a signer; what is above its scopes then counts for them")
    .addHelpText("after", "\nExample:\n  boot key remove anna")
    .action(async (name: string) => {
      const session = open();
      await session.client.delete(`/keys/${encodeURIComponent(name)}`);
      const left = await session.client.list<SignerView>("/keys");
      session.done(`Removed ${name}.${left.length === 0 ? lastSigner : ""}`, { removed: name });
    });
}

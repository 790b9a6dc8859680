import type { Command } from "commander";
import { formatBytes } from "../output.ts";
import type { Session } from "../session.ts";

interface Collection {
  manifests: { repository: string; digest: string }[];
  manifestCount: number;
  blobCount: number;
  freedBytes: number;
  /** What nobody needs and was used too lately; until: when the last of it may go. */
  waiting: { blobCount: number; bytes: number; until: string | null };
  /** Images that nobody may delete, the first hundred. */
  pinned: { image: string; by: string }[];
}

interface Check {
  blobs: number;
  bytes: number;
  manifests: number;
  deep: boolean;
  repaired: boolean;
  damaged: { digest: string; problem: "missing" | "size" | "digest"; repositories: string[] }[];
  damagedCount: number;
  recovered: number;
  wrongManifests: number;
  strangers: number;
  strangerBytes: number;
}

const problems = {
  missing: "its file is missing",
  size: "its length is wrong",
  digest: "it was changed on the disk",
};

function collectionText(collection: Collection, isDry: boolean) {
  const { manifests, manifestCount, blobCount, freedBytes, waiting, pinned } = collection;
  const later =
    waiting.until === null
      ? ""
      : `${waiting.blobCount} blobs, ${formatBytes(waiting.bytes)}, wait for their grace (registry.graceSeconds): the last may go at ${waiting.until}.\n`;
  const kept = isDry ? pinned.map(({ image, by }) => `${image} is pinned by ${by}.\n`) : [];
  if (blobCount === 0 && manifestCount === 0) return [...kept, "Nothing to remove now.\n", later].join("");
  const verb = isDry ? "Would remove" : "Removed";
  return [
    ...kept,
    ...manifests.map(({ repository, digest }) => `${verb} ${repository}@${digest}.\n`),
    ...(manifestCount > manifests.length ? [`… and ${manifestCount - manifests.length} more.\n`] : []),
    `${verb} ${manifestCount} manifests and ${blobCount} blobs; ${formatBytes(freedBytes)} ${isDry ? "would be" : "are"} free at once.\n`,
    later,
  ].join("");
}

function checkText(found: Check): string {
  const { blobs, bytes, manifests, damaged, damagedCount, recovered, wrongManifests, strangers } = found;
  const what = found.deep ? "digests and lengths" : "lengths";
  const done = found.repaired ? "repaired" : "to be repaired with --repair";
  const isFine = damagedCount + wrongManifests + strangers === 0;
  return [
    `Checked ${what} of ${blobs} blobs (${formatBytes(bytes)}) and ${manifests} manifests.\n`,
    ...damaged.map(
      ({ digest, problem, repositories }) =>
        `${digest} of ${repositories.join(", ") || "no repository"}: ${problems[problem]}; push it again.\n`,
    ),
    ...(damagedCount > damaged.length ? [`… and ${damagedCount - damaged.length} more are damaged.\n`] : []),
    ...(recovered > 0 ? [`${recovered} blobs were lost and are whole again.\n`] : []),
    ...(wrongManifests > 0 ? [`${wrongManifests} manifests have wrong rows: ${done}.\n`] : []),
    ...(strangers > 0
      ? [`${strangers} files (${formatBytes(found.strangerBytes)}) belong to nothing: ${done}.\n`]
      : []),
    ...(isFine ? ["Everything is as it was pushed.\n"] : []),
  ].join("");
}

export function registryCommands(program: Command, open: () => Session): void {
  const registry = program
    .command("registry")
    .description("the container registry: its content, and whose certificate it shows");
  registry
    .command("authority")
    .description("print the authority (PEM) that the registry's certificate is of, for clients that use TLS")
    .addHelpText(
      "after",
      "\nExample:\n  boot registry authority > /etc/containers/certs.d/registry.local/ca.crt\nWithout this command: curl http://SERVER:8080/registry-ca.crt\ndocs/registry.md has the place of each client.",
    )
    .action(async () => {
      const session = open();
      const { authority } = await session.client.get<{ authority: string }>("/registry");
      session.show({ authority }, () => authority);
    });
  registry
    .command("collect")
    .description(
      "remove manifests without a tag, and blobs that no manifest names (it happens by itself too)",
    )
    .option("--dry-run", "only tell what would go")
    .addHelpText("after", "\nExamples:\n  boot registry collect --dry-run\n  boot registry collect")
    .action(async (options: { dryRun?: boolean }) => {
      const session = open();
      const isDry = options.dryRun ?? false;
      const found = await session.client.post<Collection>("/registry/collect", { dryRun: isDry });
      session.show(found, () => collectionText(found, isDry));
    });
  registry
    .command("check")
    .description("compare what the registry knows with what lies on the disk; exits with 1 when it is not so")
    .option("--deep", "read all content and compare its digests")
    .option("--repair", "make the rows what the content says, and remove files that nobody knows")
    .addHelpText(
      "after",
      "\nExamples:\n  boot registry check\n  boot registry check --deep --repair\nDamaged content is put aside as soon as it is found, with or without --repair: nobody gets it until it is pushed again.",
    )
    .action(async (options: { deep?: boolean; repair?: boolean }) => {
      const session = open();
      const { deep = false, repair = false } = options;
      const found = await session.client.post<Check>("/registry/check", { deep, repair });
      session.show(found, () => checkText(found));
      const left = repair ? 0 : found.wrongManifests + found.strangers;
      if (found.damagedCount + left > 0) process.exitCode = 1;
    });
}

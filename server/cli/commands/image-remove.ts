import type { Command } from "commander";
import { ImageNotFound } from "../../domain/error-catalogue.ts";
import { Refused } from "../client.ts";
import { formatBytes } from "../output.ts";
import type { ImageView } from "../put-image.ts";
import type { Session } from "../session.ts";

interface RemoveOptions {
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

interface RemovedImages {
  readonly repository: string;
  readonly images: readonly {
    readonly reference: string;
    readonly digest: string;
    readonly otherTags: readonly string[];
  }[];
  readonly freedBytes: number;
  readonly graceSeconds: number;
}

/** `p10/pause:3.9`, `pause@sha256:…`: no image that machines boot has such a name. */
const isContainerName = (name: string): boolean => /[/:@]/.test(name);

function removedText(removed: RemovedImages, isDry: boolean): string {
  const { repository, images, freedBytes, graceSeconds } = removed;
  const lines = images.map(({ reference, digest, otherTags }) => {
    const isDigest = reference.includes(":");
    const name = `${repository}${isDigest ? "@" : ":"}${reference}`;
    const what = `${isDry ? "Would remove" : "Removed"} ${name}${isDigest ? "" : `, which is ${digest}`}.`;
    return otherTags.length === 0 ? what : `${what} The image stays, as ${otherTags.join(", ")}.`;
  });
  const grace = `${Math.ceil(graceSeconds / 60)} minutes after its last use (registry.graceSeconds)`;
  const free = isDry ? "would become free" : "become free";
  const freed =
    freedBytes === 0
      ? `Nothing ${isDry ? "would become" : "becomes"} free: other tags or images have all of it.`
      : `${formatBytes(freedBytes)} ${free}: garbage collection takes what nobody needs ${grace}.`;
  return [...lines, freed, ""].join("\n");
}

async function removeContainer(session: Session, image: string, options: RemoveOptions): Promise<void> {
  const query = new URLSearchParams({
    image,
    ...(options.dryRun && { dryRun: "true" }),
    ...(options.force && { force: "true" }),
  });
  const removed = await session.client.delete<RemovedImages>(`/registry/images?${query.toString()}`);
  session.show(removed, () => removedText(removed, options.dryRun ?? false));
}

/** @returns false: there is no such image that machines boot */
async function removeBoot(
  session: Session,
  name: string,
  version: string | undefined,
  { force, dryRun }: RemoveOptions,
): Promise<boolean> {
  const images = await session.client.list<ImageView>("/images");
  const found = images.filter((one) => one.name === name && (version ?? one.version) === one.version);
  if (images.every((one) => one.name !== name)) return false;
  if (dryRun && found.length > 0) {
    const rows = found.map((one) => `Would remove ${name} ${one.version}, ${formatBytes(one.sizeBytes)}.\n`);
    session.show({ wouldRemove: found }, () => rows.join(""));
    return true;
  }
  const query = new URLSearchParams({
    ...(version !== undefined && { version }),
    ...(force && { force: "true" }),
  });
  await session.client.delete(`/images/${encodeURIComponent(name)}?${query.toString()}`);
  session.done(`Removed ${name}${version === undefined ? "" : ` ${version}`}.`, {
    removed: name,
    ...(version !== undefined && { version }),
  });
  return true;
}

export function removeCommand(image: Command, open: () => Session): void {
  image
    .command("remove <image> [version]")
    .description(
      "remove an image that no machine is booting, with a version only that one; or a container image of the registry, by tag or digest, or all tags of a repository",
    )
    .option("--force", "also if roles are left with no version to boot, or the container image is pinned")
    .option("--dry-run", "only tell what would go, and how many octets become free")
    .addHelpText(
      "after",
      "\nExamples:\n  boot image remove kiosk\n  boot image remove debian-node 20261101\n  boot image remove p10/hello:1.0 --dry-run\n  boot image remove p10/hello            all its tags\nWhat roles, the cluster or registry.pins name is pinned.",
    )
    .action(async (name: string, version: string | undefined, options: RemoveOptions) => {
      const session = open();
      const container = version === undefined ? name : `${name}:${version}`;
      if (isContainerName(name)) return removeContainer(session, container, options);
      if (await removeBoot(session, name, version, options)) return;
      // A repository may have a name without a slash, too.
      await removeContainer(session, container, options).catch((error: unknown) => {
        const isAbsent =
          error instanceof Refused &&
          ["REPOSITORY_NOT_FOUND", "CONTAINER_IMAGE_NOT_FOUND", "REGISTRY_OFF", "INVALID_REQUEST"].includes(
            error.code,
          );
        if (!isAbsent) throw error;
        throw ImageNotFound({
          image: container,
          advice:
            "It is neither an image that machines boot nor one of the registry: `boot image list` shows both.",
        });
      });
    });
}

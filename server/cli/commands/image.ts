import { mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { buildImage } from "../../image/build-image.ts";
import { ingredientsOf } from "../../image/ingredients.ts";
import { root } from "../../platform/checkout.ts";
import { faultOf, readImageJson } from "../image-directory.ts";
import { formatBytes, formatTable, type Table } from "../output.ts";
import type { Session } from "../session.ts";
import { addedText, type ImageView, importImage, progressLine, progressText } from "../put-image.ts";
import { exportCommand } from "./image-archive.ts";
import { importCommands } from "./image-import.ts";
import { prewarmCommand } from "./image-prewarm.ts";
import { removeCommand } from "./image-remove.ts";

interface ContainerImageView {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly state: string;
  readonly signers: readonly string[];
}

const containerTable = (images: readonly ContainerImageView[]): Table => ({
  columns: ["repository", "tag", "digest", "size", "signatures"],
  rows: images.map(({ repository, tag, digest, sizeBytes, state, signers }) => [
    repository,
    tag,
    digest.slice(0, "sha256:".length + 12),
    formatBytes(sizeBytes),
    state === "signed" ? `signed by ${signers.join(", ")}` : state,
  ]),
  empty: "",
});

export function imageCommands(program: Command, open: () => Session): void {
  const image = program
    .command("image")
    .description("what machines load: kernel, initrd, root file system; and container images");
  importCommands(image, open);
  prewarmCommand(image, open);
  exportCommand(image, open);
  image
    .command("list")
    .description("all images: those that machines boot, and those of the registry with who signed them")
    .addHelpText(
      "after",
      '\nExamples:\n  boot image list\n  boot image list --output json   # "kind" is boot or container\nAn image of the registry is signed, unsigned, expired, revoked (the signature, its key or its signer),\nor refused: signed, and not for this name or not by somebody who may.',
    )
    .action(async () => {
      const session = open();
      const images = await session.client.list<ImageView>("/images");
      const containers = await session.client.list<ContainerImageView>("/registry/images");
      const all = [
        ...images.map((one) => ({ kind: "boot", ...one })),
        ...containers.map((one) => ({ kind: "container", ...one })),
      ];
      const boots: Table = {
        columns: ["image", "version", "arch", "size", "boots", "added"],
        rows: images.map((one) => [
          one.name,
          one.version,
          one.arch,
          formatBytes(one.sizeBytes),
          one.current ? "yes" : "no",
          one.addedAt,
        ]),
        empty: "There is no image to boot yet. Build ours: boot image build",
      };
      session.show(all, () =>
        containers.length === 0 ? boots : `${formatTable(boots)}\n${formatTable(containerTable(containers))}`,
      );
    });
  image
    .command("build [recipe]")
    .description(
      "build a diskless Debian image from a recipe (debian-node is ours) and put it into the store",
    )
    .option("--to <dir>", "write it to this directory and leave the store alone")
    .option(
      "--programs <dir>",
      "put in what this directory's SHA256SUMS names: kubeadm, kubelet, kubectl, crictl and container images (*.tar)",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot image build\n  boot image build debian-node --programs ./kubernetes\n  boot image build ./recipes/kiosk --to /srv/kiosk\nIt takes a few minutes, Debian's packages mmdebstrap and squashfs-tools, and about 4 GB of free disk while it runs.",
    )
    .action(async (recipe: string | undefined, options: { to?: string; programs?: string }) => {
      const session = open();
      const { to, programs } = options;
      const ingredients = programs === undefined ? undefined : await ingredientsOf(resolve(programs));
      // Ask before the work of minutes whether there is anybody to give it to.
      if (to === undefined) await session.client.get("/images");
      const named = recipe ?? "debian-node";
      const recipeDir = named.includes("/") ? resolve(named) : join(root, "server/image/recipes", named);
      const outputDir = to === undefined ? mkdtempSync("/var/tmp/rollcall-image-") : resolve(to);
      const progress = progressLine(process.stderr.isTTY === true);
      const abort = new AbortController();
      process.once("SIGINT", () => abort.abort());
      try {
        await buildImage({
          recipeDir,
          outputDir,
          ...(ingredients && { ingredients }),
          signal: abort.signal,
          onProgress: ({ step, percent, elapsedMs }) =>
            progress.show(`${percent} %, ${Math.round(elapsedMs / 1000)} s: ${step}`),
        });
        progress.end();
        if (to !== undefined)
          return session.say(
            `Built in ${outputDir}. To put it into the store: boot image import ${outputDir}`,
          );
        const added = await importImage(session.client, outputDir, process.stderr.isTTY === true);
        session.show(added, () => addedText(added));
      } finally {
        progress.end();
        if (to === undefined) rmSync(outputDir, { recursive: true, force: true });
      }
    });
  image
    .command("verify <directory>")
    .description("check the files of an image directory against image.json")
    .addHelpText("after", "\nExample:\n  boot image verify /srv/kiosk")
    .action(async (directory: string) => {
      const path = resolve(directory);
      const progress = progressLine(process.stderr.isTTY === true);
      let isWhole = true;
      const lines: string[] = [];
      for (const file of Object.values(readImageJson(path).files)) {
        const fault = await faultOf(path, file, (_file, done) =>
          progress.show(progressText("checking", file.name, done, file.sizeBytes)),
        );
        if (fault !== undefined) isWhole = false;
        lines.push(`${file.name}: ${fault ?? "fine"}\n`);
      }
      progress.end();
      process.stdout.write(lines.join(""));
      if (!isWhole) process.exitCode = 1;
    });
  const told = (one: ImageView) =>
    `Machines boot ${one.name} ${one.version} from now on; boots under way go on with theirs.`;
  image
    .command("use <image> <version>")
    .description("choose the version that machines boot from now on; boots under way go on with theirs")
    .addHelpText("after", "\nExample:\n  boot image use debian-node 12.11-1a2b3c4d")
    .action(async (name: string, version: string) => {
      const session = open();
      const chosen = await session.client.put<ImageView>(`/images/${encodeURIComponent(name)}/current`, {
        version,
      });
      session.done(told(chosen), chosen);
    });
  image
    .command("rollback <image>")
    .description("go back to the version that was booted before; a second time goes forward again")
    .addHelpText("after", "\nExample:\n  boot image rollback debian-node")
    .action(async (name: string) => {
      const session = open();
      const chosen = await session.client.post<ImageView>(`/images/${encodeURIComponent(name)}/rollback`, {});
      session.done(told(chosen), chosen);
    });
  removeCommand(image, open);
}

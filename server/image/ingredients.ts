import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { ImageError } from "./image-error.ts";
import { readDigestList } from "./import/digest-list.ts";
import { imagesDirectory, programNames, type Recipe } from "./recipe.ts";

/** What a build takes besides packages: files of this host that are known by their digests. */
export type Ingredients = Pick<Recipe, "programs" | "containerImages">;

const digestList = "SHA256SUMS";

/**
 * All that a directory has for an image by its SHA256SUMS (the form of sha256sum): programs by their names, and container images as *.tar.
 * Other lines of the list are left aside.
 *
 * @throws ImageError IMAGE_DIGESTS_INVALID when there is no such list, or nothing in it that an image takes
 */
export async function ingredientsOf(directory: string): Promise<Ingredients> {
  const list = join(directory, digestList);
  const text = await readFile(list, "utf8").catch((error: unknown) => {
    throw new ImageError(
      "IMAGE_DIGESTS_INVALID",
      `${list} is not there, and without it no file of ${directory} is taken`,
      `look at where the files come from, and write it: cd ${directory} && sha256sum * > ${digestList}`,
      { cause: error },
    );
  });
  const known = readDigestList(text).flatMap(({ name, digest }) =>
    digest.algorithm === "sha256" ? [[name, digest.hex] as const] : [],
  );
  const programs = known.filter(([name]) => programNames.some((program) => program === name));
  const archives = known.filter(([name]) => /^[A-Za-z0-9][A-Za-z0-9_.@+-]*\.tar$/.test(name));
  if (programs.length + archives.length === 0)
    throw new ImageError(
      "IMAGE_DIGESTS_INVALID",
      `${list} names nothing that an image takes`,
      `programs are ${programNames.join(", ")}, container images end in .tar`,
    );
  return {
    programs: { directory, sha256: Object.fromEntries(programs) },
    containerImages: archives.map(([name, sha256]) => ({ file: join(directory, name), sha256 })),
  };
}

/**
 * Copies programs and container images to their places below `root`.
 *
 * @param recipeDir what relative paths are relative to
 * @throws ImageError IMAGE_FILE_MISSING and IMAGE_FILE_MISMATCH, naming the file
 */
export async function addIngredients(
  root: string,
  recipeDir: string,
  { programs, containerImages }: Ingredients,
): Promise<void> {
  const directory = resolve(recipeDir, programs?.directory ?? ".");
  for (const [name, sha256] of Object.entries(programs?.sha256 ?? {}))
    await addFile(join(directory, name), sha256, join(root, "usr/bin", name), 0o755);
  for (const { file, sha256 } of containerImages)
    await addFile(resolve(recipeDir, file), sha256, join(root, imagesDirectory, basename(file)), 0o644);
}

async function addFile(source: string, sha256: string, target: string, mode: number): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  // The copy is what is looked at: the source may change in between.
  await copyFile(source, target).catch((error: unknown) => {
    throw new ImageError(
      "IMAGE_FILE_MISSING",
      `failed to read ${source}, which should have the SHA-256 ${sha256}`,
      "put it there, or take it out of the recipe",
      { cause: error },
    );
  });
  const hash = createHash("sha256");
  await pipeline(createReadStream(target), hash);
  const found = hash.digest("hex");
  if (found !== sha256) {
    await rm(target);
    throw new ImageError(
      "IMAGE_FILE_MISMATCH",
      `${source} has the SHA-256 ${found}, and should have ${sha256}`,
      "look at where it comes from; if it is the right one, correct its digest",
    );
  }
  await chmod(target, mode);
}

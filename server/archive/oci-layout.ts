import { type ArchiveFiles, readSmall } from "./archive-files.ts";
import { ArchiveError, damaged } from "./archive-error.ts";
import { dockerImages } from "./docker-archive.ts";
import { checked, type Descriptor, isManifestType, readDescriptors, readJson } from "./manifest.ts";
import { requireName, readName, type TaggedName } from "./reference.ts";

/** An image in an archive. */
export interface ArchivedImage {
  readonly name: TaggedName;
  /** Archive, and directory in it. */
  readonly place: string;
  readonly descriptor: Descriptor;
  /** The octets of a blob or manifest; throws when they are not there, not whole, or others. */
  read(descriptor: Pick<Descriptor, "digest" | "size">): AsyncIterable<Uint8Array>;
}

const refName = "org.opencontainers.image.ref.name";
/** containerd, and docker save since version 25: the whole name, where `refName` is the tag alone. */
const containerdName = "io.containerd.image.name";

/**
 * All images of an archive: an OCI layout (OCI image specification, image-layout.md) at its top or one directory below, as
 * podsec-save-oci makes it, or what `docker save` makes.
 * @param nameFor of an image that has no whole name in the archive
 * @throws ArchiveError ARCHIVE_UNKNOWN, ARCHIVE_DAMAGED, ARCHIVE_NAME_INVALID
 */
export async function imagesOf(
  files: ArchiveFiles,
  nameFor: TaggedName | undefined,
): Promise<ArchivedImage[]> {
  const directories = ["", ...(await files.top()).map((name) => `${name}/`)];
  const layouts: string[] = [];
  for (const directory of directories) {
    if ((await files.sizeOf(`${directory}index.json`)) === undefined) continue;
    layouts.push(directory);
    // What lies below a layout are its blobs.
    if (directory === "") break;
  }
  const found: ArchivedImage[] = [];
  for (const directory of layouts) found.push(...(await imagesOfLayout(files, directory, nameFor)));
  if (layouts.length === 0 && (await files.sizeOf("manifest.json")) !== undefined)
    found.push(...(await dockerImages(files, nameFor)));
  if (found.length > 0) return found;
  throw new ArchiveError(
    "ARCHIVE_UNKNOWN",
    layouts.length > 0
      ? `${files.place} has no image in its index.json`
      : `${files.place} has no images: there is neither index.json (OCI) nor manifest.json (docker save) in it, nor in a directory at its top`,
    "An archive of images is what podsec-save-oci, `docker save`, `podman save` or `skopeo copy ... oci-archive:FILE` make.",
  );
}

async function imagesOfLayout(
  files: ArchiveFiles,
  directory: string,
  nameFor: TaggedName | undefined,
): Promise<ArchivedImage[]> {
  const place = directory === "" ? files.place : `${files.place}: ${directory.slice(0, -1)}`;
  if ((await files.sizeOf(`${directory}oci-layout`)) !== undefined) {
    const { imageLayoutVersion } = await jsonFile(files, `${directory}oci-layout`);
    if (typeof imageLayoutVersion !== "string" || !imageLayoutVersion.startsWith("1."))
      throw damaged(place, "oci-layout names no version 1 of the image layout");
  }
  const index = await jsonFile(files, `${directory}index.json`);
  const descriptors = readDescriptors(index["manifests"], `${place}: index.json: manifests`);
  const images = descriptors.filter(({ mediaType }) => isManifestType(mediaType));
  return images.map((descriptor): ArchivedImage => {
    const name = nameOf(descriptor, images.length === 1 ? nameFor : undefined, place);
    return { name, place, descriptor, read: (wanted) => readBlob(files, directory, wanted, place) };
  });
}

function nameOf(
  { annotations, digest }: Descriptor,
  given: TaggedName | undefined,
  place: string,
): TaggedName {
  if (given) return given;
  const said = annotations?.[refName];
  const whole = annotations?.[containerdName];
  const name =
    (said === undefined ? undefined : readName(said)) ?? (whole === undefined ? undefined : readName(whole));
  if (name) return name;
  if (said === undefined || /^[\w.-]+$/.test(said))
    throw new ArchiveError(
      "ARCHIVE_NAME_INVALID",
      `${place}: the image ${digest} has no name, only ${said === undefined ? "its digest" : `the tag ${said}`}`,
      `Name it, if it is the only one in the archive: boot image import FILE --as p10/NAME:${said ?? "TAG"}`,
    );
  return requireName(said);
}

async function* readBlob(
  files: ArchiveFiles,
  directory: string,
  wanted: Pick<Descriptor, "digest" | "size">,
  place: string,
): AsyncGenerator<Uint8Array> {
  const name = `${directory}blobs/${wanted.digest.replace(":", "/")}`;
  if ((await files.sizeOf(name)) === undefined) throw damaged(place, `${wanted.digest} is not in it`);
  yield* checked(files.read(name), wanted, place);
}

async function jsonFile(files: ArchiveFiles, name: string): Promise<Readonly<Record<string, unknown>>> {
  return readJson(await readSmall(files, name), `${files.place}: ${name}`);
}

import type { EpochMs } from "./capabilities.ts";
import type { Arch } from "./firmware.ts";

/** One file of an image, kept by digest. */
export interface ImageFile {
  readonly name: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** `kernelEfi` is there where a program has another file for UEFI; a Linux kernel is the same for both. */
export const imageFileKinds = ["kernel", "kernelEfi", "initrd", "rootfs"] as const;
export type ImageFileKind = (typeof imageFileKinds)[number];

/** What a machine loads: kernel, initrd and, fetched by the initrd, the root file system. */
export interface BootedImage {
  readonly name: string;
  readonly version: string;
  readonly arch: Arch;
  readonly files: { readonly [kind in ImageFileKind]?: ImageFile } & { readonly kernel: ImageFile };
}

/** One version of an image in the store. */
export interface Image extends BootedImage {
  readonly addedAt: EpochMs;
  /** The version that machines boot; exactly one per name. */
  readonly isCurrent: boolean;
  /** When it was made so the last time; undefined: never. */
  readonly currentSince: EpochMs | undefined;
}

export function filesOf({ files }: Pick<BootedImage, "files">): ImageFile[] {
  return Object.values(files);
}

/** When people last dealt with this version: the later, the sooner it is gone back to. */
export function lastChosen({ currentSince, addedAt }: Image): EpochMs {
  return Math.max(currentSince ?? 0, addedAt);
}

/** The version that was booted before the current one; undefined: there is none. */
export function previousVersion(images: readonly Image[], name: string): Image | undefined {
  return images
    .filter((image) => image.name === name && !image.isCurrent && image.currentSince !== undefined)
    .reduce<Image | undefined>(
      (latest, image) => (latest && lastChosen(latest) >= lastChosen(image) ? latest : image),
      undefined,
    );
}

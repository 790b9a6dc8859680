import type { EpochMs } from "./capabilities.ts";
import type { Arch } from "./firmware.ts";

/** One file of an image, kept by digest. */
export interface ImageFile {
  readonly name: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export const imageFileKinds = ["kernel", "initrd", "rootfs"] as const;
export type ImageFileKind = (typeof imageFileKinds)[number];

/** What a machine loads: kernel, initrd and, fetched by the initrd, the root file system. */
export interface Image {
  readonly name: string;
  readonly version: string;
  readonly arch: Arch;
  readonly files: { readonly kernel: ImageFile; readonly initrd: ImageFile; readonly rootfs?: ImageFile };
  readonly addedAt: EpochMs;
  /** The version that machines boot; exactly one per name. */
  readonly isCurrent: boolean;
}

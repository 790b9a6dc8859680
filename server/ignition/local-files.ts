/** What `local`, `contents_local`, `ssh_authorized_keys_local` and `trees` need of the outside: files below one folder, and nothing else. */
export interface LocalFiles {
  /** @throws LocalFileFault */
  read(path: string): Uint8Array;
  /** All below a folder, in the order of their paths. @throws LocalFileFault */
  tree(path: string): readonly TreeEntry[];
}

/** `path` begins below the tree's root, parted by slashes. */
export type TreeEntry =
  | { readonly kind: "directory"; readonly path: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly isExecutable: boolean;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

/** Why a local file can't be used, as the end of a sentence that begins with the key. */
export class LocalFileFault extends Error {}

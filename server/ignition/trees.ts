import type { Directory, File, Identity, Link, Storage } from "./config.ts";
import type { EncodedContents } from "./data-url.ts";
import type { TreeEntry } from "./local-files.ts";
import type { Path } from "./shape.ts";

/** An entry of Butane's `storage.trees`, in Ignition's spelling. */
export interface Tree {
  readonly local?: string;
  readonly path?: string;
  readonly user?: Identity;
  readonly group?: Identity;
  readonly fileMode?: number;
  readonly dirMode?: number;
}

export interface TreeTools {
  /** Undefined: it can't be read, which is reported already. */
  readonly read: (path: string) => readonly TreeEntry[] | undefined;
  readonly encode: (bytes: Uint8Array, isCompressed: boolean) => EncodedContents;
  readonly report: (message: string) => void;
  /** The tree is the origin of this path of the config. */
  readonly note: (path: Path) => void;
}

/** Adds what a folder holds to files and links; an entry that is there without contents is filled, and keeps its owner and mode. */
export function growTrees(tree: Tree, storage: Storage, { read, encode, report, note }: TreeTools): Storage {
  if (!tree.local) {
    report("the key local is missing");
    return storage;
  }
  const entries = read(tree.local);
  if (!entries) return storage;
  const files: File[] = [...(storage.files ?? [])];
  const links: Link[] = [...(storage.links ?? [])];
  const directories: Directory[] = [...(storage.directories ?? [])];
  const { user, group } = tree;
  const owner = { ...(user ? { user } : {}), ...(group ? { group } : {}) };
  const top = (tree.path ?? "/").replace(/\/+$/, "");
  const isTaken = (path: string) => [...files, ...links, ...directories].some((node) => node.path === path);
  const refuse = (path: string) => report(`${path} is described elsewhere in this config too`);

  for (const entry of entries) {
    const path = `${top}/${entry.path}`;
    if (entry.kind === "directory") {
      if (tree.dirMode === undefined && !user && !group) continue;
      if (isTaken(path)) refuse(path);
      else {
        note(["storage", "directories", directories.length]);
        directories.push({ path, ...owner, mode: tree.dirMode ?? 0o755 });
      }
    } else if (entry.kind === "file") {
      const index = files.findIndex((file) => file.path === path);
      const known = files[index];
      if (known ? known.contents?.source : isTaken(path)) {
        refuse(path);
        continue;
      }
      const { source, compression } = encode(entry.bytes, Boolean(known?.contents?.compression));
      const contents = { ...known?.contents, source, ...(compression === undefined ? {} : { compression }) };
      const mode = known?.mode ?? tree.fileMode ?? (entry.isExecutable ? 0o755 : 0o644);
      if (!known) note(["storage", "files", files.length]);
      files[known ? index : files.length] = { ...(known ?? { path, ...owner }), contents, mode };
    } else {
      const index = links.findIndex((link) => link.path === path);
      const known = links[index];
      if (known ? known.target : isTaken(path)) {
        refuse(path);
        continue;
      }
      if (!known) note(["storage", "links", links.length]);
      links[known ? index : links.length] = { ...(known ?? { path, ...owner }), target: entry.target };
    }
  }
  return {
    ...storage,
    ...(directories.length > 0 ? { directories } : {}),
    ...(files.length > 0 ? { files } : {}),
    ...(links.length > 0 ? { links } : {}),
  };
}

import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { join, sep } from "node:path";
import { LocalFileFault, type LocalFiles, type TreeEntry } from "../ignition/local-files.ts";

/** Limits against a slip: a config travels to every machine and lies in its RAM. */
const maximumFileBytes = 8 * 1024 * 1024;
const maximumTreeBytes = 32 * 1024 * 1024;
const maximumTreeEntries = 2000;

/** The files below a role's folder, each read once. No path and no link leads out of it. */
export function createLocalFiles(directory: string): LocalFiles {
  const known = new Map<string, Uint8Array>();
  const root = realpathSync(directory);

  function inside(path: string): string {
    let real: string;
    try {
      if (path === "" || path.includes("\0")) throw new Error();
      real = realpathSync(join(root, path));
    } catch {
      throw new LocalFileFault(`there is no ${JSON.stringify(path).slice(0, 200)} in the role's folder`);
    }
    if (real !== root && !real.startsWith(root + sep))
      throw new LocalFileFault(`${path} leads out of the role's folder`);
    return real;
  }

  function readOnce(real: string, shown: string): Uint8Array {
    const before = known.get(real);
    if (before) return before;
    const facts = statSync(real);
    if (!facts.isFile()) throw new LocalFileFault(`${shown} is no file`);
    if (facts.size > maximumFileBytes)
      throw new LocalFileFault(`${shown} has more than ${maximumFileBytes / 1024 ** 2} MiB`);
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(real);
    } catch {
      throw new LocalFileFault(`${shown} can't be read`);
    }
    known.set(real, bytes);
    return bytes;
  }

  return {
    read: (path) => readOnce(inside(path), path),
    tree(path) {
      const top = inside(path);
      if (!statSync(top).isDirectory()) throw new LocalFileFault(`${path} is no folder`);
      const entries: TreeEntry[] = [];
      let size = 0;
      const walk = (folder: string, below: string): void => {
        for (const name of readdirSync(folder).sort()) {
          const real = join(folder, name);
          const entry = below === "" ? name : `${below}/${name}`;
          // The entry itself and not what a link leads to: a link becomes a link of the machine.
          const facts = lstatSync(real);
          if (entries.length >= maximumTreeEntries)
            throw new LocalFileFault(`${path} holds more than ${maximumTreeEntries} files and folders`);
          if (facts.isSymbolicLink()) entries.push({ kind: "link", path: entry, target: readlinkSync(real) });
          else if (facts.isDirectory()) {
            entries.push({ kind: "directory", path: entry });
            walk(real, entry);
          } else if (facts.isFile()) {
            const bytes = readOnce(real, `${path}/${entry}`);
            size += bytes.length;
            if (size > maximumTreeBytes)
              throw new LocalFileFault(`${path} holds more than ${maximumTreeBytes / 1024 ** 2} MiB`);
            entries.push({ kind: "file", path: entry, isExecutable: (facts.mode & 0o111) !== 0, bytes });
          } else throw new LocalFileFault(`${path}/${entry} is neither file, folder nor link`);
        }
      };
      walk(top, "");
      return entries;
    },
  };
}

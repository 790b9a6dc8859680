import { existsSync } from "node:fs";
import { mkdir, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { EtcdGenerationRefused } from "../domain/error-catalogue.ts";
import { syncDirectory } from "../pki/write-once.ts";

/**
 * etcd's data by generation of the cluster: `data-1`, `data-2`; the link `current` names the one in use and `previous` the last one before it
 * that held a cluster (`initialized-1` says so), kept once as a way back. A link changes at one stroke: whatever is cut short leaves the old
 * generation, and the same call goes on.
 */
export interface Generations {
  /** Undefined before the first one. */
  current(): Promise<number | undefined>;
  previous(): Promise<number | undefined>;
  directoryOf(generation: number): string;
  /** A cluster was made in the current generation: its data are worth keeping from now on. */
  markInitialized(): Promise<void>;
  /**
   * Goes on with another generation, which `fill` makes in an empty directory that does not exist yet. The same generation again: nothing.
   * The one that is left becomes the previous one if it held a cluster. If not it is thrown away: tries to make a cluster that failed must
   * not push out the last one that there was.
   * @returns whether there was something to do
   * @throws EtcdGenerationRefused when it is older than the current one
   */
  goOn(generation: number, fill: (directory: string) => Promise<void>): Promise<boolean>;
  /** The previous one is the current one again, and the other way round. @returns undefined when there is none */
  goBack(): Promise<number | undefined>;
}

export function openGenerations(directory: string): Generations {
  const path = (name: string) => join(directory, name);
  const nameOf = (generation: number) => `data-${generation}`;
  const markOf = (generation: number) => path(`initialized-${generation}`);
  const read = async (link: string): Promise<number | undefined> => {
    const target = await readlink(path(link)).catch(() => "");
    const match = /^data-([1-9][0-9]{0,14})$/.exec(basename(target));
    return match && existsSync(path(target)) ? Number(match[1]) : undefined;
  };
  const point = async (link: string, generation: number) => {
    const unfinished = path(`${link}.new`);
    await rm(unfinished, { force: true });
    await symlink(nameOf(generation), unfinished);
    await rename(unfinished, path(link));
    await syncDirectory(directory);
  };
  const collect = async () => {
    const kept = new Set([await read("current"), await read("previous")]);
    for (const name of await readdir(directory)) {
      const match = /^(?:data|initialized)-([0-9]+)(\.new)?$/.exec(name);
      if (match && (match[2] !== undefined || !kept.has(Number(match[1]))))
        await rm(path(name), { recursive: true, force: true });
    }
  };

  return {
    current: () => read("current"),
    previous: () => read("previous"),
    directoryOf: (generation) => path(nameOf(generation)),
    async markInitialized() {
      const generation = await read("current");
      if (generation === undefined || existsSync(markOf(generation))) return;
      await writeFile(markOf(generation), "");
      await syncDirectory(directory);
    },
    async goOn(generation, fill) {
      const before = await read("current");
      if (before === generation) return false;
      if (before !== undefined && generation < before)
        throw EtcdGenerationRefused({ asked: generation, current: before });
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const made = path(nameOf(generation));
      const unfinished = `${made}.new`;
      for (const left of [made, markOf(generation), unfinished])
        await rm(left, { recursive: true, force: true });
      await fill(unfinished);
      await mkdir(unfinished, { recursive: true, mode: 0o700 });
      await rename(unfinished, made);
      if (before !== undefined && existsSync(markOf(before))) await point("previous", before);
      await point("current", generation);
      await collect();
      return true;
    },
    async goBack() {
      const [before, back] = [await read("current"), await read("previous")];
      if (before === undefined || back === undefined || before === back) return undefined;
      await point("current", back);
      await point("previous", before);
      return back;
    },
  };
}

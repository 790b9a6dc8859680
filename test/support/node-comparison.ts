import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { join } from "node:path";
import type { NodeSpec } from "../../server/node/node-spec.ts";
import { nodeTree } from "../../server/node/node-tree.ts";

/** How a root file system differs from the tree of a spec: nothing, when it is as it should be. */
export function differencesFrom(spec: NodeSpec, root: string): readonly string[] {
  const { directories, files, links } = nodeTree(spec);
  const ids = new Map<string, number>([
    ["root", 0],
    ...spec.users.map(({ name, uid }) => [name, uid] as const),
  ]);
  const found: string[] = [];
  const look = (
    path: string,
    owner: string | undefined,
    isOfType: (stats: Stats) => boolean,
  ): Stats | undefined => {
    const stats = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (!stats || !isOfType(stats)) {
      found.push(`${path} is ${stats ? "of another type" : "missing"}`);
      return undefined;
    }
    if (owner !== undefined && (stats.uid !== ids.get(owner) || stats.gid !== ids.get(owner)))
      found.push(`${path} belongs to ${stats.uid}:${stats.gid}, not to ${owner}`);
    return stats;
  };
  const hasMode = (path: string, stats: Stats | undefined, mode: number) => {
    if (stats && (stats.mode & 0o7777) !== mode)
      found.push(`${path} has the mode ${(stats.mode & 0o7777).toString(8)}`);
  };
  for (const { path, owner, mode } of directories)
    hasMode(
      path,
      look(path, owner, (stats) => stats.isDirectory()),
      mode,
    );
  for (const { path, owner, mode, text } of files) {
    const stats = look(path, owner, (one) => one.isFile());
    hasMode(path, stats, mode);
    if (stats && readFileSync(join(root, path), "utf8") !== text) found.push(`${path} has another content`);
  }
  for (const { path, target } of links) {
    const stats = look(path, undefined, (one) => one.isSymbolicLink());
    if (stats && readlinkSync(join(root, path)) !== target) found.push(`${path} leads to another target`);
  }
  const known = new Set([...directories, ...files, ...links].map(({ path }) => path));
  for (const { path } of directories)
    if (path !== "/var/lib/systemd/linger" && existsSync(join(root, path)))
      for (const name of readdirSync(join(root, path)))
        if (![...known].some((one) => one === `${path}/${name}` || one.startsWith(`${path}/${name}/`)))
          found.push(`${path}/${name} is not of the spec`);
  return [...found, ...accountDifferences(spec, root)];
}

/** How the accounts differ: ids, home, shell, groups, a password, and the ranges of subuid and subgid, of which there is one each. */
function accountDifferences(spec: NodeSpec, root: string): string[] {
  const { users, groups, shadow } = accountFiles(root);
  const found: string[] = [];
  for (const { name, uid, home, shell, description, groups: more } of spec.users) {
    const user = users.get(name)?.join(":");
    const expected = `${name}:x:${uid}:${uid}:${description}:${home}:${shell}`;
    if (user !== expected) found.push(`passwd: ${user}, not ${expected}`);
    if (groups.get(name)?.[2] !== String(uid)) found.push(`group: ${groups.get(name)?.join(":")}`);
    for (const group of more)
      if (!(groups.get(group)?.[3] ?? "").split(",").includes(name)) found.push(`${name} is not in ${group}`);
    if (!/^[!*]/.test(shadow.get(name)?.[1] ?? "")) found.push(`${name} has a password`);
  }
  for (const path of ["etc/subuid", "etc/subgid"]) {
    const lines = readFileSync(join(root, path), "utf8")
      .split("\n")
      .filter((line) => line.startsWith("u7s-admin:"));
    if (lines.join() !== "u7s-admin:231072:65536") found.push(`${path}: ${lines.join()}`);
  }
  return found;
}

/** The lines of a system's passwd, group and shadow, by name. */
function accountFiles(root: string): Record<"users" | "groups" | "shadow", Map<string, string[]>> {
  const read = (path: string) =>
    new Map(
      readFileSync(join(root, path), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => [line.split(":")[0] ?? "", line.split(":")] as const),
    );
  return { users: read("etc/passwd"), groups: read("etc/group"), shadow: read("etc/shadow") };
}

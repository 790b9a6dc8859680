import { familyTable } from "./families.ts";
import { adminUser, type NodeDirectory, type NodeFile, type NodeLink, type NodeSpec } from "./node-spec.ts";
import { type PublicText, publicText } from "./public-text.ts";

/** The spec as what lies on a file system: each emitter writes this, so that all write the same. Sorted by path: a directory before its own. */
export interface NodeTree {
  readonly directories: readonly NodeDirectory[];
  readonly files: readonly NodeFile[];
  readonly links: readonly NodeLink[];
  /** Puts it in force in a system that runs already. */
  readonly activation: string;
}

const unitDirectory = { system: "/etc/systemd/system", user: "/etc/systemd/user" } as const;
const pathForm = /^(?:\/(?!\.{1,2}(?:\/|$))[\w@.:+-]+)+$/;

/** @throws Error when two parts claim one path, or a path or word is of no plain form: faults of the code that made the spec */
export function nodeTree(spec: NodeSpec): NodeTree {
  const root = (path: string, text: string, mode = 0o644): NodeFile => ({
    path,
    owner: "root",
    mode,
    text: publicText(text),
  });
  const subordinates = lines(
    spec.subordinateIds.map(({ user, first, count }) => `${user}:${first}:${count}`),
  );
  const tree = {
    directories: inOrder(spec.directories),
    files: inOrder([
      ...spec.files,
      root("/etc/subuid", subordinates),
      root("/etc/subgid", subordinates),
      root("/etc/modules-load.d/u7s.conf", lines(spec.modules)),
      // A key with a hyphen may be missing without a complaint (sysctl.d(5)).
      root(
        "/etc/sysctl.d/90-u7s.conf",
        lines(spec.sysctls.map(({ key, value, isOptional }) => `${isOptional ? "-" : ""}${key} = ${value}`)),
      ),
      root("/etc/sysusers.d/u7s.conf", accountLines(spec)),
      // systemd looks after accounts when /usr is newer than /etc; here it always does.
      root("/etc/systemd/system/systemd-sysusers.service.d/u7s.conf", "[Unit]\nConditionNeedsUpdate=\n"),
      ...spec.units.map(({ name, scope, text }) => root(`${unitDirectory[scope]}/${name}`, text)),
    ]),
    links: inOrder([
      ...spec.links,
      // Presets are applied in first boots only, and a machine-id on the command line makes a boot a later one (machine-id(5)).
      ...spec.units.flatMap(({ name, scope, wantedBy }) =>
        wantedBy.map((target): NodeLink => ({
          path: `${unitDirectory[scope]}/${target}.wants/${name}`,
          target: `../${name}`,
        })),
      ),
    ]),
    activation: `${familyTable[spec.family].programs}/activate.sh`,
  };
  check(tree);
  return tree;
}

/**
 * The accounts as sysusers.d(5) has them: an initrd overlay can't call useradd, and Ignition can't add a user to a group that may or may
 * not be there. For the others it changes nothing.
 */
function accountLines({ groups, users }: NodeSpec): string {
  return lines([
    ...groups.map(({ name, gid }) => `g ${name} ${gid ?? "-"}`),
    ...users.flatMap(({ name, uid, groups: more, home, shell, description }) => [
      `u ${name} ${uid}:${name} "${description}" ${home} ${shell}`,
      ...more.map((group) => `m ${name} ${group}`),
    ]),
  ]);
}

function lines(texts: readonly string[]): PublicText {
  return publicText(texts.map((text) => `${text}\n`).join(""));
}

function inOrder<Entry extends { readonly path: string }>(entries: readonly Entry[]): readonly Entry[] {
  return entries.toSorted((left, right) => (left.path < right.path ? -1 : 1));
}

function check({ directories, files, links }: NodeTree): void {
  const taken = new Set<string>();
  const notDirectories = new Set([...files, ...links].map(({ path }) => path));
  const owners = new Map(directories.map(({ path, owner }) => [path, owner]));
  for (const { path } of [...directories, ...files, ...links]) {
    if (!pathForm.test(path)) throw new Error(`a node's description has no plain path: ${path}`);
    if (taken.has(path)) throw new Error(`a node's description has ${path} twice`);
    taken.add(path);
    for (const parent of parentsOf(path))
      if (notDirectories.has(parent))
        throw new Error(`${parent} of a node's description is no directory, below it is ${path}`);
  }
  for (const { path, owner } of [...directories, ...files]) {
    const parent = parentsOf(path).at(-1) ?? "";
    // Who makes a parent that nobody named makes it root's.
    if (owner === adminUser && !owners.has(parent) && parent !== "/var/lib")
      throw new Error(`${parent} of a node's description has no owner, below it is ${path}`);
    // Root writes nothing where a user could have put a link.
    if (owner === "root" && owners.get(parent) === adminUser)
      throw new Error(`${path} of a node's description is root's, in a user's directory`);
  }
  for (const { path, text } of files)
    if (text !== "" && (!text.endsWith("\n") || text.includes("\0")))
      throw new Error(`${path} of a node's description does not end with a line feed`);
  for (const { target } of links)
    if (!/^[\w@./+-]+$/.test(target)) throw new Error(`a node's description has no plain target: ${target}`);
}

/** `/a/b/c` -> `/a`, `/a/b` */
export function parentsOf(path: string): readonly string[] {
  const segments = path.split("/").slice(1, -1);
  return segments.map((_, index) => `/${segments.slice(0, index + 1).join("/")}`);
}

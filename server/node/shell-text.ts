import type { NodeSpec } from "./node-spec.ts";
import { type NodeTree, parentsOf } from "./node-tree.ts";

/** What cloud-init has no module for, and a script does by hand: words are of plain forms, as `nodeTree` checks. */

const octal = (mode: number) => mode.toString(8).padStart(4, "0");

/** What lies in a user's directory the user makes: root would follow a link that the user may have put there since the last time. */
function asOwnerOfParent({ directories }: NodeTree, path: string): string {
  const parent = directories.find((directory) => directory.path === parentsOf(path).at(-1));
  return parent === undefined || parent.owner === "root" ? "" : `runuser -u ${parent.owner} -- `;
}

export function directoryCommands(tree: NodeTree): readonly string[] {
  return tree.directories.map(({ path, owner, mode }) => {
    const user = asOwnerOfParent(tree, path);
    const ownership = user === "" ? ` -o ${owner} -g ${owner}` : "";
    return `${user}install -d -m ${octal(mode)}${ownership} "${path}"`;
  });
}

export function linkCommands(tree: NodeTree): readonly string[] {
  return tree.links.flatMap(({ path, target }) => {
    const user = asOwnerOfParent(tree, path);
    return [
      ...(user === "" ? [`mkdir -p "${parentsOf(path).at(-1) ?? "/"}"`] : []),
      `${user}ln -sfn ${target} "${path}"`,
    ];
  });
}

/** Makes what is not there yet of the accounts, and leaves what is. */
export function accountCommands({ groups, users }: NodeSpec): readonly string[] {
  return [
    ...groups.map(
      ({ name, gid }) =>
        `getent group ${name} >/dev/null || groupadd --system${gid === undefined ? "" : ` --gid ${gid}`} ${name}`,
    ),
    ...users.flatMap(({ name, uid, groups: more, home, shell, description }) => [
      `getent passwd ${name} >/dev/null || useradd --system --uid ${uid} --gid ${name} --home-dir ${home} --no-create-home --shell ${shell} --comment "${description}" ${name}`,
      `[ "$(id -u ${name})" = ${uid} ] || { echo "the user ${name} has another id than ${uid}" >&2; exit 1; }`,
      `usermod --append --groups ${more.join(",")} ${name}`,
    ]),
  ];
}

export { octal };

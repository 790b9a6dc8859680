import type { NodeSpec } from "./node-spec.ts";
import type { NodeTree } from "./node-tree.ts";

/** What cloud-init has no module for, and a script does by hand: words are of plain forms, as `nodeTree` checks. */

const octal = (mode: number) => mode.toString(8).padStart(4, "0");

export function directoryCommands({ directories }: NodeTree): readonly string[] {
  return directories.map(
    ({ path, owner, mode }) => `install -d -m ${octal(mode)} -o ${owner} -g ${owner} "${path}"`,
  );
}

export function linkCommands({ links }: NodeTree): readonly string[] {
  return links.flatMap(({ path, target }) => [
    `mkdir -p "${path.slice(0, path.lastIndexOf("/"))}"`,
    `ln -sfn ${target} "${path}"`,
  ]);
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

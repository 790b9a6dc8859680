import type { NodeSpec } from "./node-spec.ts";
import { nodeTree } from "./node-tree.ts";
import { directoryCommands, linkCommands, octal } from "./shell-text.ts";

/** As a cloud-config (cloud-init 20.3 or later, which knows `defer`). It is JSON, which is YAML, so that nothing has to be quoted by hand. */
export function toCloudConfig(spec: NodeSpec): string {
  const tree = nodeTree(spec);
  const config = {
    // It comes beside the config of others, and adds to their lists.
    merge_how: [
      { name: "list", settings: ["append"] },
      { name: "dict", settings: ["no_replace", "recurse_list"] },
    ],
    groups: spec.groups.filter(({ gid }) => gid === undefined).map(({ name }) => name),
    // cloud-init gives groups no id: it comes before its users.
    bootcmd: spec.groups
      .filter(({ gid }) => gid !== undefined)
      .map(({ name, gid }) => `getent group ${name} >/dev/null || groupadd --system --gid ${gid} ${name}`),
    users: spec.users.map(({ name, uid, groups, home, shell, description }) => ({
      name,
      uid,
      primary_group: name,
      no_user_group: true,
      groups: groups.join(","),
      homedir: home,
      no_create_home: true,
      shell,
      gecos: description,
      system: true,
      lock_passwd: true,
    })),
    // Deferred: after the users, who own some, and whose making would add a second range to subuid.
    write_files: tree.files.map(({ path, owner, mode, text }) => ({
      path,
      owner: `${owner}:${owner}`,
      permissions: octal(mode),
      content: text,
      defer: true,
    })),
    runcmd: [["sh", "-euc", [...directoryCommands(tree), ...linkCommands(tree), tree.activation].join("\n")]],
  };
  return `#cloud-config\n${JSON.stringify(config, undefined, 1)}\n`;
}

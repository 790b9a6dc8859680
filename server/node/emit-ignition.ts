import type { IgnitionConfig, Node } from "../ignition/config.ts";
import { encodeContents } from "../ignition/data-url.ts";
import type { NodeSpec, Owner } from "./node-spec.ts";
import { nodeTree } from "./node-tree.ts";

/** As an Ignition config of version 3.0.0, which every Ignition 3 reads. Kernel arguments stand in the boot script. */
export function toIgnition(spec: NodeSpec): IgnitionConfig {
  const { directories, files, links } = nodeTree(spec);
  // Ignition makes what has no owner root's, also in a user's home.
  const owned = (owner: Owner) => ({ user: { name: owner }, group: { name: owner } }) satisfies Partial<Node>;
  return {
    ignition: { version: "3.0.0" },
    passwd: {
      // A group that is there already is a fault to Ignition, and so is a member of one that is not: systemd adds those (sysusers.d).
      groups: spec.groups.flatMap(({ name, gid }) =>
        gid === undefined ? [] : [{ name, gid, system: true }],
      ),
      users: spec.users.map(({ name, uid, home, shell, description }) => ({
        name,
        uid,
        primaryGroup: name,
        homeDir: home,
        shell,
        gecos: description,
        system: true,
        noUserGroup: true,
        noCreateHome: true,
      })),
    },
    storage: {
      directories: directories.map(({ path, owner, mode }) => ({ path, mode, ...owned(owner) })),
      files: files.map(({ path, owner, mode, text }) => {
        const { source } = encodeContents(new TextEncoder().encode(text), (bytes) => bytes, true);
        return { path, mode, overwrite: true, ...owned(owner), contents: { source } };
      }),
      links: links.map(({ path, target }) => ({ path, target, overwrite: true })),
    },
  };
}

import { cpio, type CpioMember } from "./cpio.ts";
import type { NodeSpec, Owner } from "./node-spec.ts";
import { nodeTree, parentsOf } from "./node-tree.ts";

/** In an initramfs that goes on to another root: what its scripts copy there (`cp -a <this>/. <new root>/`). */
export const overlayPrefix = "rollcall/node";

/**
 * As a cpio archive that a boot loader puts after the initrd. Owners are numbers: systemd makes their accounts at the start of the boot
 * (sysusers.d(5)).
 * @param prefix "" where the initramfs is the root that stays
 */
export function toInitrdOverlay(spec: NodeSpec, prefix: string = overlayPrefix): Uint8Array {
  const { directories, files, links } = nodeTree(spec);
  const ids = new Map<Owner, number>([
    ["root", 0],
    ...spec.users.map(({ name, uid }) => [name, uid] as const),
  ]);
  const none = new Uint8Array();
  const placed = (type: CpioMember["type"], path: string, owner: Owner, mode: number, data: Uint8Array) => {
    const id = ids.get(owner) ?? 0;
    return { path: prefix === "" ? path : `/${prefix}${path}`, type, mode, uid: id, gid: id, data };
  };
  const text = (value: string) => new TextEncoder().encode(value);
  const members = [
    ...directories.map(({ path, owner, mode }) => placed("directory", path, owner, mode, none)),
    ...files.map((file) => placed("file", file.path, file.owner, file.mode, text(file.text))),
    ...links.map(({ path, target }) => placed("link", path, "root", 0o777, text(target))),
  ];
  const named = new Set(members.map(({ path }) => path));
  const parents = [...new Set(members.flatMap(({ path }) => parentsOf(path)))].filter(
    (path) => !named.has(path),
  );
  return cpio(
    [
      ...members,
      ...parents.map((path) => ({
        path,
        type: "directory" as const,
        mode: 0o755,
        uid: 0,
        gid: 0,
        data: none,
      })),
    ]
      .toSorted((left, right) => (left.path < right.path ? -1 : 1))
      .map(({ path, ...member }) => ({ ...member, name: path.slice(1) })),
  );
}

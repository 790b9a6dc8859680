import type { Filesystem, Luks, Unit } from "./config.ts";

/** A path as the name of a unit has it (systemd-escape --path). */
export function escapeUnitPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length === 0) return "-";
  return [...Buffer.from(parts.join("/"))]
    .map((byte, index) => {
      const character = String.fromCharCode(byte);
      if (character === "/") return "-";
      const isKept = /[A-Za-z0-9:_.]/.test(character) && !(index === 0 && character === ".");
      return isKept ? character : `\\x${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

/** Is the filesystem on an encrypted volume that a key server opens? Then it is mounted once the network is there. */
function needsNetwork(device: string, luks: readonly Luks[]): boolean {
  const name = /^\/dev\/(?:mapper\/|disk\/by-id\/dm-name-)(.+)$/.exec(device)?.[1];
  return luks.some((volume) => volume.name === name && (volume.clevis?.tang?.length ?? 0) > 0);
}

/** The unit that mounts a filesystem, or switches swap on, at each boot: Butane's `with_mount_unit`. */
export function mountUnit(filesystem: Filesystem, luks: readonly Luks[]): Unit {
  const { device, format = "", path = "" } = filesystem;
  const isRemote = needsNetwork(device, luks);
  const mountOptions = [...(filesystem.mountOptions ?? []), ...(isRemote ? ["_netdev"] : [])];
  const optionLines = mountOptions.length > 0 ? [`Options=${mountOptions.join(",")}`] : [];
  const fsck = `systemd-fsck@${escapeUnitPath(device)}.service`;
  const isSwap = format === "swap";
  const lines = isSwap
    ? ["[Swap]", `What=${device}`, ...optionLines, "", "[Install]", "RequiredBy=swap.target"]
    : [
        "[Unit]",
        `Requires=${fsck}`,
        `After=${fsck}`,
        "",
        "[Mount]",
        `Where=${path}`,
        `What=${device}`,
        `Type=${format}`,
        ...optionLines,
        "",
        "[Install]",
        `RequiredBy=${isRemote ? "remote-fs.target" : "local-fs.target"}`,
      ];
  return {
    name: isSwap ? `${escapeUnitPath(device)}.swap` : `${escapeUnitPath(path)}.mount`,
    enabled: true,
    contents: `# Made by Rollcall from with_mount_unit\n${lines.join("\n")}\n`,
  };
}

/** Ours first; a unit of the same name that the administrator wrote has the last word, key by key. */
export function mergeUnits(made: readonly Unit[], own: readonly Unit[]): Unit[] {
  const merged = made.map((unit) => ({ ...unit, ...own.find(({ name }) => name === unit.name) }));
  return [...merged, ...own.filter(({ name }) => !made.some((unit) => unit.name === name))];
}

import type { Disk, Filesystem, Identity, Luks, Node, Partition, Raid, Storage } from "./config.ts";
import { eachOf, pathFault, type Report, resource } from "./resource-rules.ts";
import type { Path } from "./shape.ts";

const guidPattern = /^(|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$/;

/** The minor version of Ignition 3 that sets the bits above 0777. */
const specialBitsSince = 6;

/** Octets that a label may have, by format (man mkfs.*). */
const labelLimits: Readonly<Record<string, number>> = { ext4: 16, btrfs: 256, xfs: 12, swap: 15, vfat: 11 };
const formats = [...Object.keys(labelLimits), "none"];
const raidLevels = "linear, raid0, raid1, raid4, raid5, raid6, raid10".split(", ");
const otherRaidLevels = ["0", "stripe", "1", "mirror", "4", "5", "6", "10"];

/** The rules of Ignition's storage section. */
export function storageRules(storage: Storage, minor: number, report: Report): void {
  const { files, directories, links = [] } = storage;
  const under = (kind: string) => ["storage", kind] as const;
  eachOf(
    files,
    (file, path) => {
      nodeRules(file, path, report);
      modeRule(file.mode, path, { isDirectory: false, minor }, report);
      if (file.contents) resource(file.contents, [...path, "contents"], report);
      eachOf(file.append, (one, at) => resource(one, at, report), ...path, "append");
      if (file.overwrite === true && file.contents?.source === undefined)
        report([...path, "overwrite"], "needs contents");
    },
    ...under("files"),
  );
  eachOf(
    directories,
    (directory, path) => {
      nodeRules(directory, path, report);
      modeRule(directory.mode, path, { isDirectory: true, minor }, report);
    },
    ...under("directories"),
  );
  eachOf(
    links,
    (link, path) => {
      nodeRules(link, path, report);
      if (!link.target) report(path, "the key target is missing");
      const isDirectory = directories?.some((directory) => directory.path === link.target) ?? false;
      if (link.hard === true && isDirectory)
        report([...path, "target"], "a hard link can't lead to a directory");
    },
    ...under("links"),
  );
  for (const kind of ["files", "directories", "links"] as const)
    eachOf<Node>(
      storage[kind],
      (node, path) => {
        const way = links.find((link) => node.path.startsWith(`${link.path}/`));
        if (way) report([...path, "path"], `leads through the link ${way.path}, which is made later`);
      },
      ...under(kind),
    );
  eachOf(storage.disks, (disk, path) => diskRules(disk, path, report), ...under("disks"));
  eachOf(storage.filesystems, (one, path) => filesystemRules(one, path, report), ...under("filesystems"));
  eachOf(storage.raid, (raid, path) => raidRules(raid, path, report), ...under("raid"));
  eachOf(storage.luks, (luks, path) => luksRules(luks, path, report), ...under("luks"));
}

function nodeRules({ path: where, user, group }: Node, path: Path, report: Report): void {
  const fault = pathFault(where);
  if (fault) report([...path, "path"], fault);
  const one = (identity: Identity | undefined, key: string) => {
    if (identity?.id !== undefined && identity.name)
      report([...path, key], "has an id and a name, of which one is enough");
  };
  one(user, "user");
  one(group, "group");
}

function modeRule(
  mode: number | undefined,
  path: Path,
  { isDirectory, minor }: { isDirectory: boolean; minor: number },
  report: Report,
): void {
  if (mode === undefined) return;
  const at = [...path, "mode"];
  // 644 is 01204 in octal, which nobody means (Butane warns of it in the same cases).
  const asOctal = /^[0-7]{3,4}$/.test(String(mode)) ? Number.parseInt(String(mode), 8) : undefined;
  if (mode < 0 || mode > 0o7777) report(at, "must lie between 0 and 07777");
  else if (asOctal !== undefined && !isUsual(mode, isDirectory) && isUsual(asOctal, isDirectory))
    report(at, `${mode} is a decimal number; write it in octal, in YAML as 0${mode}, in JSON as ${asOctal}`);
  else if (minor < specialBitsSince && (mode & 0o7000) !== 0)
    report(at, `setuid, setgid and sticky bits are overlooked before Ignition 3.${specialBitsSince}.0`);
}

/** A mode in which everyone has at most what those before have, and somebody may read. */
function isUsual(mode: number, isDirectory: boolean): boolean {
  const [others, group, owner] = [mode & 7, (mode >> 3) & 7, (mode >> 6) & 7] as const;
  const isNested = (group & ~owner) === 0 && (others & ~group) === 0;
  const isSensible = [owner, group, others].every((bits) => bits === 0 || (bits & 4) !== 0);
  return isNested && isSensible && (owner & 4) !== 0 && (!isDirectory || (owner & 1) !== 0);
}

function diskRules({ device, partitions = [] }: Disk, path: Path, report: Report): void {
  deviceRule(device, path, report);
  partitions.forEach((partition, index) => {
    const at = [...path, "partitions", index];
    partitionRules(partition, at, report);
    if (partition.label && partitions.slice(0, index).some((other) => other.label === partition.label))
      report([...at, "label"], "is the label of another partition too");
    if (partitions.slice(0, index).some((other) => doOverlap(partition, other)))
      report(at, "overlaps another partition");
  });
}

function doOverlap(one: Partition, other: Partition): boolean {
  const [first, second] = [rangeOf(one), rangeOf(other)];
  return first !== undefined && second !== undefined && first[0] <= second[1] && second[0] <= first[1];
}

/** First and last MiB, where both are given. A start of 0 is where there is room, a size of 0 is all that is left. */
function rangeOf({ startMiB, sizeMiB }: Partition): [number, number] | undefined {
  if (!startMiB || sizeMiB === undefined) return undefined;
  return [startMiB, sizeMiB === 0 ? startMiB : startMiB + sizeMiB - 1];
}

function partitionRules(partition: Partition, path: Path, report: Report): void {
  const { label, number = 0, shouldExist, guid, typeGuid, startMiB, sizeMiB } = partition;
  if (number === 0 && label === undefined) report(path, "needs a number or a label");
  if (number < 0) report([...path, "number"], "must not be negative");
  if (
    shouldExist === false &&
    [label, guid, typeGuid, startMiB, sizeMiB].some((value) => value !== undefined)
  )
    report(path, "should not exist, so it has a number and nothing else");
  if (label !== undefined && label.length > 36) report([...path, "label"], "may have 36 characters at most");
  if (label?.includes(":")) report([...path, "label"], "must have no colon");
  if (!guidPattern.test(guid ?? "")) report([...path, "guid"], "is no GUID");
  if (!guidPattern.test(typeGuid ?? "")) report([...path, "typeGuid"], "is no GUID");
}

function filesystemRules(filesystem: Filesystem, path: Path, report: Report): void {
  const { device, format, label, path: where } = filesystem;
  deviceRule(device, path, report);
  const fault = where ? pathFault(where) : undefined;
  if (fault) report([...path, "path"], fault);
  if (format && !formats.includes(format))
    report([...path, "format"], `must be one of ${formats.join(", ")}`);
  const others = [where, label, filesystem.uuid, filesystem.options?.length, filesystem.mountOptions?.length];
  if (!format && (others.some(Boolean) || filesystem.wipeFilesystem === true))
    report(path, "the key format is missing");
  const limit = labelLimits[format ?? ""];
  if (label && limit !== undefined && Buffer.byteLength(label) > limit)
    report([...path, "label"], `may have ${limit} octets at most on ${format}`);
}

function deviceRule(device: string, path: Path, report: Report): void {
  const fault = pathFault(device);
  if (fault) report([...path, "device"], fault);
}

function raidRules({ level, devices, spares }: Raid, path: Path, report: Report): void {
  if (!level) report(path, "the key level is missing");
  else if (!raidLevels.includes(level) && !otherRaidLevels.includes(level))
    report([...path, "level"], `must be one of ${raidLevels.join(", ")}`);
  if (!devices?.length) report(path, "the key devices is missing");
  eachOf(
    devices,
    (device, at) => {
      const fault = pathFault(device);
      if (fault) report(at, fault);
    },
    ...path,
    "devices",
  );
  if (spares && ["linear", "raid0", "0", "stripe"].includes(level ?? ""))
    report([...path, "spares"], `have no meaning with level ${level}`);
}

function luksRules({ name, label, device, clevis, keyFile }: Luks, path: Path, report: Report): void {
  if (name.includes("/")) report([...path, "name"], "must have no slash");
  if (Buffer.byteLength(label ?? "") > 47) report([...path, "label"], "may have 47 octets at most");
  if (device) deviceRule(device, path, report);
  else report(path, "the key device is missing");
  if (keyFile) resource(keyFile, [...path, "keyFile"], report);
  const at = [...path, "clevis"];
  const { custom, tang, threshold, tpm2 } = clevis ?? {};
  if (custom?.pin && (tang?.length || tpm2 || threshold))
    report(at, "custom stands alone, without tang, tpm2 and threshold");
  if (custom && (custom.pin || custom.config || custom.needsNetwork)) {
    if (!["tpm2", "tang", "sss"].includes(custom.pin ?? ""))
      report([...at, "custom", "pin"], "must be tpm2, tang or sss");
    if (!custom.config) report([...at, "custom"], "the key config is missing");
  }
  eachOf(
    tang,
    (server, place) => {
      if (!/^https?:\/\/./.test(server.url)) report([...place, "url"], "must begin with http:// or https://");
      if (!server.thumbprint) report(place, "the key thumbprint is missing");
      if (server.advertisement && !isJson(server.advertisement))
        report([...place, "advertisement"], "is no JSON");
    },
    ...at,
    "tang",
  );
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

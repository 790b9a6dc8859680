import { isObject } from "./shape.ts";

type Keys = Readonly<Record<string, unknown>>;

/** Butane of this version has the keys that a Container Linux Config could have. */
const asButane = { variant: "flatcar", version: "1.0.0" };

/**
 * A Container Linux Config, from which Butane descends, names neither variant nor version
 * (github.com/flatcar/container-linux-config-transpiler, doc/configuration.md). Users, groups, keys, files and units are written as in
 * Butane but for a few words; what has no counterpart (`etcd`, `update`, `networkd`, another filesystem than `root`) stays in it, so
 * that it is told as an unknown key. Any other value is returned as it is.
 */
export function fromContainerLinuxConfig(value: unknown): unknown {
  if (!isObject(value) || "variant" in value || "version" in value) return value;
  const { passwd, storage, systemd } = value;
  if (![passwd, storage, systemd].some(isObject)) return value;
  return {
    ...asButane,
    ...value,
    ...each(passwd, "passwd", { users: withoutCreate }),
    ...each(storage, "storage", { files: onRoot, directories: onRoot, links: onRoot }),
    ...each(systemd, "systemd", { units: enabled }),
  };
}

/** The section with each item of the named lists changed. */
function each(section: unknown, name: string, lists: Readonly<Record<string, (item: Keys) => Keys>>): Keys {
  if (!isObject(section)) return {};
  const changed = Object.entries(lists).flatMap(([key, change]) => {
    const items = section[key];
    return Array.isArray(items)
      ? [[key, items.map((item: unknown) => (isObject(item) ? change(item) : item))]]
      : [];
  });
  return { [name]: { ...section, ...(Object.fromEntries(changed) as Keys) } };
}

const withoutCreate = ({ create, ...user }: Keys): Keys => ({
  ...(isObject(create) ? create : create === undefined ? {} : { create }),
  ...user,
});

function onRoot({ filesystem, contents, ...node }: Keys): Keys {
  return {
    ...node,
    ...(filesystem === undefined || filesystem === "root" ? {} : { filesystem }),
    ...(contents === undefined ? {} : { contents: isObject(contents) ? withSource(contents) : contents }),
  };
}

function withSource({ remote, ...contents }: Keys): Keys {
  if (!isObject(remote)) return remote === undefined ? contents : { ...contents, remote };
  const { url, ...rest } = remote;
  return { ...contents, ...rest, source: url };
}

const enabled = ({ enable, ...unit }: Keys): Keys =>
  enable === undefined ? unit : { enabled: enable, ...unit };

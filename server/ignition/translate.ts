import type { IgnitionConfig, Storage, Unit } from "./config.ts";
import { configShape } from "./config-shape.ts";
import { fromContainerLinuxConfig } from "./container-linux.ts";
import { encodeContents } from "./data-url.ts";
import { LocalFileFault, type LocalFiles } from "./local-files.ts";
import { mergeUnits, mountUnit } from "./mount-units.ts";
import { ignitionName, isObject, type ObjectShape, type Path, type Problem, type Shape } from "./shape.ts";
import { growTrees, type Tree } from "./trees.ts";
import { validateConfig } from "./validate.ts";
import { firstVersionWith, parseVariant, refusedKeys, type Variant } from "./variants.ts";

/** A Butane config as its YAML says it. */
export interface ButaneSource {
  readonly value: unknown;
  /** A number or truth value as it is written, where a text is wanted: `name: 1000`. */
  readonly writtenAt: (path: Path) => string | undefined;
}

export interface Outside {
  readonly files: LocalFiles;
  readonly gzip: (bytes: Uint8Array) => Uint8Array;
}

export type Translation =
  | { readonly config: IgnitionConfig; readonly problems: readonly [] }
  /** Paths are those of the Butane config. */
  | { readonly config: undefined; readonly problems: readonly Problem[] };

/**
 * Butane to Ignition: the same keys in another spelling, local files drawn in, trees and mount units written out, and the result
 * validated. What Butane only warns of is a fault here. Source: the specifications at coreos.github.io/butane/specs.
 */
export function translateButane({ value, writtenAt }: ButaneSource, outside: Outside): Translation {
  const source = { value: fromContainerLinuxConfig(value), writtenAt };
  const refuse = (problems: readonly Problem[]): Translation => ({ config: undefined, problems });
  if (!isObject(source.value)) return refuse([{ path: [], message: "a config is a mapping of keys" }]);
  const target = parseVariant(source.value["variant"], source.value["version"]);
  if ("key" in target) {
    const { key, message } = target;
    return refuse([
      key in source.value ? { path: [key], message } : { path: [], message: `the key ${key} ${message}` },
    ]);
  }
  const work = createTranslator(source, outside, target);
  const translated = work.convert(source.value, configShape, [], []) as IgnitionConfig;
  if (work.problems.length > 0) return refuse(work.problems);
  const version = `3.${target.minor}.0`;
  const { ignition, ...sections } = translated;
  const plain: IgnitionConfig = { ignition: { ...ignition, version }, ...sections };
  const config = work.withTrees(work.withMountUnits(plain));
  if (work.problems.length > 0) return refuse(work.problems);
  const { problems } = validateConfig(config);
  if (problems.length > 0)
    return refuse(problems.map(({ path, message }) => ({ path: work.originOf(path), message })));
  return { config, problems: [] };
}

type Draft = Record<string, unknown>;

function createTranslator(
  { writtenAt }: ButaneSource,
  { files, gzip }: Outside,
  { variant, minor }: { variant: Variant; minor: number },
) {
  const problems: Problem[] = [];
  const report = (path: Path, message: string) => void problems.push({ path, message });
  /** Ignition path -> Butane path. */
  const origins = new Map<string, Path>();
  /** What Butane alone knows, converted, by its path. */
  const beyond = new Map<string, unknown>();
  const note = (to: Path, from: Path) => void origins.set(JSON.stringify(to), from);

  /** Runs `work` with a local file; a file that can't be used is a problem of the key. */
  function fromOutside<T>(path: Path, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof LocalFileFault)) throw error;
      report(path, error.message);
      return undefined;
    }
  }
  function readText(path: string, from: Path): string | undefined {
    return fromOutside(from, () => {
      const bytes = files.read(path);
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      } catch {
        throw new LocalFileFault(`${path} is no text in UTF-8`);
      }
    });
  }

  function convert(value: unknown, shape: Shape, from: Path, to: Path): unknown {
    note(to, from);
    if (value === null || value === undefined) return undefined;
    switch (shape.kind) {
      case "text": {
        if (typeof value === "string") return value;
        if (typeof value === "number" || typeof value === "boolean") return writtenAt(from) ?? String(value);
        report(from, "must be a text");
        return undefined;
      }
      case "integer":
        if (!Number.isSafeInteger(value)) report(from, "must be a whole number");
        return value;
      case "boolean": {
        // YAML 1.1 has more words for it, and Butane's reader takes them where a truth value is wanted.
        const word = typeof value === "string" ? value.toLowerCase() : value;
        if (word === true || word === "yes" || word === "on" || word === "y") return true;
        if (word === false || word === "no" || word === "off" || word === "n") return false;
        report(from, "must be true or false");
        return undefined;
      }
      case "list":
        if (!Array.isArray(value)) {
          report(from, "must be a list");
          return undefined;
        }
        return value.flatMap((item: unknown, index) => {
          const converted = convert(item, shape.of, [...from, index], [...to, index]);
          if (converted === undefined && item === null) report([...from, index], "is empty");
          return converted === undefined ? [] : [converted];
        });
      case "object":
        if (!isObject(value)) {
          report(from, "must be a mapping of keys");
          return undefined;
        }
        return convertObject(value, shape, from, to);
    }
  }

  function convertObject(value: Readonly<Draft>, shape: ObjectShape, from: Path, to: Path): Draft {
    const result: Draft = {};
    const sugar: Draft = {};
    for (const [key, item] of Object.entries(value)) {
      const field = Object.hasOwn(shape.fields, key) ? shape.fields[key] : undefined;
      const path = [...from, key];
      if (!field || field.only === "ignition" || field.since > minor) {
        report(path, unknownKey(key, from, shape, field?.only === "ignition" ? undefined : field?.since));
        continue;
      }
      const name = ignitionName(key);
      const converted = convert(item, field.shape, path, [...to, name]);
      if (converted === undefined) continue;
      if (field.only === "butane") {
        sugar[key] = converted;
        beyond.set(JSON.stringify(path), converted);
      } else result[name] = converted;
    }
    if (shape.sugar === "resource") drawInContents(result, sugar, from, to);
    if (shape.sugar === "unit") drawInUnit(result, sugar, from, to);
    if (shape.sugar === "user") drawInKeys(result, sugar, from, to);
    return result;
  }

  function unknownKey(key: string, from: Path, shape: ObjectShape, keySince: number | undefined): string {
    const refused = from.length === 0 && Object.hasOwn(refusedKeys, key) ? refusedKeys[key] : undefined;
    if (refused) return refused;
    if (keySince !== undefined) {
      const version = firstVersionWith(variant, keySince);
      return version
        ? `is known from version ${version} of ${variant} on`
        : `is in no version of ${variant} that Rollcall knows`;
    }
    const known = Object.entries(shape.fields).filter(
      ([, one]) => one.only !== "ignition" && one.since <= minor,
    );
    return `unknown key; known are ${known.map(([name]) => name).join(", ")}`;
  }

  function drawInContents(result: Draft, sugar: Draft, from: Path, to: Path): void {
    const given = [...Object.keys(sugar), ...("source" in result ? ["source"] : [])];
    if (given.length > 1) {
      report([...from, given.at(-1) ?? ""], "only one of inline, local and source may be there");
      return;
    }
    const [key] = Object.keys(sugar);
    if (key === undefined) return;
    const word = String(sugar[key]);
    const place = [...from, key];
    const bytes =
      key === "inline" ? new TextEncoder().encode(word) : fromOutside(place, () => files.read(word));
    if (!bytes) return;
    if (from[0] === "ignition" && from[1] === "config") refuseBrokenConfig(bytes, place);
    const { source, compression } = encodeContents(bytes, gzip, Boolean(result["compression"]));
    result["source"] = source;
    note([...to, "source"], place);
    if (compression !== undefined) result["compression"] = compression;
  }

  /** A config inside a config is checked as well: Ignition would meet its faults only on the machine. */
  function refuseBrokenConfig(bytes: Uint8Array, place: Path): void {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      report(place, "is no JSON, which an Ignition config is; Butane configs can't be merged here");
      return;
    }
    for (const { path, message } of validateConfig(value).problems)
      report(place, path.length > 0 ? `in it, ${path.join(".")}: ${message}` : `in it, ${message}`);
  }

  function drawInUnit(result: Draft, sugar: Draft, from: Path, to: Path): void {
    const local = sugar["contents_local"];
    if (typeof local !== "string") return;
    const place = [...from, "contents_local"];
    if ("contents" in result) report(place, "only one of contents and contents_local may be there");
    else {
      note([...to, "contents"], place);
      result["contents"] = readText(local, place);
    }
  }

  /** Each line of the files is a key. */
  function drawInKeys(result: Draft, sugar: Draft, from: Path, to: Path): void {
    const keys = [...((result["sshAuthorizedKeys"] ?? []) as string[])];
    for (const [index, path] of ((sugar["ssh_authorized_keys_local"] ?? []) as string[]).entries()) {
      const place = [...from, "ssh_authorized_keys_local", index];
      for (const line of (readText(path, place) ?? "").split(/\r?\n/).filter((one) => one !== "")) {
        note([...to, "sshAuthorizedKeys", keys.length], place);
        keys.push(line);
      }
    }
    if (keys.length > 0) result["sshAuthorizedKeys"] = keys;
  }

  /** What `filesystems` and `luks` of the Butane config say beyond Ignition. */
  function withMountUnits(config: IgnitionConfig): IgnitionConfig {
    const storage = config.storage ?? {};
    if (variant === "flatcar")
      for (const [index, luks] of (storage.luks ?? []).entries())
        if (luks.clevis) report(["storage", "luks", index, "clevis"], "is not there on Flatcar");
    const made: Unit[] = [];
    for (const [index, filesystem] of (storage.filesystems ?? []).entries()) {
      const place = ["storage", "filesystems", index, "with_mount_unit"];
      if (beyond.get(JSON.stringify(place)) !== true) continue;
      if (!filesystem.format) report(place, "needs the key format");
      else if (filesystem.format !== "swap" && !filesystem.path) report(place, "needs the key path");
      else {
        note(["systemd", "units", made.length], place);
        made.push(mountUnit(filesystem, storage.luks ?? []));
      }
    }
    if (made.length === 0) return config;
    const own = config.systemd?.units ?? [];
    const units = mergeUnits(made, own);
    own.forEach((unit, index) =>
      note(
        ["systemd", "units", units.findIndex(({ name }) => name === unit.name)],
        ["systemd", "units", index],
      ),
    );
    return { ...config, systemd: { ...config.systemd, units } };
  }

  function withTrees(config: IgnitionConfig): IgnitionConfig {
    const at = ["storage", "trees"];
    const trees = beyond.get(JSON.stringify(at)) as readonly Tree[] | undefined;
    if (!trees) return config;
    let storage: Storage = config.storage ?? {};
    for (const [index, tree] of trees.entries())
      storage = growTrees(tree, storage, {
        read: (path) => fromOutside([...at, index], () => files.tree(path)),
        encode: (bytes, isCompressed) => encodeContents(bytes, gzip, isCompressed),
        report: (message) => report([...at, index], message),
        note: (path) => note(path, [...at, index]),
      });
    return { ...config, storage };
  }

  /** Where the Butane config says what stands at a path of the Ignition config, or around it. */
  function originOf(path: Path): Path {
    for (let length = path.length; length > 0; length--) {
      const origin = origins.get(JSON.stringify(path.slice(0, length)));
      if (origin) return origin;
    }
    return [];
  }

  return { problems, convert, withMountUnits, withTrees, originOf };
}

import { readFileSync } from "node:fs";
import { ConfigInvalid } from "../domain/error-catalogue.ts";
import { readYaml } from "../yaml/read-yaml.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import {
  checkMeaning,
  checkOwnAddresses,
  checkValue,
  formatPath,
  type ValuePath,
  type ValueProblem,
} from "./check-values.ts";
import { type Config, type ConfigKey, configKeys } from "./schema.ts";

/** Where a value in force comes from. */
export type Origin = "default" | `file ${string}` | `environment ${string}` | `argument ${string}`;

export interface LoadedConfig {
  readonly config: Config;
  readonly origins: ReadonlyMap<string, Origin>;
  readonly file: string | undefined;
}

export interface ConfigSources {
  /** Named by --config: must exist. */
  readonly file?: string | undefined;
  /** Tried in order when no file is named; none is fine. */
  readonly defaultFiles: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** From the command line, by key name, with the argument they came from. */
  readonly overrides: readonly { key: string; value: unknown; argument: string }[];
}

/** A value of one source is taken over: `place` tells where a path below the key stands in that source. */
type Take = (key: ConfigKey, value: unknown, origin: Origin, place: (path: ValuePath) => string) => void;

/** Variables of the environment that are not config keys. */
const otherVariables = new Set(["ROLLCALL_SERVER", "ROLLCALL_TOKEN"]);

/**
 * Merges defaults, file, environment (`ROLLCALL_DHCP__MODE=proxy`) and arguments, later ones first.
 * @throws ConfigInvalid with one line per problem: file, line, key, what is wrong, what is allowed
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const problems: string[] = [];
  const origins = new Map<string, Origin>();
  const values: Record<string, unknown> = {};
  for (const key of configKeys) {
    if (key.default !== undefined) setAt(values, key.path, structuredClone(key.default));
    else if (key.path.length > 1)
      setAt(values, key.path.slice(0, -1), getAt(values, key.path.slice(0, -1)) ?? {});
    origins.set(key.name, "default");
  }
  const places = new Map<string, (path: ValuePath) => string>();
  const tell = (place: string, { path, message }: ValueProblem) =>
    problems.push(`${place}: ${formatPath(path)}: ${message}`);
  const take: Take = (key, given, origin, place) => {
    const value = withSubnetDefaults(key, given);
    for (const problem of checkValue(key, value)) tell(place(problem.path), problem);
    setAt(values, key.path, value);
    origins.set(key.name, origin);
    places.set(key.name, place);
  };
  const file = readFile(sources);
  if (file) applyFile(file, take, problems);
  applyEnvironment(sources.environment, take, problems);
  for (const { key: name, value, argument } of sources.overrides) {
    const key = configKeys.find((candidate) => candidate.name === name);
    if (key) take(key, value, `argument ${argument}`, () => `argument ${argument}`);
  }
  if (problems.length === 0)
    for (const problem of checkMeaning(values as Config)) {
      const key = configKeys.find(({ path }) => path.every((part, index) => problem.path[index] === part));
      tell(places.get(key?.name ?? "")?.(problem.path) ?? "default", problem);
    }
  if (problems.length > 0) throw ConfigInvalid({ problems });
  return { config: values as Config, origins, file: file?.name };
}

/** @throws ConfigInvalid for networks of the cluster that hold one of these addresses, which the served interfaces have */
export function refuseOwnAddresses(
  { config, origins }: Pick<LoadedConfig, "config" | "origins">,
  addresses: readonly Ipv4[],
): void {
  const problems = checkOwnAddresses(config, addresses).map(({ path, message }) => {
    const name = formatPath(path);
    return `${(origins.get(name) ?? "default").replace(/^file /, "")}: ${name}: ${message}`;
  });
  if (problems.length > 0) throw ConfigInvalid({ problems });
}

function readFile(sources: ConfigSources): { name: string; text: string } | undefined {
  const candidates = sources.file ? [sources.file] : sources.defaultFiles;
  for (const name of candidates) {
    try {
      return { name, text: readFileSync(name, "utf8") };
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "ENOENT" && !sources.file) continue;
      const reason =
        { ENOENT: "there is no such file", EISDIR: "it is a directory" }[code ?? ""] ??
        (error as Error).message;
      throw ConfigInvalid({
        problems: [`${name}: ${reason}`],
        advice: `Name a file that can be read with --config FILE. Without --config ${sources.defaultFiles.join(" or ")} is read where it is there, else the defaults hold.`,
      });
    }
  }
  return undefined;
}

function applyFile(file: { name: string; text: string }, take: Take, problems: string[]): void {
  const yaml = readYaml(file.text);
  const place = (path: ValuePath) => `${file.name}:${yaml.positionOf(path).line}`;
  for (const problem of yaml.problems) problems.push(`${file.name}:${problem.line}: ${problem.message}`);
  if (yaml.value !== undefined) visit(yaml.value, []);

  function visit(section: unknown, path: readonly string[]): void {
    if (section === null) return;
    if (typeof section !== "object" || Array.isArray(section)) {
      problems.push(`${place(path)}: ${path.join(".") || "the file"} must be a mapping of keys`);
      return;
    }
    for (const [word, value] of Object.entries(section)) {
      const here = [...path, word];
      const name = here.join(".");
      const key = configKeys.find((candidate) => candidate.name === name);
      const isSection = configKeys.some(({ path }) => here.every((part, index) => path[index] === part));
      const flat = configKeys.find((candidate) => candidate.name === word);
      if (flat && path.length === 0 && flat.path.length > 1)
        problems.push(
          `${place(here)}: write ${word} as nested keys: ${flat.path.join(": then, indented, ")}:`,
        );
      else if (key) take(key, value, `file ${place(here)}`, place);
      else if (isSection) visit(value, here);
      else problems.push(`${place(here)}: unknown key ${name}; ${nearestKeys(name, (near) => near.name)}`);
    }
  }
}

/** `ROLLCALL_DHCP__PXE_PORT`; single underscores are for the eye only. */
function variableOf(key: ConfigKey): string {
  const words = key.path.map((part) => part.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase());
  return `ROLLCALL_${words.join("__")}`;
}

function applyEnvironment(environment: ConfigSources["environment"], take: Take, problems: string[]): void {
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith("ROLLCALL_") || text === undefined || otherVariables.has(variable)) continue;
    const folded = variable.slice("ROLLCALL_".length).split("__").join(".").replaceAll("_", "").toLowerCase();
    const key = configKeys.find((candidate) => candidate.name.toLowerCase() === folded);
    const place = () => `environment ${variable}`;
    if (key) take(key, fromText(key, text), `environment ${variable}`, place);
    else problems.push(`environment ${variable}: unknown key; ${nearestKeys(folded, variableOf)}`);
  }
}

function fromText(key: ConfigKey, text: string): unknown {
  if (key.schema.type === "integer") return /^[0-9]+$/.test(text) ? Number(text) : text;
  if (key.schema.type === "boolean") return text === "true" || (text === "false" ? false : text);
  if (key.schema.type === "array") {
    if (key.schema.items?.type === "object") {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return text;
      }
    }
    return text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item.length > 0);
  }
  return text;
}

/** Subnets are objects in a list, which the defaults of the top level do not reach. */
function withSubnetDefaults(key: ConfigKey, value: unknown): unknown {
  if (key.name !== "dhcp.subnets" || !Array.isArray(value)) return value;
  return value.map((subnet: unknown) =>
    typeof subnet === "object" && subnet !== null && !Array.isArray(subnet)
      ? { leaseSeconds: 3600, ...subnet }
      : subnet,
  );
}

function nearestKeys(name: string, show: (key: ConfigKey) => string): string {
  const written = name.toLowerCase();
  const last = written.split(".").at(-1) ?? "";
  const similar = configKeys.filter(({ name }) => distance(written, name.toLowerCase()) <= 2);
  const related = configKeys.filter((key) => {
    const keyLast = key.path.at(-1)?.toLowerCase() ?? "";
    if (last.length > 2 && (key.name.toLowerCase().includes(last) || last.includes(keyLast))) return true;
    return last.length > 3 && distance(last, keyLast) <= 2;
  });
  const near = similar.length > 0 ? similar : related;
  return near.length > 0
    ? `did you mean ${near.map(show).join(" or ")}?`
    : `known are ${configKeys.map(show).join(", ")}`;
}

/** How many letters must be typed, left out or changed to make one word the other (Levenshtein). */
function distance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (const [index, letter] of Array.from(left).entries()) {
    const next = [index + 1];
    for (const [at, other] of Array.from(right).entries())
      next.push(
        Math.min((row[at] ?? 0) + (letter === other ? 0 : 1), (row[at + 1] ?? 0) + 1, (next[at] ?? 0) + 1),
      );
    row = next;
  }
  return row.at(-1) ?? 0;
}

export function getAt(values: Record<string, unknown>, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, name) =>
      typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)[name] : undefined,
    values,
  );
}

function setAt(values: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [head = "", ...rest] = path;
  if (rest.length === 0) values[head] = value;
  else {
    const inner = (values[head] ??= {}) as Record<string, unknown>;
    setAt(inner, rest, value);
  }
}

/** Each key with its value in force and its origin, for `boot config show`. */
export function describeConfig(
  loaded: LoadedConfig,
): { key: string; value: unknown; origin: Origin; meaning: string }[] {
  return configKeys.map((key) => ({
    key: key.name,
    value: getAt(loaded.config as unknown as Record<string, unknown>, key.path),
    origin: loaded.origins.get(key.name) ?? "default",
    meaning: key.description,
  }));
}

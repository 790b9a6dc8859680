import { readFileSync } from "node:fs";
import { Value } from "typebox/value";
import { ConfigInvalid } from "../domain/error-catalogue.ts";
import { cidrContains, formatCidr, parseCidr } from "../net/cidr.ts";
import { ipv4ToNumber, parseIpv4 } from "../net/ipv4.ts";
import { readYaml } from "../yaml/read-yaml.ts";
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
  const file = readFile(sources);
  if (file) applyFile(file, values, origins, problems);
  applyEnvironment(sources.environment, values, origins, problems);
  for (const { key, value, argument } of sources.overrides) {
    const known = configKeys.find((candidate) => candidate.name === key);
    if (known) setAt(values, known.path, value);
    origins.set(key, `argument ${argument}`);
  }
  if (problems.length === 0) problems.push(...checkMeaning(values as Config, origins));
  if (problems.length > 0) throw ConfigInvalid({ problems });
  return { config: values as Config, origins, file: file?.name };
}

function readFile(sources: ConfigSources): { name: string; text: string } | undefined {
  const candidates = sources.file ? [sources.file] : sources.defaultFiles;
  for (const name of candidates) {
    try {
      return { name, text: readFileSync(name, "utf8") };
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "ENOENT" && !sources.file) continue;
      const reason = code === "ENOENT" ? "there is no such file" : (error as Error).message;
      throw ConfigInvalid({ problems: [`${name}: ${reason}`] });
    }
  }
  return undefined;
}

function applyFile(
  file: { name: string; text: string },
  values: Record<string, unknown>,
  origins: Map<string, Origin>,
  problems: string[],
): void {
  const yaml = readYaml(file.text);
  const place = (path: readonly string[]) => `${file.name}:${yaml.positionOf(path).line}`;
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
      if (configKeys.some((candidate) => candidate.name.startsWith(`${name}.`))) visit(value, here);
      else if (!key) problems.push(`${place(here)}: unknown key ${name}; ${nearestKeys(name)}`);
      else {
        const problem = check(key, value);
        if (problem) problems.push(`${place(here)}: ${name}: ${problem}`);
        setAt(values, key.path, withSubnetDefaults(key, value));
        origins.set(name, `file ${place(here)}`);
      }
    }
  }
}

function applyEnvironment(
  environment: ConfigSources["environment"],
  values: Record<string, unknown>,
  origins: Map<string, Origin>,
  problems: string[],
): void {
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith("ROLLCALL_") || text === undefined || otherVariables.has(variable)) continue;
    const folded = variable.slice("ROLLCALL_".length).split("__").join(".").replaceAll("_", "").toLowerCase();
    const key = configKeys.find((candidate) => candidate.name.toLowerCase() === folded);
    if (!key) {
      problems.push(`environment ${variable}: unknown key; ${nearestKeys(folded)}`);
      continue;
    }
    const value = fromText(key, text);
    const problem = check(key, value);
    if (problem) problems.push(`environment ${variable}: ${problem}`);
    setAt(values, key.path, withSubnetDefaults(key, value));
    origins.set(key.name, `environment ${variable}`);
  }
}

function fromText(key: ConfigKey, text: string): unknown {
  if (key.schema.type === "integer") return /^[0-9]+$/.test(text) ? Number(text) : text;
  if (key.schema.type === "array") {
    if (key.schema.items?.type === "object") {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return text;
      }
    }
    return text.split(",").filter((item) => item.length > 0);
  }
  return text;
}

function check(key: ConfigKey, value: unknown): string | undefined {
  if (Value.Check(key.schema as never, withSubnetDefaults(key, value))) return undefined;
  const [first] = Value.Errors(key.schema as never, value) as unknown as {
    instancePath?: string;
    message?: string;
  }[];
  const inside = first?.instancePath
    ? ` (at ${first.instancePath.slice(1).replaceAll("/", ".")}: ${first.message})`
    : "";
  return `${JSON.stringify(value)?.slice(0, 80) ?? "nothing"} is not allowed; it must be ${key.allowed}${inside}`;
}

/** Subnets are objects in a list, which the defaults of the top level do not reach. */
function withSubnetDefaults(key: ConfigKey, value: unknown): unknown {
  if (key.name !== "dhcp.subnets" || !Array.isArray(value)) return value;
  return value.map((subnet: unknown) =>
    typeof subnet === "object" && subnet !== null ? { leaseSeconds: 3600, ...subnet } : subnet,
  );
}

function nearestKeys(name: string): string {
  const last = name.split(".").at(-1)?.toLowerCase() ?? "";
  const near = configKeys.filter(
    (key) => key.name.toLowerCase().includes(last) || last.includes(key.path.at(-1)?.toLowerCase() ?? "\0"),
  );
  const names = (near.length > 0 ? near : configKeys).map((key) => key.name);
  return `${near.length > 0 ? "did you mean" : "known are"} ${names.join(", ")}`;
}

/** What a schema can't say: addresses inside their networks, and so on. */
function checkMeaning(config: Config, origins: ReadonlyMap<string, Origin>): string[] {
  const problems: string[] = [];
  const place = (key: string) => `${origins.get(key) ?? "default"}: ${key}`;
  for (const [index, subnet] of config.dhcp.subnets.entries()) {
    const here = `${place("dhcp.subnets")}[${index}]`;
    const cidr = parseCidr(subnet.subnet);
    if (!cidr) {
      problems.push(
        `${here}.subnet: ${JSON.stringify(subnet.subnet)} is not a network; write it as 10.0.0.0/24, host bits zero`,
      );
      continue;
    }
    for (const field of ["router"] as const) {
      const address = subnet[field] === undefined ? undefined : parseIpv4(subnet[field]);
      if (subnet[field] !== undefined && (!address || !cidrContains(cidr, address)))
        problems.push(`${here}.${field}: ${subnet[field]} is not in ${formatCidr(cidr)}`);
    }
    if (subnet.range === undefined) continue;
    const [from, to] = subnet.range.split("-").map((text) => parseIpv4(text.trim()));
    if (
      !from ||
      !to ||
      !cidrContains(cidr, from) ||
      !cidrContains(cidr, to) ||
      ipv4ToNumber(from) > ipv4ToNumber(to)
    )
      problems.push(
        `${here}.range: ${JSON.stringify(subnet.range)} must be two addresses of ${formatCidr(cidr)}, like 10.0.0.100-10.0.0.199`,
      );
  }
  if (config.dhcp.mode === "authoritative" && config.dhcp.subnets.length === 0)
    problems.push(`${place("dhcp.mode")}: authoritative needs at least one entry in dhcp.subnets`);
  if (config.address !== undefined && !parseIpv4(config.address))
    problems.push(`${place("address")}: ${JSON.stringify(config.address)} is not an IPv4 address`);
  if (config.store.url !== undefined && !config.store.url.startsWith("sqlite:"))
    problems.push(
      `${place("store.url")}: ${JSON.stringify(config.store.url)} is not allowed; it must be sqlite:FILE`,
    );
  return problems;
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

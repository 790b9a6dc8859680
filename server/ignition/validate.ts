import type { IgnitionConfig } from "./config.ts";
import { configShape, newestMinor } from "./config-shape.ts";
import { brokenRules } from "./rules.ts";
import { ignitionName, isObject, type ObjectShape, type Path, type Problem, type Shape } from "./shape.ts";

export type Validation =
  | { readonly config: IgnitionConfig; readonly minor: number; readonly problems: readonly [] }
  | { readonly config: undefined; readonly problems: readonly Problem[] };

/** Is this parsed JSON a config that Ignition of its version takes? Keys that Ignition would overlook are faults here: they are slips. */
export function validateConfig(value: unknown): Validation {
  const refuse = (...problems: Problem[]): Validation => ({ config: undefined, problems });
  if (!isObject(value)) return refuse({ path: [], message: "a config is a mapping of keys" });
  const { ignition } = value;
  const version = isObject(ignition) ? ignition["version"] : undefined;
  if (version === undefined)
    return refuse({
      path: isObject(ignition) ? ["ignition"] : [],
      message: "the key ignition.version is missing",
    });
  const minor = minorOf(version);
  if (minor === undefined)
    return refuse({
      path: ["ignition", "version"],
      message: `must be a version from 3.0.0 to 3.${newestMinor}.0`,
    });
  const shape = shapeProblems(value, minor);
  if (shape.length > 0) return refuse(...shape);
  const config = value as unknown as IgnitionConfig;
  const rules = brokenRules(config, minor);
  return rules.length > 0 ? refuse(...rules) : { config, minor, problems: [] };
}

/** `3.4.0` -> 4. */
export function minorOf(version: unknown): number | undefined {
  const [, digits] = typeof version === "string" ? (/^3\.([0-9])\.0$/.exec(version) ?? []) : [];
  return digits !== undefined && Number(digits) <= newestMinor ? Number(digits) : undefined;
}

/**
 * The same config for an Ignition that speaks no more than 3.`minor`: each version has all keys of those before it.
 * @returns undefined when the config has keys that come later
 */
export function forOlderIgnition(config: IgnitionConfig, minor: number): IgnitionConfig | undefined {
  if ((minorOf(config.ignition.version) ?? 0) <= minor) return config;
  if (shapeProblems(config, minor).length > 0 || brokenRules(config, minor).length > 0) return undefined;
  return { ...config, ignition: { ...config.ignition, version: `3.${minor}.0` } };
}

function shapeProblems(value: unknown, minor: number): Problem[] {
  const problems: Problem[] = [];
  const look = (item: unknown, shape: Shape, path: Path): void => {
    switch (shape.kind) {
      case "text":
        if (typeof item !== "string") problems.push({ path, message: "must be a text" });
        return;
      case "integer":
        if (!Number.isSafeInteger(item)) problems.push({ path, message: "must be a whole number" });
        return;
      case "boolean":
        if (typeof item !== "boolean") problems.push({ path, message: "must be true or false" });
        return;
      case "list":
        if (Array.isArray(item)) item.forEach((one: unknown, index) => look(one, shape.of, [...path, index]));
        else problems.push({ path, message: "must be a list" });
        return;
      case "object":
        if (isObject(item)) lookIntoObject(item, shape, path);
        else problems.push({ path, message: "must be a mapping of keys" });
    }
  };
  const lookIntoObject = (item: Readonly<Record<string, unknown>>, shape: ObjectShape, path: Path): void => {
    const fields = new Map(
      Object.entries(shape.fields)
        .filter(([, field]) => field.only !== "butane" && field.since <= minor)
        .map(([name, field]) => [ignitionName(name), field]),
    );
    for (const [key, one] of Object.entries(item)) {
      const field = fields.get(key);
      if (field) look(one, field.shape, [...path, key]);
      else problems.push({ path: [...path, key], message: unknownKey(key, shape, [...fields.keys()]) });
    }
    for (const [key, field] of fields)
      if (field.isRequired && (!Object.hasOwn(item, key) || item[key] === ""))
        problems.push({ path, message: `the key ${key} is missing` });
    problems.push(...repeatedItems(item, shape, path));
  };
  look(value, configShape, []);
  return problems;
}

function unknownKey(key: string, { fields }: ObjectShape, known: readonly string[]): string {
  const later = Object.entries(fields).find(
    ([name, { only }]) => ignitionName(name) === key && only !== "butane",
  );
  return later
    ? `is known from Ignition 3.${later[1].since}.0 on; raise ignition.version`
    : `unknown key; known are ${known.join(", ")}`;
}

/** Two items with one key would be merged into one, or lost (ignition config/validate: ValidateDups). */
function repeatedItems(
  item: Readonly<Record<string, unknown>>,
  { fields }: ObjectShape,
  path: Path,
): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, Set<string>>();
  for (const [name, { shape }] of Object.entries(fields)) {
    const items = item[ignitionName(name)];
    if (shape.kind !== "list" || !shape.key || !Array.isArray(items)) continue;
    const family = shape.family ?? name;
    const keys = seen.get(family) ?? new Set();
    seen.set(family, keys);
    for (const [index, one] of (items as unknown[]).entries()) {
      if (shape.of.kind === "object" && !isObject(one)) continue;
      const key = shape.key(one);
      if (keys.has(key))
        problems.push({
          path: [...path, ignitionName(name), index],
          message: "is there twice: another entry has the same path, name or device",
        });
      keys.add(key);
    }
  }
  return problems;
}

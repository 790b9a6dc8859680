/** From the top of a document to a value: keys and list indexes. */
export type Path = readonly (string | number)[];

/** What is wrong with a config, and where; the sentence does not name the place. */
export interface Problem {
  readonly path: Path;
  readonly message: string;
}

export type Shape = { readonly kind: "text" | "integer" | "boolean" } | ListShape | ObjectShape;

export interface ListShape {
  readonly kind: "list";
  readonly of: Shape;
  /** What makes two items the same, which Ignition refuses; undefined: they may repeat. */
  readonly key: ((item: unknown) => string) | undefined;
  /** Lists of one object that share their keys, e.g. files and links share their paths. */
  readonly family: string | undefined;
}

export interface ObjectShape {
  readonly kind: "object";
  readonly fields: Readonly<Record<string, Field>>;
  /** Butane fills parts of these from local files. */
  readonly sugar: "resource" | "unit" | "user" | undefined;
}

export interface Field {
  readonly shape: Shape;
  /** The minor version of Ignition 3 that has it first. */
  readonly since: number;
  readonly isRequired: boolean;
  /** Keys that only one of the two languages has. */
  readonly only: "butane" | "ignition" | undefined;
}

const field = (shape: Shape): Field => ({ shape, since: 0, isRequired: false, only: undefined });

export const text = (): Field => field({ kind: "text" });
export const integer = (): Field => field({ kind: "integer" });
export const boolean = (): Field => field({ kind: "boolean" });
export const object = (fields: Readonly<Record<string, Field>>, sugar?: ObjectShape["sugar"]): Field =>
  field({ kind: "object", fields, sugar });

/** The whole item is its key. */
const whole = (item: unknown) => (typeof item === "string" ? item : JSON.stringify(item));
export const list = (
  of: Field,
  {
    key = of.shape.kind === "object" ? undefined : whole,
    family,
  }: Partial<Pick<ListShape, "key" | "family">> = {},
): Field => field({ kind: "list", of: of.shape, key, family });
/** A list of texts that may repeat, as options of a program do. */
export const options = (): Field =>
  field({ kind: "list", of: { kind: "text" }, key: undefined, family: undefined });
/** The key of an item is the value of its field of this name. */
export const by =
  (name: string) =>
  (item: unknown): string =>
    whole((item as Readonly<Record<string, unknown>>)[name] ?? "");

export const since = (minor: number, one: Field): Field => ({ ...one, since: minor });
export const required = (one: Field): Field => ({ ...one, isRequired: true });
export const onlyButane = (one: Field): Field => ({ ...one, only: "butane" });
export const onlyIgnition = (one: Field): Field => ({ ...one, only: "ignition" });

/** `mount_options` -> `mountOptions`; the unit MiB keeps its case. */
export function ignitionName(butaneName: string): string {
  return butaneName
    .replace(/_mib$/, "MiB")
    .replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** A path as one reads it in a sentence: `storage.files.0.path`. */
export const inWords = (path: Path): string => path.join(".");

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

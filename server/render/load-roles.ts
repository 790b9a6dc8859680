import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Type } from "typebox";
import { Value } from "typebox/value";
import { type LocalBootMethod, localBootMethods } from "../domain/boot-preferences.ts";
import { type Arch, firmwares } from "../domain/firmware.ts";
import {
  type DocumentKind,
  documentKinds,
  hasType,
  isRoleName,
  type Role,
  type RoleParameter,
  typeInWords,
} from "../domain/role.ts";
import { readYaml, type YamlText } from "../yaml/read-yaml.ts";
import { compileTemplate } from "./engine.ts";
import { sampleContext } from "./context.ts";
import { refuseUnreadable, syntaxOf } from "./documents.ts";
import { ipxeWord } from "./quoting.ts";

/** One fault of a role, with its place. */
export interface RoleProblem {
  readonly role: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface LoadedRoles {
  /** The roles that are whole. */
  readonly roles: ReadonlyMap<string, Role>;
  /** What is wrong with the others. */
  readonly problems: readonly RoleProblem[];
}

const archNames = [...new Set(firmwares.map((firmware) => firmware.arch))];
const parameterSchema = Type.Object(
  {
    type: Type.Union([
      Type.Literal("string"),
      Type.Literal("integer"),
      Type.Literal("boolean"),
      Type.Literal("string[]"),
    ]),
    default: Type.Unknown(),
    description: Type.String(),
  },
  { additionalProperties: false },
);
const roleSchema = Type.Object(
  {
    description: Type.String({ minLength: 1 }),
    boot: Type.Union([
      Type.Literal("image"),
      Type.Literal("wait"),
      Type.Literal("local"),
      Type.Literal("script"),
    ]),
    image: Type.Optional(Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,62}$" })),
    arguments: Type.Optional(Type.Array(Type.String())),
    arch: Type.Optional(Type.Array(Type.Union(archNames.map((name) => Type.Literal(name))))),
    minimumRam: Type.Optional(Type.String({ pattern: "^[1-9][0-9]* (MiB|GiB)$" })),
    localBoot: Type.Optional(Type.Union(localBootMethods.map((method) => Type.Literal(method)))),
    joins: Type.Optional(Type.Boolean()),
    parameters: Type.Optional(Type.Record(Type.String(), parameterSchema)),
    templates: Type.Optional(
      Type.Object(Object.fromEntries(documentKinds.map((kind) => [kind, Type.Optional(Type.String())])), {
        additionalProperties: false,
      }),
    ),
  },
  { additionalProperties: false },
);

interface RoleFile {
  description: string;
  boot: Role["boot"];
  image?: string;
  arguments?: string[];
  arch?: Arch[];
  minimumRam?: string;
  localBoot?: LocalBootMethod;
  joins?: boolean;
  parameters?: Record<string, RoleParameter>;
  templates?: Partial<Record<DocumentKind, string>>;
}

/**
 * Reads the roles of all directories; a later directory overrides a role of the same name. A broken role is left out and told, so
 * that one slip does not stop a building.
 */
export function loadRoles(directories: readonly string[]): LoadedRoles {
  const roles = new Map<string, Role>();
  const problems: RoleProblem[] = [];
  for (const directory of directories) {
    const names = foldersIn(directory);
    if (!names)
      problems.push({ role: "", file: directory, line: 1, column: 1, message: "there is no such directory" });
    for (const name of names ?? []) {
      const found = loadRole(join(directory, name), name);
      problems.push(...found.problems);
      // A broken override does not bring the shipped role back: it would boot something nobody meant.
      roles.delete(name);
      if (found.role) roles.set(name, found.role);
    }
  }
  return { roles, problems };
}

/** @returns undefined when the directory can't be read */
function foldersIn(directory: string): string[] | undefined {
  try {
    return readdirSync(directory)
      .filter((name) => !name.startsWith("."))
      .filter((name) => statSync(join(directory, name), { throwIfNoEntry: false })?.isDirectory())
      .sort();
  } catch {
    return undefined;
  }
}

/** Reads and checks one role folder. */
export function loadRole(
  directory: string,
  name: string,
): { role: Role | undefined; problems: RoleProblem[] } {
  const file = join(directory, "role.yaml");
  const problems: RoleProblem[] = [];
  const report = (message: string, at = { line: 1, column: 1 }, where = file) =>
    problems.push({ role: name, file: where, line: at.line, column: at.column, message });

  if (!isRoleName(name))
    report("the folder's name must be lower-case letters, digits and hyphens, at most 40");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    report("there is no such file");
    return { role: undefined, problems };
  }
  const yaml = readYaml(text);
  for (const problem of yaml.problems) report(problem.message, problem);
  if (problems.length > 0) return { role: undefined, problems };
  for (const { path, message } of schemaProblems(yaml.value)) report(message, yaml.positionOf(path));
  if (problems.length > 0) return { role: undefined, problems };
  const source = yaml.value as RoleFile;
  checkMeaning(source, yaml, report);

  const templates: { [kind in DocumentKind]?: { file: string; source: string } } = {};
  for (const [kind, templateName] of Object.entries(source.templates ?? {}) as [DocumentKind, string][]) {
    const at = yaml.positionOf(["templates", kind]);
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(templateName)) {
      report(`templates.${kind}: must be the name of a file beside role.yaml`, at);
      continue;
    }
    try {
      templates[kind] = { file: templateName, source: readFileSync(join(directory, templateName), "utf8") };
    } catch {
      report(`templates.${kind}: there is no file ${templateName} beside role.yaml`, at);
    }
  }
  const role: Role = {
    name,
    description: source.description,
    boot: source.boot,
    image: source.image,
    arguments: source.arguments ?? [],
    arch: source.arch ?? [],
    minimumRamBytes: source.minimumRam === undefined ? undefined : parseRam(source.minimumRam),
    localBoot: source.localBoot,
    joins: source.joins ?? false,
    parameters: source.parameters ?? {},
    templates,
    directory,
  };
  if (problems.length === 0) checkTemplates(role, yaml, report);
  return { role: problems.length === 0 ? role : undefined, problems };
}

type Report = (message: string, at?: { line: number; column: number }, where?: string) => void;

const parameterName = /^[a-z][A-Za-z0-9]{0,30}$/;

/** What may stand at a path of role.yaml; the first row that fits speaks. */
const allowedAt: readonly (readonly [path: RegExp, allowed: string])[] = [
  [/^$/, "the file must be a mapping of keys, like `description: ...` and `boot: ...`"],
  [/^description$/, "must be a text that is not empty"],
  [/^boot$/, "must be one of image, wait, local, script"],
  [/^image$/, "must be the name of an image: lower-case letters, digits, dots and hyphens"],
  [/^arguments$/, "must be a list of texts"],
  [/^arguments\.\d+$/, "must be a text; write it in quotes"],
  [/^arch$/, `must be a list of ${archNames.join(", ")}`],
  [/^arch\.\d+$/, `must be one of ${archNames.join(", ")}`],
  [/^minimumRam$/, "must be an amount like 512 MiB or 2 GiB"],
  [/^localBoot$/, `must be one of ${localBootMethods.join(", ")}`],
  [/^joins$/, "must be true or false"],
  [/^parameters$/, "must be a mapping of names"],
  [/^parameters\.[^.]+$/, "must be a mapping with type, default and description"],
  [/^parameters\..*\.type$/, "must be one of string, integer, boolean, string[]"],
  [/^templates$/, "must be a mapping of documents to files"],
  [/^templates\./, "must be the name of a file beside role.yaml"],
  [/./, "must be a text"],
];

function knownKeys(path: readonly string[]): readonly string[] {
  if (path.length === 0) return Object.keys(roleSchema.properties);
  return path[0] === "templates" ? documentKinds : Object.keys(parameterSchema.properties);
}

function schemaProblems(value: unknown): { path: string[]; message: string }[] {
  if (Value.Check(roleSchema, value)) return [];
  const found = new Map<string, { path: string[]; message: string }>();
  // One fault a place: a union tells of each of its members.
  const add = (path: string[], message: string, place = path.join("/")) => {
    if (!found.has(place)) found.set(place, { path, message });
  };
  for (const error of Value.Errors(roleSchema, value) as unknown as {
    instancePath: string;
    keyword: string;
    params?: { additionalProperties?: string[]; requiredProperties?: string[] };
  }[]) {
    const path = error.instancePath
      .split("/")
      .slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const name = path.join(".");
    const { additionalProperties: unknown = [], requiredProperties: missing = [] } = error.params ?? {};
    for (const key of unknown)
      add([...path, key], `unknown key ${[...path, key].join(".")}; known are ${knownKeys(path).join(", ")}`);
    for (const key of missing)
      add(path, `${name ? `${name}: ` : ""}the key ${key} is missing`, [...path, key].join("/"));
    // `boolean` is the false schema of a key that is unknown, told above.
    if (unknown.length > 0 || missing.length > 0 || error.keyword === "boolean") continue;
    const allowed = allowedAt.find(([pattern]) => pattern.test(name))?.[1] ?? "";
    add(path, name ? `${name}: ${allowed}` : allowed);
  }
  return [...found.values()];
}

function checkMeaning(source: RoleFile, yaml: YamlText, report: Report): void {
  if (source.boot === "image" && !source.image)
    report("boot: image needs the key image", yaml.positionOf(["boot"]));
  if (source.boot !== "image" && source.image)
    report(`image: has no meaning with boot: ${source.boot}`, yaml.positionOf(["image"]));
  if (source.boot === "script" && !source.templates?.ipxe)
    report("boot: script needs templates.ipxe", yaml.positionOf(["boot"]));
  if (source.boot !== "image" && source.arguments)
    report(`arguments: has no meaning with boot: ${source.boot}`, yaml.positionOf(["arguments"]));
  if (source.boot !== "local" && source.localBoot)
    report(`localBoot: has no meaning with boot: ${source.boot}`, yaml.positionOf(["localBoot"]));
  for (const [name, parameter] of Object.entries(source.parameters ?? {})) {
    if (!parameterName.test(name))
      report(
        `parameters.${name}: a name is letters and digits, the first a small letter, at most 31`,
        yaml.positionOf(["parameters", name]),
      );
    if (!hasType(parameter.default, parameter.type))
      report(
        `parameters.${name}.default: must be ${typeInWords[parameter.type]}`,
        yaml.positionOf(["parameters", name, "default"]),
      );
  }
}

/** Compiles every template and renders it with sample facts, so that a slip shows when the role is read. */
function checkTemplates(role: Role, yaml: YamlText, report: Report): void {
  const context = sampleContext(role);
  const newMachine = sampleContext(role, true);
  /** Runs one check; a fault that begins with its line is told at that line of `where`. */
  const attempt = (work: () => void, at: { line: number; column: number }, where?: string) => {
    try {
      work();
    } catch (error) {
      const message = (error as Error).message.replaceAll(/\s*\n\s*/g, " ").slice(0, 300);
      const [, line, sentence = message] = /^line (\d+)(?: as rendered)?[:,] (.*)$/s.exec(message) ?? [];
      report(sentence, where && line ? { line: Number(line), column: 1 } : at, where);
    }
  };
  role.arguments.forEach((argument, index) =>
    attempt(
      () => {
        const text = compileTemplate(argument, syntaxOf("argument")).render(context);
        if (text === "" || ipxeWord(text) !== text)
          throw new Error(
            `arguments.${index}: ${JSON.stringify(text)} is not one word that iPXE can pass on; write each argument as an item of its own, without blanks, quotes, $, # or braces`,
          );
      },
      yaml.positionOf(["arguments", index]),
    ),
  );
  for (const [kind, { file, source }] of Object.entries(role.templates) as [
    DocumentKind,
    { file: string; source: string },
  ][])
    attempt(
      () => {
        const template = compileTemplate(source, syntaxOf(kind));
        refuseUnreadable(kind, template.render(context));
        try {
          refuseUnreadable(kind, template.render(newMachine));
        } catch (error) {
          throw new Error(
            `${(error as Error).message}, on a machine of which only the MAC is known; put it inside {{#if ...}}`,
          );
        }
      },
      { line: 1, column: 1 },
      join(role.directory, file),
    );
}

function parseRam(text: string): number {
  const [amount = "0", unit] = text.split(" ");
  return Number(amount) * (unit === "GiB" ? 1024 ** 3 : 1024 ** 2);
}

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Type } from "typebox";
import { Value } from "typebox/value";
import { type Arch, firmwares } from "../domain/firmware.ts";
import {
  type DocumentKind,
  documentKinds,
  hasType,
  isRoleName,
  type Role,
  type RoleParameter,
} from "../domain/role.ts";
import { readYaml, type YamlText } from "../yaml/read-yaml.ts";
import { compileTemplate } from "./engine.ts";
import { sampleContext } from "./context.ts";
import { syntaxOf } from "./documents.ts";

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
    joins: Type.Optional(Type.Boolean()),
    parameters: Type.Optional(
      Type.Record(Type.String({ pattern: "^[a-z][A-Za-z0-9]{0,30}$" }), parameterSchema),
    ),
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
    for (const name of readdirSync(directory).sort()) {
      if (name.startsWith(".") || !statSync(join(directory, name)).isDirectory()) continue;
      const found = loadRole(join(directory, name), name);
      problems.push(...found.problems);
      // A broken override does not bring the shipped role back: it would boot something nobody meant.
      roles.delete(name);
      if (found.role) roles.set(name, found.role);
    }
  }
  return { roles, problems };
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
    arch: source.arch ?? ["x86_64"],
    minimumRamBytes: source.minimumRam === undefined ? undefined : parseRam(source.minimumRam),
    joins: source.joins ?? false,
    parameters: source.parameters ?? {},
    templates,
    directory,
  };
  if (problems.length === 0) checkTemplates(role, yaml, report);
  return { role: problems.length === 0 ? role : undefined, problems };
}

type Report = (message: string, at?: { line: number; column: number }, where?: string) => void;

function schemaProblems(value: unknown): { path: string[]; message: string }[] {
  if (Value.Check(roleSchema, value)) return [];
  const found = new Map<string, { path: string[]; message: string }>();
  for (const error of Value.Errors(roleSchema, value) as unknown as {
    instancePath: string;
    message: string;
    params?: Record<string, unknown>;
  }[]) {
    const path = error.instancePath.split("/").slice(1);
    const extra = (error.params?.["additionalProperties"] as string[] | undefined)?.[0];
    const missing = (error.params?.["requiredProperties"] as string[] | undefined)?.[0];
    const name = path.join(".");
    const known = path.length === 0 ? `; known are ${Object.keys(roleSchema.properties).join(", ")}` : "";
    if (extra !== undefined)
      found.set(name, {
        path: [...path, extra],
        message: `unknown key ${[...path, extra].join(".")}${known}`,
      });
    else if (missing !== undefined)
      found.set(name, { path, message: `${name ? `${name}: ` : ""}the key ${missing} is missing` });
    else if (name === "boot")
      found.set(name, { path, message: "boot: must be one of image, wait, local, script" });
    else if (!found.has(name)) found.set(name, { path, message: `${name || "the file"}: ${error.message}` });
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
  for (const [name, parameter] of Object.entries(source.parameters ?? {})) {
    if (!hasType(parameter.default, parameter.type))
      report(
        `parameters.${name}.default: must be ${parameter.type}`,
        yaml.positionOf(["parameters", name, "default"]),
      );
  }
}

/** Compiles every template and renders it once with sample facts, so that a slip shows when the role is read. */
function checkTemplates(role: Role, yaml: YamlText, report: Report): void {
  const context = sampleContext(role);
  const check = (
    source: string,
    kind: DocumentKind | "argument",
    fallback: { line: number; column: number },
    where?: string,
  ) => {
    try {
      compileTemplate(source, syntaxOf(kind)).render(context);
    } catch (error) {
      const message = (error as Error).message.replaceAll(/\s*\n\s*/g, " ").slice(0, 300);
      const line = /(?:line |on line )(\d+)/.exec(message)?.[1];
      report(message, where && line ? { line: Number(line), column: 1 } : fallback, where);
    }
  };
  role.arguments.forEach((argument, index) =>
    check(argument, "argument", yaml.positionOf(["arguments", index])),
  );
  for (const [kind, template] of Object.entries(role.templates) as [
    DocumentKind,
    { file: string; source: string },
  ][])
    check(template.source, kind, { line: 1, column: 1 }, join(role.directory, template.file));
}

function parseRam(text: string): number {
  const [amount = "0", unit] = text.split(" ");
  return Number(amount) * (unit === "GiB" ? 1024 ** 3 : 1024 ** 2);
}

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isRoleWarning, type RoleFaultCode } from "../domain/reported-codes.ts";
import { isRoleName, type Role, type RoleText } from "../domain/role.ts";
import { readYaml, type YamlText } from "../yaml/read-yaml.ts";
import { checkRole } from "./check-role.ts";
import { inheritRole } from "./inherit-role.ts";
import { type RoleFile, schemaProblems } from "./role-schema.ts";

/** One fault of a role, with its place. */
export interface RoleProblem {
  readonly role: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Stable; docs/errors.md says what to do. */
  readonly code: RoleFaultCode;
  readonly message: string;
}

export interface LoadedRoles {
  /** The roles that are whole. */
  readonly roles: ReadonlyMap<string, Role>;
  /** What is wrong with the others. */
  readonly problems: readonly RoleProblem[];
  /** What may go wrong with roles that are whole. */
  readonly warnings: readonly RoleProblem[];
}

/** Tells a fault of role.yaml, or of the file that is named. */
export type Report = (
  code: RoleFaultCode,
  message: string,
  at?: { line: number; column: number },
  file?: string,
) => void;

/** Folders of roles by name; a later layer overrides the ones before it. */
type Layer = ReadonlyMap<string, string>;
type Found = { readonly role: Role | undefined } & Pick<LoadedRoles, "problems" | "warnings">;

/** Octets of one file of a role. */
const maximumTextBytes = 8 * 1024 * 1024;

/**
 * Reads the roles of all directories; a later directory overrides a role of the same name. A broken role is left out and told, so
 * that one slip does not stop a building.
 */
export function loadRoles(directories: readonly string[]): LoadedRoles {
  const roles = new Map<string, Role>();
  const problems: RoleProblem[] = [];
  const warnings: RoleProblem[] = [];
  const layers: Layer[] = [];
  for (const directory of directories) {
    const names = foldersIn(directory);
    if (!names)
      problems.push({
        role: "",
        file: directory,
        line: 1,
        column: 1,
        code: "ROLE_FILE_MISSING",
        message: "there is no such directory",
      });
    layers.push(new Map((names ?? []).map((name) => [name, join(directory, name)])));
  }
  const load = createLoader(layers);
  for (const [index, layer] of layers.entries())
    for (const name of layer.keys()) {
      const found = load(name, index);
      problems.push(...found.problems);
      warnings.push(...found.warnings);
      // A broken override does not bring the shipped role back: it would boot something nobody meant.
      roles.delete(name);
      if (found.role) roles.set(name, found.role);
    }
  return { roles, problems, warnings };
}

/** Reads and checks one role folder; what it extends is looked for in `directories`. */
export function loadRole(directory: string, name: string, directories: readonly string[] = []): Found {
  const layers: Layer[] = directories.map(
    (one) => new Map((foldersIn(one) ?? []).map((folder) => [folder, join(one, folder)])),
  );
  layers.push(new Map([[name, directory]]));
  return createLoader(layers)(name, layers.length - 1);
}

/** @returns undefined when the directory can't be read */
function foldersIn(directory: string): string[] | undefined {
  try {
    return readdirSync(directory)
      .filter((name) => !name.startsWith("."))
      .filter((name) => isFolder(join(directory, name)))
      .sort();
  } catch {
    return undefined;
  }
}

/** What can't be looked at (a link that leads to itself) is no role, and takes no other one with it. */
function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Loads each role once, however many others extend it. */
function createLoader(layers: readonly Layer[]) {
  const known = new Map<string, Found>();
  /** Roles that are being loaded, each of which waits for the next one as its parent. */
  const trail: string[] = [];

  function load(name: string, layer: number): Found {
    const key = `${layer}/${name}`;
    const before = known.get(key);
    if (before) return before;
    trail.push(key);
    const found = loadFolder(layers[layer]?.get(name) ?? "", name, (parent, report) =>
      findParent(parent, name, layer, report),
    );
    trail.pop();
    known.set(key, found);
    return found;
  }

  /** The role that is extended: the one in force of that name, or, of its own name, the one that it overrides. */
  function findParent(
    parent: string,
    name: string,
    layer: number,
    report: (code: RoleFaultCode, message: string) => void,
  ) {
    const below = parent === name ? layer : layers.length;
    const index = layers.findLastIndex((one, place) => place < below && one.has(parent));
    if (index < 0) {
      report(
        "ROLE_PARENT_MISSING",
        parent === name
          ? `extends: there is no other role ${parent} that this one overrides`
          : `extends: there is no role ${parent}`,
      );
      return undefined;
    }
    const at = trail.indexOf(`${index}/${parent}`);
    if (at >= 0) {
      const circle = [...trail.slice(at), trail[at] ?? ""].map((key) => key.split("/")[1]);
      report("ROLE_PARENT_LOOP", `extends: goes in a circle: ${circle.join(" -> ")}`);
      return undefined;
    }
    const { role } = load(parent, index);
    if (!role) report("ROLE_PARENT_BROKEN", `extends: the role ${parent} is broken itself`);
    return role;
  }
  return load;
}

function loadFolder(
  directory: string,
  name: string,
  findParent: (parent: string, report: (code: RoleFaultCode, message: string) => void) => Role | undefined,
): Found {
  const file = join(directory, "role.yaml");
  const problems: RoleProblem[] = [];
  const warnings: RoleProblem[] = [];
  const report: Report = (code, message, at = { line: 1, column: 1 }, where = file) =>
    (isRoleWarning(code) ? warnings : problems).push({
      role: name,
      file: where,
      line: at.line,
      column: at.column,
      code,
      message,
    });
  const nothing = { role: undefined, problems, warnings };

  if (!isRoleName(name))
    report(
      "ROLE_NAME_INVALID",
      "the folder's name must be lower-case letters, digits and hyphens, at most 40",
    );
  const text = readTextFile(file);
  if (text === undefined) {
    report("ROLE_FILE_MISSING", "there is no such file");
    return nothing;
  }
  const yaml = readYaml(text);
  for (const problem of yaml.problems) report("ROLE_YAML_INVALID", problem.message, problem);
  if (problems.length > 0) return nothing;
  for (const { path, code, message } of schemaProblems(yaml.value))
    report(code, message, yaml.positionOf(path));
  if (problems.length > 0) return nothing;
  const source = yaml.value as RoleFile;
  const parent =
    source.extends === undefined
      ? undefined
      : findParent(source.extends, (code, message) => report(code, message, yaml.positionOf(["extends"])));
  const texts = {
    templates: readTexts(source.templates ?? {}, "templates", directory, yaml, report),
    userDataParts: Object.values(
      readTexts(
        Object.fromEntries((source.userDataParts ?? []).entries()),
        "userDataParts",
        directory,
        yaml,
        report,
      ),
    ),
    files: readTexts(source.files ?? {}, "files", directory, yaml, report),
  };
  if (source.extends !== undefined && !parent) return nothing;
  const role = inheritRole({ name, directory, source, texts, parent });
  checkRole(role, source, yaml, report);
  return { role: problems.length === 0 ? role : undefined, problems, warnings };
}

/** The files that a mapping or list of role.yaml names. */
function readTexts(
  names: Readonly<Record<string, string>>,
  key: "templates" | "files" | "userDataParts",
  directory: string,
  yaml: YamlText,
  report: Report,
): Record<string, RoleText> {
  const texts: Record<string, RoleText> = {};
  for (const [kind, file] of Object.entries(names)) {
    const at = yaml.positionOf([key, kind]);
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(file)) {
      report("ROLE_VALUE_INVALID", `${key}.${kind}: must be the name of a file beside role.yaml`, at);
      continue;
    }
    const source = readTextFile(join(directory, file));
    if (source === undefined)
      report("ROLE_DOCUMENT_MISSING", `${key}.${kind}: there is no file ${file} beside role.yaml`, at);
    else texts[kind] = { file, source, directory };
  }
  return texts;
}

/** @returns undefined when there is no such file, or it is too long to be a document */
function readTextFile(path: string): string | undefined {
  try {
    const facts = statSync(path);
    return facts.isFile() && facts.size <= maximumTextBytes ? readFileSync(path, "utf8") : undefined;
  } catch {
    return undefined;
  }
}

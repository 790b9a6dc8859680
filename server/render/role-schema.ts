import { type TSchema, Type } from "typebox";
import { Value } from "typebox/value";
import { type LocalBootMethod, localBootMethods } from "../domain/boot-preferences.ts";
import { type Arch, firmwares } from "../domain/firmware.ts";
import { nodeFamilies, type NodeFamily, type NodeRole, nodeRoles } from "../domain/node-kind.ts";
import type { RoleFaultCode } from "../domain/reported-codes.ts";
import {
  type DocumentKind,
  documentKinds,
  type Role,
  type RoleParameter,
  type SshCommands,
  sshCommandKinds,
  type TemplateKind,
  templateKinds,
} from "../domain/role.ts";

const archNames = [...new Set(firmwares.map((firmware) => firmware.arch))];

const oneOf = (names: readonly string[], description: string): TSchema =>
  Type.Union(
    names.map((name) => Type.Literal(name)),
    { description },
  );

const parameterSchema = Type.Object(
  {
    type: oneOf(["string", "integer", "boolean", "string[]"], "What a value must be."),
    default: Type.Unknown({ description: "The value where nothing else is assigned." }),
    description: Type.String({ description: "What it is for, as `boot role show` prints it." }),
  },
  { additionalProperties: false },
);

const fileNames = (kinds: readonly string[], description: string) =>
  Type.Optional(
    Type.Object(Object.fromEntries(kinds.map((kind) => [kind, Type.Optional(Type.String())])), {
      additionalProperties: false,
      description,
    }),
  );

/** role.yaml. What a role must have depends on `extends`, which `missingKeys` looks at. */
const roleSchema = Type.Object(
  {
    description: Type.Optional(
      Type.String({ minLength: 1, description: "What a machine of this role is, in a sentence." }),
    ),
    extends: Type.Optional(
      Type.String({
        pattern: "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
        description:
          "Another role: everything that is not named here is taken from it. Its own name stands for the role of that name that it overrides.",
      }),
    ),
    boot: Type.Optional(
      oneOf(
        ["image", "wait", "local", "menu", "script"],
        "image: kernel, initrd and root of an image; wait: on its screen, until it is assigned; local: its disk; menu: one of the roles that its parameters name, chosen at the keyboard; script: an iPXE script of the role's own.",
      ),
    ),
    image: Type.Optional(
      Type.String({
        pattern: "^[a-z0-9][a-z0-9._-]{0,62}$",
        description: "Name of an image in the store (`boot image list`), for `boot: image`.",
      }),
    ),
    arguments: Type.Optional(
      Type.Array(Type.String(), {
        description: "Kernel arguments after those that the boot itself needs; each may be a template.",
      }),
    ),
    arch: Type.Optional(
      Type.Array(oneOf(archNames, "An architecture."), {
        description: "Machines that the role is for; whatever its image is made for where it is left out.",
      }),
    ),
    minimumRam: Type.Optional(
      Type.String({ pattern: "^[1-9][0-9]* (MiB|GiB)$", description: "Least RAM, like 512 MiB or 2 GiB." }),
    ),
    localBoot: Type.Optional(
      oneOf(localBootMethods, "How its machines get to their disk, for `boot: local`."),
    ),
    joins: Type.Optional(Type.Boolean({ description: "It joins a cluster after its boot." })),
    node: Type.Optional(
      oneOf(
        nodeRoles,
        "What its machines become in the cluster, where one is configured (docs/cluster.md); without a cluster they boot and call back.",
      ),
    ),
    family: Type.Optional(
      oneOf(nodeFamilies, "The system of its image, which says how it is made a node; debian without it."),
    ),
    nodeRam: Type.Optional(
      Type.String({
        pattern: "^[1-9][0-9]* (MiB|GiB)$",
        description: "Least RAM as a node; without it 3 GiB for a worker and 6 GiB for a master.",
      }),
    ),
    reports: Type.Optional(
      Type.Boolean({
        description:
          "false: its system never calls back, and the boot is over with the last file that firmware loads.",
      }),
    ),
    rollcallArguments: Type.Optional(
      Type.Boolean({
        description: "false: the image is of another system, whose kernel gets `arguments` alone.",
      }),
    ),
    sshUser: Type.Optional(
      Type.String({
        pattern: "^[a-z_][a-z0-9_-]{0,31}$",
        description:
          "The account that the parameter sshKeys is for; the server restarts the machine by it. It is root, or may become root by sudo without a password. root without it.",
      }),
    ),
    sshCommands: Type.Optional(
      oneOf(
        sshCommandKinds,
        "What the server's own key in sshKeys opens. `orders`: restart, stop, state, and nothing else. `any`: administrators may also run commands there with `boot run`. orders without it.",
      ),
    ),
    parameters: Type.Optional(
      Type.Record(Type.String(), parameterSchema, {
        description: "What `boot MACHINE ROLE --param name=value` may set, by name.",
      }),
    ),
    templates: fileNames(
      templateKinds,
      "Documents that are filled in for each machine: the names of files beside role.yaml. `butane` becomes the Ignition config.",
    ),
    userDataParts: Type.Optional(
      Type.Array(Type.String(), {
        description:
          "Cloud-configs, filled in for each machine, that cloud-init merges into the user-data: the names of files beside role.yaml. They come after those of the role that is extended.",
      }),
    ),
    files: fileNames(
      documentKinds,
      "Documents that are taken as they are: the names of files beside role.yaml. `ignition` may be Butane or Ignition.",
    ),
  },
  { additionalProperties: false },
);

export interface RoleFile {
  description?: string;
  extends?: string;
  boot?: Role["boot"];
  image?: string;
  arguments?: string[];
  arch?: Arch[];
  minimumRam?: string;
  localBoot?: LocalBootMethod;
  joins?: boolean;
  node?: NodeRole;
  family?: NodeFamily;
  nodeRam?: string;
  reports?: boolean;
  rollcallArguments?: boolean;
  sshUser?: string;
  sshCommands?: SshCommands;
  parameters?: Record<string, RoleParameter>;
  templates?: Partial<Record<TemplateKind, string>>;
  userDataParts?: string[];
  files?: Partial<Record<DocumentKind, string>>;
}

/** The schema that editors check role.yaml with: docs/role.schema.json. */
export function publishedRoleSchema(): object {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A role of Rollcall: role.yaml",
    ...(JSON.parse(JSON.stringify(roleSchema)) as object),
    anyOf: [{ required: ["extends"] }, { required: ["description", "boot"] }],
    allOf: [
      never(boots("image"), { not: { required: ["image"] } }, { not: { required: ["extends"] } }),
      never(boots("wait", "local", "menu", "script"), {
        anyOf: [{ required: ["image"] }, { required: ["arguments"] }],
      }),
    ],
  };
}

const boots = (...words: string[]) => ({ properties: { boot: { enum: words } }, required: ["boot"] });
const never = (...together: object[]) => ({ not: { allOf: together } });

/** What may stand at a path of role.yaml; the first row that fits speaks. */
const allowedAt: readonly (readonly [path: RegExp, allowed: string])[] = [
  [/^$/, "the file must be a mapping of keys, like `description: ...` and `boot: ...`"],
  [/^description$/, "must be a text that is not empty"],
  [/^extends$/, "must be the name of a role: lower-case letters, digits and hyphens"],
  [/^boot$/, "must be one of image, wait, local, menu, script"],
  [/^image$/, "must be the name of an image: lower-case letters, digits, dots and hyphens"],
  [/^arguments$/, "must be a list of texts"],
  [/^arguments\.\d+$/, "must be a text; write it in quotes"],
  [/^arch$/, `must be a list of ${archNames.join(", ")}`],
  [/^arch\.\d+$/, `must be one of ${archNames.join(", ")}`],
  [/^node$/, `must be one of ${nodeRoles.join(", ")}`],
  [/^family$/, `must be one of ${nodeFamilies.join(", ")}`],
  [/^(minimumRam|nodeRam)$/, "must be an amount like 512 MiB or 2 GiB"],
  [/^localBoot$/, `must be one of ${localBootMethods.join(", ")}`],
  [/^(joins|reports|rollcallArguments)$/, "must be true or false"],
  [/^parameters$/, "must be a mapping of names"],
  [/^parameters\.[^.]+$/, "must be a mapping with type, default and description"],
  [/^parameters\..*\.type$/, "must be one of string, integer, boolean, string[]"],
  [/^(templates|files)$/, "must be a mapping of documents to files"],
  [/^userDataParts$/, "must be a list of files beside role.yaml"],
  [/^userDataParts\.\d+$/, "must be the name of a file beside role.yaml"],
  [/^(templates|files)\./, "must be the name of a file beside role.yaml"],
  [/./, "must be a text"],
];

function knownKeys([first]: readonly string[]): readonly string[] {
  if (first === undefined) return Object.keys(roleSchema.properties);
  if (first === "templates") return templateKinds;
  return first === "files" ? documentKinds : Object.keys(parameterSchema.properties);
}

export interface SchemaProblem {
  readonly path: string[];
  readonly code: RoleFaultCode;
  readonly message: string;
}

/** Everything that is wrong with the shape of a role.yaml, one fault a place. */
export function schemaProblems(value: unknown): SchemaProblem[] {
  if (Value.Check(roleSchema, value)) return missingKeys(value as RoleFile);
  const found = new Map<string, SchemaProblem>();
  // One fault a place: a union tells of each of its members.
  const add = (problem: SchemaProblem, place = problem.path.join("/")) => {
    if (!found.has(place)) found.set(place, problem);
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
      add({
        path: [...path, key],
        code: "ROLE_KEY_UNKNOWN",
        message: `unknown key ${[...path, key].join(".")}; known are ${knownKeys(path).join(", ")}`,
      });
    for (const key of missing) add(missingKey(path, key), [...path, key].join("/"));
    // `boolean` is the false schema of a key that is unknown, told above.
    if (unknown.length > 0 || missing.length > 0 || error.keyword === "boolean") continue;
    const allowed = allowedAt.find(([pattern]) => pattern.test(name))?.[1] ?? "";
    add({ path, code: "ROLE_VALUE_INVALID", message: name ? `${name}: ${allowed}` : allowed });
  }
  return [...found.values()];
}

function missingKey(path: string[], key: string): SchemaProblem {
  const where = path.length > 0 ? `${path.join(".")}: ` : "";
  return { path, code: "ROLE_KEY_MISSING", message: `${where}the key ${key} is missing` };
}

/** A role that extends another one may leave everything to it. */
function missingKeys(role: RoleFile): SchemaProblem[] {
  if (role.extends !== undefined) return [];
  return (["description", "boot"] as const)
    .filter((key) => role[key] === undefined)
    .map((key) => missingKey([], key));
}

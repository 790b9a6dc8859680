import type { LocalBootMethod } from "./boot-preferences.ts";
import type { Arch } from "./firmware.ts";
import type { NodeFamily, NodeRole } from "./node-kind.ts";

/** The documents that a role may render for a machine. `ipxe` is always there: without a template the standard one is taken. */
export const documentKinds = [
  "ipxe",
  "user-data",
  "meta-data",
  "vendor-data",
  "network-config",
  "ignition",
] as const;
export type DocumentKind = (typeof documentKinds)[number];

/** What a role may have templates for: its documents, and Butane, which becomes its Ignition config. */
export const templateKinds = [...documentKinds, "butane"] as const;
export type TemplateKind = (typeof templateKinds)[number];

/**
 * What a machine may be served, or a preview show: `ignition` is its own part, which draws in the parts of the role and of the node that
 * it is to be; `node` is what makes it one, as an initrd, and to look at as a script.
 */
export const servedKinds = [...documentKinds, "ignition-role", "ignition-node", "node"] as const;
export type ServedKind = (typeof servedKinds)[number];

/** The document that a template makes. */
export function documentOf(kind: TemplateKind): DocumentKind {
  return kind === "butane" ? "ignition" : kind;
}

/** A file of a role, as it is written. */
export interface RoleText {
  /** Its name in the role's folder. */
  readonly file: string;
  readonly source: string;
  /** The folder, that of another role where it is inherited. */
  readonly directory: string;
}

/** How a machine of this role boots. */
export type RoleBoot =
  /** Kernel, initrd and root of an image in the store. */
  | "image"
  /** It waits on its screen, asks again every few seconds, and boots the moment it is assigned. */
  | "wait"
  /** It goes on with its local disk. */
  | "local"
  /** It shows a menu of roles, and boots into the one that is chosen at its keyboard. */
  | "menu"
  /** An iPXE script of the role's own (`templates: { ipxe: ... }`). */
  | "script";

export type ParameterType = "string" | "integer" | "boolean" | "string[]";
export type ParameterValue = string | number | boolean | readonly string[];

export interface RoleParameter {
  readonly type: ParameterType;
  readonly default: ParameterValue;
  readonly description: string;
}

/** What Linux reads of its command line, octets (COMMAND_LINE_SIZE of x86 and arm64, without the NUL); it cuts the rest off in silence. */
export const commandLineOctets = 2047;

/** What a machine becomes: a folder `templates/roles/<name>/` with role.yaml and the templates beside it. */
export interface Role {
  readonly name: string;
  readonly description: string;
  readonly boot: RoleBoot;
  /** Name of the image in the store, for `boot: image`. */
  readonly image: string | undefined;
  /** Kernel arguments of this role, after those that the boot itself needs. */
  readonly arguments: readonly string[];
  /** The kernel gets what our own initramfs and cloud-init read, before `arguments`; false for the kernel of another system. */
  readonly rollcallArguments: boolean;
  /** The machine tells when it is through; false: nothing more is heard of it once it has its script. */
  readonly reports: boolean;
  /** Machines that it is made for; none named: whatever its image is made for. */
  readonly arch: readonly Arch[];
  /** Least RAM in octets for this role; undefined: no limit known. */
  readonly minimumRamBytes: number | undefined;
  /** How its machines get to their disk, for `boot: local`, where neither machine nor group says. */
  readonly localBoot?: LocalBootMethod | undefined;
  /** The machine joins a cluster after its boot: `configuring` leads to `joining` and not to `ready`. */
  readonly joins: boolean;
  /** What it becomes in the cluster, where one is configured; undefined: nothing. */
  readonly node: NodeRole | undefined;
  /** The system of its image, which says how it is made a node. */
  readonly family: NodeFamily;
  /** Least RAM in octets as a node. */
  readonly nodeRamBytes: number | undefined;
  /** The account that its parameter sshKeys is for, with root's rights or sudo without a password; undefined: root. */
  readonly sshUser?: string | undefined;
  /** What the server's key opens there; undefined: its orders. */
  readonly sshCommands?: SshCommands | undefined;
  readonly parameters: Readonly<Record<string, RoleParameter>>;
  /** What is filled in for each machine. */
  readonly templates: Readonly<Partial<Record<TemplateKind, RoleText>>>;
  /** Templates of cloud-configs that cloud-init merges into the user-data, in this order; a role's own come after its parent's. */
  readonly userDataParts: readonly RoleText[];
  /** What is taken as it is; `ignition` may be Butane. A document stands here or under templates. */
  readonly files: Readonly<Partial<Record<DocumentKind, RoleText>>>;
  readonly directory: string;
  /** The role that this one takes everything of that it does not name itself. */
  readonly extends: string | undefined;
  /** Which role a part came from, by its key (`image`, `templates.user-data`); parts of its own are not in it. */
  readonly inherited: Readonly<Record<string, string>>;
}

/** A machine of this role does nothing until somebody acts, or a menu's time is up. */
export function waitsForPeople({ boot }: Pick<Role, "boot">): boolean {
  return boot === "wait" || boot === "menu";
}

/** Does the role itself say what is in the document? */
export function hasDocument({ templates, files, userDataParts }: Role, kind: DocumentKind): boolean {
  return (
    (kind === "user-data" && userDataParts.length > 0) ||
    files[kind] !== undefined ||
    templateKinds.some((name) => documentOf(name) === kind && templates[name] !== undefined)
  );
}

/** What the server's own SSH key opens on a machine: restart, stop and ask for its state, or any command of an administrator too. */
export const sshCommandKinds = ["orders", "any"] as const;
export type SshCommands = (typeof sshCommandKinds)[number];

/** The parameter by which roles take the public keys of those who may log in; the server adds its own. */
const keysParameter = "sshKeys";

/** The role's parameters with one more key for its machines' authorized_keys, where the role takes such keys. */
export function withSshKey(
  role: Role,
  values: Readonly<Record<string, ParameterValue>>,
  line: string | undefined,
): Readonly<Record<string, ParameterValue>> {
  const own = Object.hasOwn(role.parameters, keysParameter) ? values[keysParameter] : undefined;
  if (line === undefined || role.parameters[keysParameter]?.type !== "string[]" || !Array.isArray(own))
    return values;
  return { ...values, [keysParameter]: [...(own as readonly string[]), line] };
}

/** Names of roles are path segments and words of the command line. */
export function isRoleName(text: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(text);
}

/**
 * The parameters in force: the role's defaults, overlaid by what was assigned.
 * @returns the values, or the name of the first parameter that is wrong and what is wrong with it
 */
export function resolveParameters(
  role: Role,
  given: Readonly<Record<string, unknown>>,
): { values: Record<string, ParameterValue> } | { parameter: string; problem: string } {
  const values: Record<string, ParameterValue> = {};
  for (const [name, parameter] of Object.entries(role.parameters)) values[name] = parameter.default;
  for (const [name, value] of Object.entries(given)) {
    const parameter = Object.hasOwn(role.parameters, name) ? role.parameters[name] : undefined;
    if (!parameter) {
      const known = Object.keys(role.parameters).join(", ") || "none";
      return { parameter: name, problem: `unknown; this role has: ${known}` };
    }
    if (!hasType(value, parameter.type))
      return { parameter: name, problem: `must be ${typeInWords[parameter.type]}` };
    values[name] = value;
  }
  return { values };
}

/** What a value of the type must be. */
export const typeInWords: Readonly<Record<ParameterType, string>> = {
  string: "a text",
  integer: "a whole number",
  boolean: "true or false",
  "string[]": "a list of texts",
};

export function hasType(value: unknown, type: ParameterType): value is ParameterValue {
  switch (type) {
    case "string":
      return typeof value === "string";
    case "integer":
      return Number.isSafeInteger(value);
    case "boolean":
      return typeof value === "boolean";
    case "string[]":
      return Array.isArray(value) && value.every((item) => typeof item === "string");
  }
}

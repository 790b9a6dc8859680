import type { Family } from "./families.ts";
import type { NodeRole } from "../domain/node-kind.ts";
import type { PublicText } from "./public-text.ts";

export { nodeRoles, type NodeRole } from "../domain/node-kind.ts";

/** The user whose user namespace the node is, with podsec's name. */
export const adminUser = "u7s-admin";

/** Whose a file is, with the group of the same name. */
export type Owner = "root" | typeof adminUser;

export interface NodeGroup {
  readonly name: string;
  /** Undefined: any; the group may be there already. */
  readonly gid: number | undefined;
}

/** A system user without a password. */
export interface NodeUser {
  readonly name: typeof adminUser;
  /** Of the user and of its group. */
  readonly uid: number;
  readonly groups: readonly string[];
  readonly home: string;
  readonly shell: string;
  readonly description: string;
}

/** Ids that the user may give away in its user namespace (subuid(5), subgid(5)). */
export interface SubordinateIds {
  readonly user: typeof adminUser;
  readonly first: number;
  readonly count: number;
}

interface Placed {
  /** Absolute, without `.`, `..` or a slash at the end. */
  readonly path: string;
}
interface Owned extends Placed {
  readonly owner: Owner;
}
export interface NodeDirectory extends Owned {
  readonly mode: number;
}
export interface NodeFile extends Owned {
  readonly mode: number;
  readonly text: PublicText;
}
/** Symbolic; it belongs to whoever makes it, since its directory decides who may remove it. */
export interface NodeLink extends Placed {
  readonly target: string;
}

export interface NodeUnit {
  readonly name: string;
  /** `user`: of the user's own service manager. */
  readonly scope: "system" | "user";
  readonly text: PublicText;
  /** Units that want this one at their start; none: something else starts it. */
  readonly wantedBy: readonly string[];
}

export interface Sysctl {
  readonly key: string;
  readonly value: string;
  /** Not every kernel has it; without it nothing is lost. */
  readonly isOptional?: true;
}

/** A part of a node: what one concern asks of the system. */
export interface NodePart {
  readonly directories?: readonly NodeDirectory[];
  readonly files?: readonly NodeFile[];
  readonly links?: readonly NodeLink[];
  readonly units?: readonly NodeUnit[];
  readonly sysctls?: readonly Sysctl[];
  readonly modules?: readonly string[];
  /** Words for the kernel's command line. */
  readonly arguments?: readonly PublicText[];
}

/** All that a system must have to be a rootless node of Kubernetes before it is told which cluster is its own. */
export interface NodeSpec extends Required<NodePart> {
  readonly role: NodeRole;
  readonly family: Family;
  readonly groups: readonly NodeGroup[];
  readonly users: readonly NodeUser[];
  readonly subordinateIds: readonly SubordinateIds[];
}

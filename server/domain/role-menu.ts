import { type ParameterType, type ParameterValue, type Role, waitsForPeople } from "./role.ts";

/** What somebody at a machine's keyboard may choose, and what is taken where nobody does. */
export interface RoleMenu {
  readonly entries: readonly MenuEntry[];
  readonly default: string;
  readonly timeoutSeconds: number;
}

export interface MenuEntry {
  readonly role: string;
  /** What the role is, so short that it stands on a line of 80 characters beside the role's name. */
  readonly label: string;
  /** The digit that chooses it at once; the first nine have one. */
  readonly key: string | null;
}

/** The parameters that a role of `boot: menu` has to have. */
export const menuParameters: Readonly<Record<string, ParameterType>> = {
  roles: "string[]",
  default: "string",
  timeoutSeconds: "integer",
};

/** More do not stand on a screen of 25 lines. */
const maximumEntries = 18;
const timeoutRange = { least: 3, most: 600 };
const lineLength = 68;

/**
 * @param parameters of the role of `boot: menu`
 * @returns the menu, or the parameter that is wrong and what is wrong with it
 */
export function menuOf(
  parameters: Readonly<Record<string, ParameterValue>>,
  roles: ReadonlyMap<string, Pick<Role, "boot" | "description">>,
): RoleMenu | { readonly parameter: string; readonly problem: string } {
  const names = [...new Set(parameters["roles"] as readonly string[])];
  const chosen = parameters["default"] as string;
  const timeoutSeconds = parameters["timeoutSeconds"] as number;
  if (names.length === 0 || names.length > maximumEntries)
    return {
      parameter: "roles",
      problem: `must name 1 to ${maximumEntries} roles, and names ${names.length}`,
    };
  for (const name of names) {
    const role = roles.get(name);
    if (!role) return { parameter: "roles", problem: `there is no role ${name}` };
    if (waitsForPeople(role))
      return { parameter: "roles", problem: `${name} boots nothing: it is a role that waits itself` };
  }
  if (!names.includes(chosen))
    return {
      parameter: "default",
      problem: `${chosen} is not among the roles of the menu: ${names.join(", ")}`,
    };
  const { least, most } = timeoutRange;
  if (timeoutSeconds < least || timeoutSeconds > most)
    return { parameter: "timeoutSeconds", problem: `must be from ${least} to ${most} seconds` };
  return {
    entries: names.map((role, index) => ({
      role,
      label: shortened(roles.get(role)?.description ?? "", lineLength - role.length),
      key: index < 9 ? String(index + 1) : null,
    })),
    default: chosen,
    timeoutSeconds,
  };
}

/** The first sentence, or as many of its words as there is room for. */
function shortened(description: string, length: number): string {
  const [sentence = ""] = description.split(/[.;:](?:\s|$)/);
  if (sentence.length <= length) return sentence;
  return `${sentence.slice(0, length - 3).replace(/\s+\S*$/, "")}...`;
}

import type { ParameterValue, RoleParameter } from "../../domain/role.ts";

/** What a role's parameters are set to in a form; pure. */

export type RoleParameterList = Readonly<Record<string, RoleParameter>>;
/** As it stands in the form's fields: lists a line each. Absent: untouched. */
export type TypedParameters = Readonly<Record<string, string | boolean>>;

/** How a default stands in its field. */
export function fieldText(value: ParameterValue): string {
  return Array.isArray(value) ? value.join("\n") : String(value as string | number | boolean);
}

/** What goes to the server: what differs from the role's own defaults. What is no whole number goes as it is, and is refused in words. */
export function chosenParameters(
  parameters: RoleParameterList,
  typed: TypedParameters,
): Record<string, ParameterValue> {
  const chosen: Record<string, ParameterValue> = {};
  for (const [name, { type, default: usual }] of Object.entries(parameters)) {
    const value = Object.hasOwn(typed, name) ? typed[name] : undefined;
    if (value === undefined) continue;
    const meant = typeof value === "boolean" ? value : valueOf(type, value);
    if (JSON.stringify(meant) !== JSON.stringify(usual)) chosen[name] = meant;
  }
  return chosen;
}

function valueOf(type: RoleParameter["type"], text: string): ParameterValue {
  switch (type) {
    case "integer":
      return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
    case "string[]":
      return text
        .split("\n")
        .map((line) => line.trim())
        .filter((line) => line !== "");
    case "boolean":
      return text === "true";
    case "string":
      return text;
  }
}

/** One `--param name=value` as it was written. */
export interface GivenParameter {
  readonly name: string;
  readonly text: string;
}

/**
 * Reads what was written as the role's types. A list of texts takes a JSON list or one text, and several of the same name are put
 * together; what does not fit its type is sent as it is, and the server says what is wrong with it.
 */
export function readParameters(
  given: readonly GivenParameter[],
  types: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const { name, text } of given) {
    const type = Object.hasOwn(types, name) ? types[name] : undefined;
    const value = type === "string" ? text : fromJson(text);
    if (type !== "string[]") values[name] = value;
    else {
      const before = values[name];
      const texts = Array.isArray(value) ? (value as unknown[]) : [text];
      values[name] = [...(Array.isArray(before) ? (before as unknown[]) : []), ...texts];
    }
  }
  return values;
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** How a parameter is written on the command line, with its default where it says something. */
export function parameterExample(name: string, type: string, value: unknown): string {
  const word = (text: unknown) => {
    const written = `${name}=${String(text)}`;
    return `--param ${/^[\w./:@=+,-]+$/.test(written) ? written : `'${written.replaceAll("'", `'\\''`)}'`}`;
  };
  if (type !== "string[]") return word(value === "" ? "TEXT" : value);
  const texts = Array.isArray(value) && value.length > 0 ? (value as unknown[]) : ["TEXT", "ANOTHER"];
  return texts.map(word).join(" ");
}

/**
 * How a value is written into each output syntax. Every string may come from a hostile machine: after quoting it is data,
 * whatever it says.
 */
export type Syntax = "ipxe" | "grub" | "yaml" | "json" | "shell";

export type Quote = (value: unknown) => string;

/** The end of a sentence that begins with the name of the value. */
const hasNoValue = "has no value";

/** Values that a template may print; anything else is a mistake in the template. */
function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new Error(
    value === undefined || value === null ? hasNoValue : "is a list or a map, which can't be written here",
  );
}

/**
 * One word of an iPXE command. iPXE splits at blanks, expands `${...}`, and takes `||`, `&&`, `;` and `#...` as words of their own
 * (core/exec.c), so what is left are the characters of names, paths and URLs; all others become `_`.
 */
export const ipxeWord: Quote = (value) =>
  asText(value)
    .replaceAll(/[^A-Za-z0-9._:/@=+,%~?&;-]/g, "_")
    .replace(/^[&?;]+$/, "_");

/**
 * Text behind `echo`: blanks may stay, the rest as in {@link ipxeWord}; never longer than a line of an 80-column screen times three.
 * A `;` of its own would part commands, and a `-` in front be an option that `echo` does not know, which ends the script.
 */
export const ipxeText: Quote = (value) =>
  asText(value)
    .slice(0, 240)
    .replaceAll(/[^A-Za-z0-9 ._:;/@=+,%~()'"!?*<>[\]-]/g, "_")
    .replaceAll(/(?<![^ ]);(?![^ ])/g, "_")
    .replace(/^( *)-/, "$1_");

/**
 * One word of a GRUB command, blanks and all: between single quotes GRUB expands nothing and `;` ends no command (firmware-quirk Q38).
 * There is no way to write a single quote between them, and its console shows ASCII alone; both become `_`.
 */
export const grubWord: Quote = (value) => `'${asText(value).replaceAll(/[^\x20-\x7e]|'/g, "_")}'`;

/**
 * A scalar or a collection in YAML 1.2 flow style: JSON, but with every character outside printable ASCII escaped, since YAML
 * has no surrogate pairs (PyYAML, which cloud-init uses, would read them as two broken characters).
 */
export const yamlValue: Quote = (value) => {
  if (typeof value === "string") return `"${Array.from(value, yamlCharacter).join("")}"`;
  if (typeof value === "number" || typeof value === "boolean" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(yamlValue).join(", ")}]`;
  if (typeof value === "object" && value)
    return `{${Object.entries(value)
      .map(([key, item]) => `${yamlValue(key)}: ${yamlValue(item)}`)
      .join(", ")}}`;
  throw new Error(hasNoValue);
};

function yamlCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === '"' || character === "\\") return `\\${character}`;
  if (code >= 0x20 && code < 0x7f) return character;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  // A lone surrogate is no character at all; U+FFFD stands for it.
  if (code >= 0xd800 && code <= 0xdfff) return "\\ufffd";
  return code < 0x10000
    ? `\\u${code.toString(16).padStart(4, "0")}`
    : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** JSON in ASCII only, so that it stands on one line of a YAML text too (YAML 1.1 breaks lines at U+0085 and U+2028). */
export const jsonValue: Quote = (value) => {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Error(hasNoValue);
  return text.replaceAll(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
};

/** One word of POSIX shell: in single quotes; NUL can't be in an argument and is dropped. */
export const shellWord: Quote = (value) => `'${asText(value).replaceAll("\0", "").replaceAll("'", `'\\''`)}'`;

/** A shell word on a line of a YAML text, e.g. in a script under `write_files`: what YAML would not keep on that line is refused. */
export const shellWordInYaml: Quote = (value) => {
  const word = shellWord(value);
  if (
    /[^\t\u0020-\u007e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u.test(word)
  )
    throw new Error(
      "has a line break or control character, which a shell word can't have here; write {{yaml (sh ...)}}",
    );
  return word;
};

/** One segment or value of a URL, percent-encoded (RFC 3986 s.2.1). */
export const uriComponent: Quote = (value) =>
  encodeURIComponent(asText(value).toWellFormed()).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** How `{{value}}` is written by default. */
export const defaultQuote: Readonly<Record<Syntax, Quote>> = {
  ipxe: ipxeWord,
  grub: grubWord,
  yaml: yamlValue,
  json: jsonValue,
  shell: shellWord,
};

import Handlebars from "handlebars";
import {
  defaultQuote,
  ipxeText,
  jsonValue,
  type Quote,
  shellWord,
  shellWordInYaml,
  type Syntax,
  uriComponent,
  yamlValue,
} from "./quoting.ts";

/** A compiled template: context in, text out. @throws Error with a sentence that names what is missing */
export interface Template {
  render(context: Readonly<Record<string, unknown>>): string;
}

/** Named ways to write a value where the default of the syntax is not the right one. Documented in templates/README.md. */
const quoteHelpers: Readonly<Record<string, Quote>> = {
  text: ipxeText,
  uri: uriComponent,
  json: jsonValue,
  yaml: yamlValue,
  sh: shellWord,
};

/**
 * The helpers whose output may stand in a document of the syntax: a shell word may have a line break in it, which would be a
 * new command to iPXE. Inside another helper, as in `{{yaml (sh v)}}`, each may stand.
 */
const outermostHelpers: Readonly<Record<Syntax, Readonly<Record<string, Quote>>>> = {
  ipxe: { text: ipxeText, uri: uriComponent },
  grub: {},
  yaml: { yaml: yamlValue, json: jsonValue, uri: uriComponent, sh: shellWordInYaml },
  json: { json: jsonValue, uri: uriComponent },
  shell: { sh: shellWord, uri: uriComponent },
};

const engines = new Map<Syntax, typeof Handlebars>();

/**
 * One Handlebars instance per syntax. `{{value}}` is always quoted for that syntax; there is no way to print a raw value, and
 * Handlebars' own HTML escaping is off (it would turn `=` into `&#x3D;`).
 */
function engineFor(syntax: Syntax): typeof Handlebars {
  const known = engines.get(syntax);
  if (known) return known;
  const engine = Handlebars.create();
  for (const name of ["log", "lookup", "helperMissing", "blockHelperMissing"]) engine.unregisterHelper(name);
  engine.registerHelper("helperMissing", (...parameters: unknown[]) => {
    const { name } = parameters.at(-1) as { name: string };
    throw new Error(`unknown name or helper ${name}`);
  });
  const outermost = outermostHelpers[syntax];
  engine.registerHelper("quoteByDefault", told(defaultQuote[syntax], defaultQuote[syntax]));
  for (const [name, quote] of Object.entries(quoteHelpers))
    engine.registerHelper(name, told(outermost[name] ?? quote, quote));
  engine.registerHelper("eq", (left: unknown, right: unknown) => left === right);
  engines.set(syntax, engine);
  return engine;
}

/**
 * A helper that names the value and its line when it can't be written. The compiler adds both to the outermost helpers only, so
 * that without them it is a helper inside another one.
 */
function told(outermost: Quote, inner: Quote) {
  return (value: unknown, name: unknown, line: unknown): string => {
    if (typeof line !== "number") return inner(value);
    try {
      return outermost(value);
    } catch (error) {
      throw new Error(`line ${line}: ${String(name)} ${(error as Error).message}`);
    }
  };
}

/** Templates are written by administrators; the limit is against a slip, not an attack. */
const maximumSourceBytes = 256 * 1024;

/**
 * Compiles a template. @throws Error with the line of the fault
 */
export function compileTemplate(source: string, syntax: Syntax): Template {
  if (Buffer.byteLength(source) > maximumSourceBytes)
    throw new Error(`a template may have ${maximumSourceBytes} octets at most`);
  const engine = engineFor(syntax);
  const ast = parse(engine, source);
  const paths: NotedPath[] = [];
  quoteStatements(ast, { paths, syntax, depth: 0 });
  const compiled = engine.compile(ast, {
    noEscape: true,
    strict: true,
    knownHelpersOnly: true,
    knownHelpers: {
      quoteByDefault: true,
      eq: true,
      helperMissing: true,
      text: true,
      uri: true,
      json: true,
      yaml: true,
      sh: true,
    } as never,
  });
  return {
    render(context) {
      for (const { parts, line } of paths) {
        if (!hasPath(context, parts)) throw new Error(`line ${line}: unknown name ${parts.join(".")}`);
      }
      return compiled(context, { allowProtoPropertiesByDefault: false, allowProtoMethodsByDefault: false });
    },
  };
}

/** A name that the template reads from the top of the context, e.g. `params.sshKeys`. */
interface NotedPath {
  readonly parts: readonly string[];
  readonly line: number;
}

interface Place {
  readonly paths: NotedPath[];
  readonly syntax: Syntax;
  /** How many `each` and `with` lie around. */
  readonly depth: number;
}

interface AstNode {
  type: string;
  loc: { start: { line: number } };
  body?: AstNode[];
  program?: AstNode;
  inverse?: AstNode;
  path?: AstExpression;
  params?: AstExpression[];
  hash?: { pairs: unknown[] } | undefined;
  escaped?: boolean;
}

interface AstExpression extends AstNode {
  original?: string | number | boolean;
  value?: unknown;
  parts?: string[];
  depth?: number;
  data?: boolean;
}

/** Handlebars' own messages show its grammar; these say what to look for. @throws Error that begins with the line */
function parse(engine: typeof Handlebars, source: string): AstNode {
  try {
    return engine.parse(source) as unknown as AstNode;
  } catch (error) {
    const { message } = error as Error;
    const [, line, excerpt = "", got] =
      /^Parse error on line (\d+):\n(.*)\n.*\n.*?got '(.*)'$/s.exec(message) ?? [];
    if (line !== undefined) {
      if (got === "EOF" && message.includes("'OPEN_ENDBLOCK'"))
        throw new Error(`line ${line}: a block is still open at the end, e.g. {{#if}} without {{/if}}`);
      if (got === "OPEN_ENDBLOCK")
        throw new Error(`line ${line}: a block is closed here that was not opened`);
      throw new Error(`line ${line}: this is no template syntax: ${excerpt.trim()}`);
    }
    const [, sentence = message, at = "1"] = /^(.*) - (\d+):\d+$/s.exec(message) ?? [];
    throw new Error(`line ${at}: ${sentence}`);
  }
}

const blockHelpers = new Set(["if", "unless", "each", "with"]);
const dataNames = new Set(["index", "key", "first", "last"]);

/** Turns each `{{value}}` into `{{quoteByDefault value}}`, refuses raw output, and notes the paths read at the top level. */
function quoteStatements(node: AstNode, place: Place): void {
  const body = node.body ?? [];
  for (const [index, statement] of body.entries()) {
    const line = statement.loc.start.line;
    const name = String(statement.path?.original ?? "");
    if ((statement.hash?.pairs.length ?? 0) > 0)
      throw new Error(`line ${line}: name=value has no meaning in a template`);
    switch (statement.type) {
      case "ContentStatement":
      case "CommentStatement":
        break;
      case "MustacheStatement":
        if (place.syntax === "yaml" && statement.params?.length === 0)
          refuseGlued(name, line, body[index - 1], body[index + 1]);
        quoteStatement(statement, name, place);
        break;
      case "BlockStatement": {
        if (!blockHelpers.has(name))
          throw new Error(`line ${line}: unknown block ${name}; there are ${[...blockHelpers].join(", ")}`);
        notePaths(statement, `{{#${name}}}`, 1, place);
        const depth = name === "each" || name === "with" ? place.depth + 1 : place.depth;
        if (statement.program) quoteStatements(statement.program, { ...place, depth });
        if (statement.inverse) quoteStatements(statement.inverse, place);
        break;
      }
      default:
        throw new Error(`line ${line}: ${statement.type} is not allowed in templates`);
    }
  }
}

/** A value in YAML comes with its quotes, so that what touches it would stand outside of them. @throws Error that begins with the line */
function refuseGlued(name: string, line: number, before?: AstNode, after?: AstNode): void {
  const textOf = (node?: AstNode) =>
    node?.type === "ContentStatement" ? String((node as AstExpression).value) : "";
  const head = textOf(before).split("\n").at(-1) ?? "";
  const tail = textOf(after).split("\n")[0] ?? "";
  if (/^\s*#/.test(head)) return;
  const [opening = ""] = /["']$/.exec(head) ?? [];
  if (opening !== "" && tail.startsWith(opening))
    throw new Error(`line ${line}: ${name}: values are quoted already: drop your quotes around {{${name}}}`);
  if (/[\w=/.@%+~$-]$/.test(head) || /^([\w=/@%+~$-]|\.\w)/.test(tail))
    throw new Error(
      `line ${line}: ${name}: a value comes with its quotes, so text that touches it stands outside of them: put the whole text into the value, or write {{uri ${name}}} inside an address or {{sh ${name}}} on a line of shell`,
    );
}

function quoteStatement(statement: AstNode, name: string, place: Place): void {
  const { loc, path, params = [] } = statement;
  const { line } = loc.start;
  if (statement.escaped === false)
    throw new Error(`line ${line}: {{{raw}}} output is not allowed; {{value}} is quoted for you`);
  if (params.length === 0 && path) {
    if (Object.hasOwn(quoteHelpers, name)) throw new Error(`line ${line}: ${name} takes one value`);
    statement.params = [path];
    notePaths(statement, name, 1, place);
    statement.path = {
      type: "PathExpression",
      loc,
      original: "quoteByDefault",
      parts: ["quoteByDefault"],
      depth: 0,
      data: false,
    };
  } else {
    const here = outermostHelpers[place.syntax];
    if (!Object.hasOwn(here, name)) {
      const fault = Object.hasOwn(quoteHelpers, name)
        ? `${name} is not for ${place.syntax} documents`
        : `unknown helper ${name}`;
      throw new Error(`line ${line}: ${fault}; there are ${Object.keys(here).join(", ")}`);
    }
    notePaths(statement, name, 1, place);
  }
  const [value] = statement.params ?? [];
  const shown = value?.type === "PathExpression" ? String(value.original) : "this value";
  statement.params?.push(
    { type: "StringLiteral", loc, original: shown, value: shown },
    { type: "NumberLiteral", loc, original: line, value: line },
  );
}

/** Notes what a statement or sub-expression reads. @throws Error when it has another number of values than `count` */
function notePaths(node: AstNode, name: string, count: number, place: Place): void {
  const { line } = node.loc.start;
  if (node.params?.length !== count)
    throw new Error(`line ${line}: ${name} takes ${count === 1 ? "one value" : `${count} values`}`);
  for (const parameter of node.params) notePath(parameter, line, place);
}

function notePath(expression: AstExpression, line: number, place: Place): void {
  if (expression.type === "SubExpression") {
    const name = String(expression.path?.original ?? "");
    if (name !== "eq" && !Object.hasOwn(quoteHelpers, name))
      throw new Error(
        `line ${line}: unknown helper ${name}; there are eq, ${Object.keys(quoteHelpers).join(", ")}`,
      );
    notePaths(expression, name, name === "eq" ? 2 : 1, place);
    return;
  }
  if (expression.type !== "PathExpression") return;
  const { parts = [], depth = 0, data = false } = expression;
  if (depth > place.depth) throw new Error(`line ${line}: ${expression.original} leads out of the template`);
  if (data) {
    const [head = "", ...rest] = parts;
    if (head === "root") place.paths.push({ parts: rest, line });
    else if (rest.length > 0 || !dataNames.has(head))
      throw new Error(
        `line ${line}: unknown name @${parts.join(".")}; there are @root, @${[...dataNames].join(", @")}`,
      );
    return;
  }
  // Inside each and with, a path may start anywhere; strict mode watches those when they are printed.
  if (depth === place.depth) place.paths.push({ parts, line });
}

function hasPath(context: unknown, parts: readonly string[]): boolean {
  // Labels are what people like, so one that a machine does not have is no slip: {{#if machine.labels.rack}}.
  if (parts[0] === "machine" && parts[1] === "labels") return true;
  let value = context;
  for (const part of parts) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return false;
    value = (value as Record<string, unknown>)[part];
  }
  return true;
}

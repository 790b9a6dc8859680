import Handlebars from "handlebars";
import { DocumentFault, DocumentFaults, type TextPlace } from "./document-fault.ts";
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
import { addMarks } from "./template-places.ts";

/** A compiled template: context in, text out. @throws DocumentFault, DocumentFaults that name what is missing */
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
  return (value: unknown, name: unknown, line: unknown, column: unknown): string => {
    if (typeof line !== "number") return inner(value);
    try {
      return outermost(value);
    } catch (error) {
      throw fault({ line, column: Number(column) }, `${String(name)} ${(error as Error).message}`);
    }
  };
}

function throwAll(faults: readonly DocumentFault[]): void {
  const [first] = faults;
  if (first) throw faults.length === 1 ? first : new DocumentFaults(faults);
}

function fault(at: TextPlace, sentence: string): DocumentFault {
  return new DocumentFault("TEMPLATE_INVALID", sentence, { at });
}

/** Handlebars counts columns from 0. */
function placeOf({ loc }: AstNode): TextPlace {
  return { line: loc.start.line, column: loc.start.column + 1 };
}

/** Templates are written by administrators; the limit is against a slip, not an attack. */
const maximumSourceBytes = 256 * 1024;

/**
 * Compiles a template.
 * @param hasMarks its text is for {@link readMarks}, which tells where each part of it came from
 * @throws DocumentFault, DocumentFaults
 */
export function compileTemplate(source: string, syntax: Syntax, { hasMarks = false } = {}): Template {
  if (Buffer.byteLength(source) > maximumSourceBytes)
    throw new DocumentFault("TEMPLATE_INVALID", `a template may have ${maximumSourceBytes} octets at most`);
  const engine = engineFor(syntax);
  const ast = parse(engine, source);
  const paths: NotedPath[] = [];
  const faults: DocumentFault[] = [];
  quoteStatements(ast, { paths, faults, syntax, depth: 0 });
  throwAll(faults);
  if (hasMarks) addMarks(ast);
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
      throwAll(
        paths
          .filter(({ parts }) => !hasPath(context, parts))
          .map(({ parts, at }) => fault(at, `unknown name ${parts.join(".")}`)),
      );
      return compiled(context, { allowProtoPropertiesByDefault: false, allowProtoMethodsByDefault: false });
    },
  };
}

/** A name that the template reads from the top of the context, e.g. `params.sshKeys`. */
interface NotedPath {
  readonly parts: readonly string[];
  readonly at: TextPlace;
}

interface Place {
  readonly paths: NotedPath[];
  readonly faults: DocumentFault[];
  readonly syntax: Syntax;
  /** How many `each` and `with` lie around. */
  readonly depth: number;
}

interface AstNode {
  type: string;
  loc: { start: { line: number; column: number } };
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

/** Handlebars' own messages show its grammar; these say what to look for. @throws DocumentFault */
function parse(engine: typeof Handlebars, source: string): AstNode {
  try {
    return engine.parse(source) as unknown as AstNode;
  } catch (error) {
    const { message } = error as Error;
    const [, line, excerpt = "", got] =
      /^Parse error on line (\d+):\n(.*)\n.*\n.*?got '(.*)'$/s.exec(message) ?? [];
    if (line !== undefined) {
      const at = { line: Number(line), column: 1 };
      if (got === "EOF" && message.includes("'OPEN_ENDBLOCK'"))
        throw fault(at, "a block is still open at the end, e.g. {{#if}} without {{/if}}");
      if (got === "OPEN_ENDBLOCK") throw fault(at, "a block is closed here that was not opened");
      throw fault(at, `this is no template syntax: ${excerpt.trim()}`);
    }
    const [, sentence = message, where = "1", column = "0"] = /^(.*) - (\d+):(\d+)$/s.exec(message) ?? [];
    throw fault({ line: Number(where), column: Number(column) + 1 }, sentence);
  }
}

const blockHelpers = new Set(["if", "unless", "each", "with"]);
const dataNames = new Set(["index", "key", "first", "last"]);

/** Turns each `{{value}}` into `{{quoteByDefault value}}`, refuses raw output, and notes the paths read at the top level. */
function quoteStatements(node: AstNode, place: Place): void {
  const body = node.body ?? [];
  for (const [index, statement] of body.entries())
    try {
      lookAtStatement(statement, place, body[index - 1], body[index + 1]);
    } catch (error) {
      if (!(error instanceof DocumentFault)) throw error;
      place.faults.push(error);
    }
}

/** @throws DocumentFault */
function lookAtStatement(statement: AstNode, place: Place, before?: AstNode, after?: AstNode): void {
  const at = placeOf(statement);
  const name = String(statement.path?.original ?? "");
  if ((statement.hash?.pairs.length ?? 0) > 0) throw fault(at, "name=value has no meaning in a template");
  switch (statement.type) {
    case "ContentStatement":
    case "CommentStatement":
      break;
    case "MustacheStatement":
      if (place.syntax === "yaml" && statement.params?.length === 0) refuseGlued(name, at, before, after);
      quoteStatement(statement, name, place);
      break;
    case "BlockStatement": {
      if (!blockHelpers.has(name))
        throw fault(at, `unknown block ${name}; there are ${[...blockHelpers].join(", ")}`);
      notePaths(statement, `{{#${name}}}`, 1, place);
      const depth = name === "each" || name === "with" ? place.depth + 1 : place.depth;
      if (statement.program) quoteStatements(statement.program, { ...place, depth });
      if (statement.inverse) quoteStatements(statement.inverse, place);
      break;
    }
    default:
      throw fault(at, `${statement.type} is not allowed in templates`);
  }
}

/** A value in YAML comes with its quotes, so that what touches it would stand outside of them. @throws DocumentFault */
function refuseGlued(name: string, at: TextPlace, before?: AstNode, after?: AstNode): void {
  const textOf = (node?: AstNode) =>
    node?.type === "ContentStatement" ? String((node as AstExpression).value) : "";
  const head = textOf(before).split("\n").at(-1) ?? "";
  const tail = textOf(after).split("\n")[0] ?? "";
  if (/^\s*#/.test(head)) return;
  const [opening = ""] = /["']$/.exec(head) ?? [];
  if (opening !== "" && tail.startsWith(opening))
    throw fault(at, `${name}: values are quoted already: drop your quotes around {{${name}}}`);
  if (/[\w=/.@%+~$-]$/.test(head) || /^([\w=/@%+~$-]|\.\w)/.test(tail))
    throw fault(
      at,
      `${name}: a value comes with its quotes, so text that touches it stands outside of them: put the whole text into the value, or write {{uri ${name}}} inside an address or {{sh ${name}}} on a line of shell`,
    );
}

function quoteStatement(statement: AstNode, name: string, place: Place): void {
  const { loc, path, params = [] } = statement;
  const at = placeOf(statement);
  if (statement.escaped === false)
    throw fault(at, `{{{raw}}} output is not allowed; {{value}} is quoted for you`);
  if (params.length === 0 && path) {
    if (Object.hasOwn(quoteHelpers, name)) throw fault(at, `${name} takes one value`);
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
      const problem = Object.hasOwn(quoteHelpers, name)
        ? `${name} is not for ${place.syntax} documents`
        : `unknown helper ${name}`;
      throw fault(at, `${problem}; there are ${Object.keys(here).join(", ")}`);
    }
    notePaths(statement, name, 1, place);
  }
  const [value] = statement.params ?? [];
  const shown = value?.type === "PathExpression" ? String(value.original) : "this value";
  statement.params?.push(
    { type: "StringLiteral", loc, original: shown, value: shown },
    { type: "NumberLiteral", loc, original: at.line, value: at.line },
    { type: "NumberLiteral", loc, original: at.column, value: at.column },
  );
}

/** Notes what a statement or sub-expression reads. @throws DocumentFault when it has another number of values than `count` */
function notePaths(node: AstNode, name: string, count: number, place: Place): void {
  const at = placeOf(node);
  if (node.params?.length !== count)
    throw fault(at, `${name} takes ${count === 1 ? "one value" : `${count} values`}`);
  for (const parameter of node.params) notePath(parameter, at, place);
}

function notePath(expression: AstExpression, at: TextPlace, place: Place): void {
  if (expression.type === "SubExpression") {
    const name = String(expression.path?.original ?? "");
    if (name !== "eq" && !Object.hasOwn(quoteHelpers, name))
      throw fault(at, `unknown helper ${name}; there are eq, ${Object.keys(quoteHelpers).join(", ")}`);
    notePaths(expression, name, name === "eq" ? 2 : 1, place);
    return;
  }
  if (expression.type !== "PathExpression") return;
  const { parts = [], depth = 0, data = false } = expression;
  if (depth > place.depth) throw fault(at, `${expression.original} leads out of the template`);
  if (data) {
    const [head = "", ...rest] = parts;
    if (head === "root") place.paths.push({ parts: rest, at });
    else if (rest.length > 0 || !dataNames.has(head))
      throw fault(at, `unknown name @${parts.join(".")}; there are @root, @${[...dataNames].join(", @")}`);
    return;
  }
  // Inside each and with, a path may start anywhere; strict mode watches those when they are printed.
  if (depth === place.depth) place.paths.push({ parts, at });
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

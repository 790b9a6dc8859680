import Handlebars from "handlebars";
import {
  defaultQuote,
  ipxeText,
  jsonValue,
  type Quote,
  shellWord,
  type Syntax,
  uriComponent,
  yamlValue,
} from "./quoting.ts";

/** A compiled template: context in, text out. @throws Error with a sentence that names what is missing */
export interface Template {
  render(context: Readonly<Record<string, unknown>>): string;
  /** Paths that the template reads from the top of the context, e.g. `params.sshKeys`, with their line. */
  readonly paths: readonly { readonly path: string; readonly line: number }[];
}

/** Named ways to write a value where the default of the syntax is not the right one. Documented in templates/README.md. */
const quoteHelpers: Readonly<Record<string, Quote>> = {
  text: ipxeText,
  uri: uriComponent,
  json: jsonValue,
  yaml: yamlValue,
  sh: shellWord,
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
  engine.registerHelper("quoteByDefault", (value: unknown) => defaultQuote[syntax](value));
  for (const [name, quote] of Object.entries(quoteHelpers))
    engine.registerHelper(name, (value: unknown) => quote(value));
  engine.registerHelper("eq", (left: unknown, right: unknown) => left === right);
  engines.set(syntax, engine);
  return engine;
}

/** Templates are written by administrators; the limit is against a slip, not an attack. */
const maximumSourceBytes = 256 * 1024;

/**
 * Compiles a template. @throws Error with the line of the fault
 */
export function compileTemplate(source: string, syntax: Syntax): Template {
  if (source.length > maximumSourceBytes)
    throw new Error(`a template may have ${maximumSourceBytes} octets at most`);
  const engine = engineFor(syntax);
  const ast = engine.parse(source) as unknown as AstNode;
  const paths: { path: string; line: number }[] = [];
  quoteStatements(ast, paths, 0);
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
    paths,
    render(context) {
      for (const { path, line } of paths) {
        if (!hasPath(context, path)) throw new Error(`line ${line}: unknown name ${path}`);
      }
      return compiled(context, { allowProtoPropertiesByDefault: false, allowProtoMethodsByDefault: false });
    },
  };
}

interface AstNode {
  type: string;
  loc: { start: { line: number } };
  body?: AstNode[];
  program?: AstNode;
  inverse?: AstNode;
  path?: AstNode & { original: string; parts: string[]; depth: number; data: boolean };
  params?: (AstNode & { original?: string; depth?: number; data?: boolean; parts?: string[] })[];
  hash?: { pairs: { value: AstNode }[] } | undefined;
  escaped?: boolean;
}

const blockHelpers = new Set(["if", "unless", "each", "with"]);

/** Turns each `{{value}}` into `{{quoteByDefault value}}`, refuses raw output, and notes the paths read at the top level. */
function quoteStatements(node: AstNode, paths: { path: string; line: number }[], depth: number): void {
  for (const statement of node.body ?? []) {
    const line = statement.loc.start.line;
    switch (statement.type) {
      case "ContentStatement":
      case "CommentStatement":
        break;
      case "MustacheStatement": {
        if (statement.escaped === false)
          throw new Error(`line ${line}: {{{raw}}} output is not allowed; {{value}} is quoted for you`);
        const name = statement.path?.original ?? "";
        if ((statement.params?.length ?? 0) === 0 && statement.path) {
          if (statement.path.type === "PathExpression") notePath(statement.path, line);
          statement.params = [statement.path];
          statement.path = {
            ...statement.path,
            type: "PathExpression",
            original: "quoteByDefault",
            parts: ["quoteByDefault"],
            depth: 0,
            data: false,
          };
        } else {
          if (!Object.hasOwn(quoteHelpers, name))
            throw new Error(
              `line ${line}: unknown helper ${name}; there are ${Object.keys(quoteHelpers).join(", ")}`,
            );
          for (const parameter of statement.params ?? []) notePath(parameter, line);
        }
        break;
      }
      case "BlockStatement": {
        const name = statement.path?.original ?? "";
        if (!blockHelpers.has(name))
          throw new Error(`line ${line}: unknown block ${name}; there are ${[...blockHelpers].join(", ")}`);
        for (const parameter of statement.params ?? []) notePath(parameter, line);
        const inner = name === "each" || name === "with" ? depth + 1 : depth;
        if (statement.program) quoteStatements(statement.program, paths, inner);
        if (statement.inverse) quoteStatements(statement.inverse, paths, depth);
        break;
      }
      default:
        throw new Error(`line ${line}: ${statement.type} is not allowed in templates`);
    }
  }

  function notePath(
    expression: AstNode & { original?: string; depth?: number; data?: boolean; params?: AstNode[] },
    line: number,
  ): void {
    if (expression.type === "SubExpression") {
      for (const parameter of expression.params ?? []) notePath(parameter, line);
      return;
    }
    // Inside each and with, and with ../, a path may start anywhere; strict mode watches those when they are printed.
    if (expression.type !== "PathExpression" || expression.data || depth > 0 || (expression.depth ?? 0) > 0)
      return;
    const path = expression.original ?? "";
    if (path !== "this" && path !== ".") paths.push({ path, line });
  }
}

function hasPath(context: unknown, path: string): boolean {
  let value = context;
  for (const part of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return false;
    value = (value as Record<string, unknown>)[part];
  }
  return true;
}

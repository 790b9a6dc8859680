import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TemplateFailed } from "../domain/error-catalogue.ts";
import type { DocumentKind, Role } from "../domain/role.ts";
import { readYaml } from "../yaml/read-yaml.ts";
import type { RenderContext } from "./context.ts";
import { compileTemplate, type Template } from "./engine.ts";
import type { Syntax } from "./quoting.ts";
import { retryPlan } from "./retry-plan.ts";

const syntaxes: Readonly<Record<DocumentKind | "argument", Syntax>> = {
  ipxe: "ipxe",
  argument: "ipxe",
  "user-data": "yaml",
  "meta-data": "yaml",
  "vendor-data": "yaml",
  "network-config": "yaml",
  ignition: "json",
};

export function syntaxOf(kind: DocumentKind | "argument"): Syntax {
  return syntaxes[kind];
}

/** The templates that are used where a role has none of its own. */
export interface StandardTemplates {
  readonly documents: Readonly<Partial<Record<DocumentKind, { file: string; source: string }>>>;
  readonly scripts: Readonly<Record<StandardScript, { file: string; source: string }>>;
  readonly grub: Readonly<Record<GrubConfig, { file: string; source: string }>>;
}
export type StandardScript = "first-contact" | "image" | "wait" | "local" | "url" | "error";
const standardScripts: readonly StandardScript[] = [
  "first-contact",
  "image",
  "wait",
  "local",
  "url",
  "error",
];

/** What a machine does whose script failed too often. */
export const lastResorts = ["reboot", "exit"] as const;
export type LastResort = (typeof lastResorts)[number];

export type GrubConfig = "first-contact" | "image" | "wait" | "local" | "ipxe" | "error";
const grubConfigs: readonly GrubConfig[] = ["first-contact", "image", "wait", "local", "ipxe", "error"];

/** Reads templates/ipxe, templates/grub and templates/cloud-init. */
export function loadStandardTemplates(directory: string): StandardTemplates {
  const text = (file: string) => readFileSync(join(directory, file), "utf8");
  const read = (file: string) => ({ file, source: text(file) });
  const retry = text("ipxe/retry.ipxe.hbs");
  const readScript = (name: StandardScript) => {
    const { file, source } = read(`ipxe/${name}.ipxe.hbs`);
    // What loads nothing has nothing to try again.
    return { file, source: name === "local" ? source : source + retry };
  };
  return {
    documents: {
      "user-data": read("cloud-init/user-data.hbs"),
      "meta-data": read("cloud-init/meta-data.hbs"),
      "vendor-data": read("cloud-init/vendor-data.hbs"),
      "network-config": read("cloud-init/network-config.hbs"),
    },
    scripts: Object.fromEntries(
      standardScripts.map((name) => [name, readScript(name)]),
    ) as StandardTemplates["scripts"],
    grub: Object.fromEntries(
      grubConfigs.map((name) => [name, read(`grub/${name}.cfg.hbs`)]),
    ) as StandardTemplates["grub"],
  };
}

export type Renderer = ReturnType<typeof createRenderer>;

/** Turns roles and facts into the texts that machines get, each checked before it leaves. */
export function createRenderer(standard: StandardTemplates, afterFailures: LastResort = "reboot") {
  // Compiling costs about a millisecond, rendering 20 µs; sources are few and change rarely.
  const compiled = new Map<string, Template>();
  function compile(source: string, syntax: Syntax): Template {
    const key = `${syntax}\n${source}`;
    const known = compiled.get(key);
    if (known) return known;
    if (compiled.size > 500) compiled.clear();
    const template = compileTemplate(source, syntax);
    compiled.set(key, template);
    return template;
  }
  function attempt(role: string, file: string, work: () => string): string {
    try {
      return work();
    } catch (error) {
      const problem = (error as Error).message.replaceAll(/\s*\n\s*/g, " ").slice(0, 300);
      throw TemplateFailed({ role, file, problem });
    }
  }

  return {
    /** One of templates/ipxe. @param seed whose script it is, MAC or address: its waits are spread by it @throws TemplateFailed */
    standardScript(name: StandardScript, seed: string, context: Readonly<Record<string, unknown>>): string {
      const { file, source } = standard.scripts[name];
      const retry = retryPlan(seed);
      return attempt("-", file, () => compile(source, "ipxe").render({ ...context, retry, afterFailures }));
    },

    /** One of templates/grub. @throws TemplateFailed */
    grubConfig(name: GrubConfig, context: Readonly<Record<string, unknown>>): string {
      const { file, source } = standard.grub[name];
      return attempt("-", file, () => compile(source, "grub").render(context));
    },

    /** The kernel arguments of the role, rendered one by one. @throws TemplateFailed */
    kernelArguments: (role: Role, context: RenderContext): string[] =>
      role.arguments.map((argument) =>
        attempt(role.name, "role.yaml", () => compile(argument, "ipxe").render(context)),
      ),

    /** A document of the role, or the standard one; undefined when neither has it. @throws TemplateFailed */
    document(role: Role, kind: Exclude<DocumentKind, "ipxe">, context: RenderContext): string | undefined {
      const template = role.templates[kind] ?? standard.documents[kind];
      if (!template) return undefined;
      return attempt(role.name, template.file, () => {
        const text = compile(template.source, syntaxes[kind]).render(context);
        refuseUnreadable(kind, text);
        return text;
      });
    },

    /** The role's own iPXE script. @throws TemplateFailed */
    ownScript(role: Role, context: RenderContext): string | undefined {
      const template = role.templates.ipxe;
      if (!template) return undefined;
      return attempt(role.name, template.file, () => {
        const text = compile(template.source, "ipxe").render(context);
        refuseUnreadable("ipxe", text);
        return text;
      });
    },
  };
}

/** @throws Error when the reader of this document would refuse it */
export function refuseUnreadable(kind: DocumentKind, text: string): void {
  const firstLine = kind === "ipxe" ? "#!ipxe" : kind === "user-data" ? "#cloud-config" : undefined;
  if (firstLine !== undefined && !text.startsWith(`${firstLine}\n`))
    throw new Error(`line 1: the first line must be ${firstLine}`);
  if (kind === "ipxe") return;
  if (kind === "ignition") {
    const config = parseJson(text) as { ignition?: { version?: unknown } } | null;
    if (typeof config?.ignition?.version !== "string") throw new Error("ignition.version is missing");
    return;
  }
  const yaml = readYaml(text);
  const [problem] = yaml.problems;
  if (problem) throw new Error(`line ${problem.line} as rendered: ${problem.message}`);
  const value = yaml.value ?? {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new Error("line 1: the document must be a mapping of keys");
  if (kind === "meta-data" && typeof (value as Record<string, unknown>)["instance-id"] !== "string")
    throw new Error("instance-id is missing");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const [, line, column] = /\(line (\d+) column (\d+)\)$/.exec(message) ?? [];
    const at = line === undefined ? "" : `line ${line} as rendered, column ${column}: `;
    throw new Error(
      `${at}this is no JSON: ${message.replace(/ in JSON at position .*$/s, "").slice(0, 100)}`,
    );
  }
}

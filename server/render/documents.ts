import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TemplateFailed } from "../domain/error-catalogue.ts";
import { type DocumentKind, type Role, type RoleText, type TemplateKind } from "../domain/role.ts";
import type { IgnitionConfig } from "../ignition/config.ts";
import type { LocalFiles } from "../ignition/local-files.ts";
import { type MachineFacts, machinePart } from "../ignition/machine-part.ts";
import { forOlderIgnition } from "../ignition/validate.ts";
import type { RenderContext } from "./context.ts";
import { compileTemplate, type Template } from "./engine.ts";
import { multipart, type Part } from "./multipart.ts";
import type { Syntax } from "./quoting.ts";
import { cloudInitType, isEmptyYaml, refuseUnreadable } from "./readable.ts";
import { retryPlan } from "./retry-plan.ts";
import { createLocalFiles } from "./role-folder.ts";
import { readIgnition } from "./role-ignition.ts";

const syntaxes: Readonly<Record<TemplateKind | "argument", Syntax>> = {
  ipxe: "ipxe",
  argument: "ipxe",
  "user-data": "yaml",
  "meta-data": "yaml",
  "vendor-data": "yaml",
  "network-config": "yaml",
  ignition: "json",
  butane: "yaml",
};

export function syntaxOf(kind: TemplateKind | "argument"): Syntax {
  return syntaxes[kind];
}

/** The templates that are used where a role has none of its own. */
export interface StandardTemplates {
  readonly documents: Readonly<Partial<Record<DocumentKind, { file: string; source: string }>>>;
  readonly scripts: Readonly<Record<StandardScript, { file: string; source: string }>>;
  readonly grub: Readonly<Record<GrubConfig, { file: string; source: string }>>;
}
export type StandardScript = "first-contact" | "image" | "wait" | "menu" | "local" | "url" | "error";
const standardScripts: readonly StandardScript[] = [
  "first-contact",
  "image",
  "wait",
  "menu",
  "local",
  "url",
  "error",
];

/** What a machine does whose script failed too often. */
export const lastResorts = ["reboot", "exit"] as const;
export type LastResort = (typeof lastResorts)[number];

const grubConfigs = ["first-contact", "image", "wait", "menu", "local", "restart", "error"] as const;
export type GrubConfig = (typeof grubConfigs)[number];

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
  /** What does not change from machine to machine is made once; a role that is read anew has new texts. */
  const ignitionOfFile = new WeakMap<RoleText, IgnitionConfig>();
  const filesOf = new WeakMap<RoleText, LocalFiles>();
  const attempt = (role: string, file: string, work: () => string): string => attemptAny(role, file, work);
  function attemptAny<T>(role: string, file: string, work: () => T): T {
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

    /**
     * A document of the role, or the standard one; undefined when neither has it. `ignition` is the role's part alone.
     * @param parts of the user-data, after those of the role
     * @throws TemplateFailed
     */
    document(
      role: Role,
      kind: Exclude<DocumentKind, "ipxe">,
      context: RenderContext,
      parts: readonly Part[] = [],
    ): string | undefined {
      if (kind === "ignition") return this.ignition(role, context)?.text;
      const standardText = standard.documents[kind];
      const own = ownText(role, kind, context);
      if (own === undefined && !standardText) return undefined;
      const made =
        standardText && (own === undefined || kind === "vendor-data")
          ? filledIn(role, kind, standardText, context)
          : "";
      if (kind === "user-data") return userData(role, own ?? made, context, parts);
      if (own === undefined) return made;
      // The server's part stays beside the role's: without it the machine would never call back.
      return kind === "vendor-data" ? vendorParts(made, own) : own;
    },

    /** The role's own iPXE script. @throws TemplateFailed */
    ownScript: (role: Role, context: RenderContext): string | undefined => ownText(role, "ipxe", context),

    /**
     * The Ignition config of the role, made for an Ignition that speaks no more than 3.`maximumMinor`; `isTooNew` where that can't be.
     * @throws TemplateFailed
     */
    ignition(
      role: Role,
      context: RenderContext,
      maximumMinor = Infinity,
    ): { text: string; version: string; isTooNew: boolean } | undefined {
      const config = roleIgnition(role, context);
      if (!config) return undefined;
      const older = forOlderIgnition(config, maximumMinor);
      const { version } = (older ?? config).ignition;
      return { text: writeJson(older ?? config), version, isTooNew: older === undefined };
    },

    /** The config that a machine fetches first, which draws in the others. */
    machineIgnition: (
      context: RenderContext,
      parts: MachineFacts["parts"],
      agent?: MachineFacts["agent"],
    ): string =>
      writeJson(
        machinePart({
          hostname: context.machine.name,
          joinedUrl: context.joinedUrl ?? undefined,
          parts,
          agent,
        }),
      ),
  };

  /** A document that the role brings, checked; undefined: it brings none. */
  function ownText(
    role: Role,
    kind: Exclude<DocumentKind, "ignition">,
    context: RenderContext,
  ): string | undefined {
    const file = role.files[kind];
    if (file)
      return attempt(role.name, file.file, () => {
        refuseUnreadable(kind, file.source, { isRendered: false });
        return file.source;
      });
    const template = role.templates[kind];
    return template && filledIn(role, kind, template, context);
  }

  /** A template filled in for a machine, and read as its consumer would. @throws TemplateFailed */
  function filledIn(
    role: Role,
    kind: Exclude<DocumentKind, "ignition">,
    { file, source }: { readonly file: string; readonly source: string },
    context: RenderContext,
  ): string {
    return attempt(role.name, file, () => {
      const text = compile(source, syntaxes[kind]).render(context);
      refuseUnreadable(kind, text, { isRendered: true });
      return text;
    });
  }

  /** The user-data with what is merged into it; parts with nothing in them, which cloud-init would complain about, are left out. */
  function userData(role: Role, main: string, context: RenderContext, others: readonly Part[]): string {
    const parts = role.userDataParts.map(({ file, source }) => ({
      type: "text/cloud-config",
      name: file,
      mergeType,
      text: filledIn(role, "user-data", { file, source }, context),
    }));
    const more: readonly Part[] = [...parts.filter(({ text }) => !isEmptyYaml(text)), ...others];
    if (more.length === 0) return main;
    const name = (role.files["user-data"] ?? role.templates["user-data"])?.file ?? "user-data";
    const first = { type: cloudInitType(main) ?? "text/plain", name, text: main };
    return multipart(isEmptyYaml(main) ? more : [first, ...more]);
  }

  function roleIgnition(role: Role, context: RenderContext): IgnitionConfig | undefined {
    const file = role.files.ignition;
    if (file) {
      const known = ignitionOfFile.get(file);
      if (known) return known;
      const config = attemptAny(role.name, file.file, () =>
        readIgnition(file.source, localFiles(file), false),
      );
      ignitionOfFile.set(file, config);
      return config;
    }
    const kind = role.templates.butane ? "butane" : "ignition";
    const template = role.templates[kind];
    if (!template) return undefined;
    return attemptAny(role.name, template.file, () =>
      readIgnition(compile(template.source, syntaxes[kind]).render(context), localFiles(template), true),
    );
  }

  function localFiles(text: RoleText): LocalFiles {
    const known = filesOf.get(text) ?? createLocalFiles(text.directory);
    filesOf.set(text, known);
    return known;
  }
}

/** Lists grow, mappings are merged, a later text takes the place of an earlier one. */
const mergeType = "list(append)+dict(recurse_list,recurse_str)+str()";

function vendorParts(ours: string, own: string): string {
  return multipart([
    { type: "text/cloud-config", name: "rollcall.cfg", text: ours },
    { type: cloudInitType(own) ?? "text/plain", name: "role.cfg", text: own },
  ]);
}

const writeJson = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

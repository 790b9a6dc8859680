import { RoleNeedsIpxe } from "../domain/error-catalogue.ts";
import { type Arch, firmwares } from "../domain/firmware.ts";
import type { RoleMenu } from "../domain/role-menu.ts";
import { archByGrubCpu } from "../domain/uefi-loaders.ts";
import type { GrubConfig, Renderer } from "../render/documents.ts";
import { type BootPlan, contextOf, kernelArguments, type Rendering } from "./boot-plan.ts";
import type { LoaderLanguage } from "./loader-language.ts";

/** What GRUB says of the machine it runs on, in the address of its config. */
export interface GrubFacts {
  readonly arch: Arch | undefined;
  /** GRUB is locked down exactly where Secure Boot is on (kern/efi/sb.c). */
  readonly secureBoot: boolean;
}

/** @param query of the config's address, as templates/grub/first-contact.cfg.hbs writes it */
export function readGrubFacts(query: Readonly<Record<string, unknown>>): GrubFacts {
  const { cpu, lockdown } = query;
  return { arch: typeof cpu === "string" ? archByGrubCpu(cpu) : undefined, secureBoot: lockdown === "y" };
}

/** An address of ours as GRUB names it: `http://10.0.0.1:8080/x` is `(http,10.0.0.1:8080)/x`. */
export function grubFile(url: string): string {
  const { host, pathname } = new URL(url);
  return `(http,${host})${pathname}`;
}

/** What GRUB loads first, from us by TFTP or HTTP: no question of a machine, so that everybody may have it. */
export function firstGrubConfig(serverUrl: string, renderer: Pick<Renderer, "grubConfig">): string {
  return renderer.grubConfig("first-contact", { serverUrl, device: `(http,${new URL(serverUrl).host})` });
}

/**
 * Every config of a machine has this length, so that HEAD can tell it before the config is made: GRUB, where it loads through the
 * firmware's HTTP, reads as much of it as HEAD said. Linux takes a command line of 2 KiB (boot-plan.ts), the rest is a few lines.
 */
export const grubConfigBytes = 8192;

/** Of an error's text; the most that fits on a screen beside the rest. */
const shownCharacters = 1000;

/** @throws Error when it is too long */
function pad(text: string): string {
  if (text.length > grubConfigBytes)
    throw new Error(`a GRUB config of ${text.length} octets is longer than ${grubConfigBytes}`);
  return text.padEnd(grubConfigBytes, "\n");
}

function machineConfig(
  renderer: Renderer,
  name: GrubConfig,
  context: Readonly<Record<string, unknown>>,
): string {
  return pad(renderer.grubConfig(name, context));
}

/** The role of that plan is a script that only iPXE understands. */
function needsIpxe(plan: BootPlan): boolean {
  return plan.kind === "url" || plan.role.templates.ipxe !== undefined || plan.role.boot === "script";
}

/** Its iPXE sleeps and never wakes, so it stays with GRUB. */
function isUboot(firmware: string | undefined): boolean {
  return firmwares.some(({ name, kind }) => name === firmware && kind === "uboot");
}

/**
 * What sends a machine from GRUB to iPXE: where Secure Boot is off, iPXE is what it gets from its next start on. Once only; a machine that
 * comes to GRUB all the same would start again for ever.
 * @param before what was known of its Secure Boot
 */
export function restartIntoIpxe(
  machine: { readonly name: string; readonly firmware: string | undefined },
  plan: BootPlan,
  { secureBoot }: GrubFacts,
  before: boolean | undefined,
  renderer: Renderer,
): string | undefined {
  if (!needsIpxe(plan) || secureBoot || before === false || isUboot(machine.firmware)) return undefined;
  return machineConfig(renderer, "restart", { machine: { name: machine.name } });
}

/** What iPXE is told by its scripts, GRUB is told by configs; each is sourced by a loop that asks for the next one. */
export function grubLanguage(renderer: Renderer): LoaderLanguage {
  return {
    refuse(plan) {
      if (needsIpxe(plan)) throw roleNeedsIpxe(plan);
    },
    script: (rendering) => renderGrubConfig(rendering, renderer),
    local: (machine) => machineConfig(renderer, "local", { machine }),
    fault: (facts) => {
      // A single quote can't be written in GRUB's single quotes. A list of all roles would be longer than a config may be.
      const shown = (text: string) => text.replaceAll("'", '"').slice(0, shownCharacters);
      const message = shown(facts.message);
      const advice = shown(facts.advice);
      return machineConfig(renderer, "error", { ...facts, message, advice });
    },
  };
}

function renderGrubConfig(rendering: Rendering, renderer: Renderer): string {
  const { plan, pollSeconds } = rendering;
  if (plan.kind === "url") throw roleNeedsIpxe(plan);
  const context = contextOf({ ...rendering, plan });
  switch (plan.role.boot) {
    case "image": {
      const { image } = context;
      if (!image) throw new Error(`the plan of ${plan.role.name} has no image`);
      return machineConfig(renderer, "image", {
        ...context,
        kernel: grubFile(image.kernelEfiUrl ?? image.kernelUrl),
        // That of the node first: its length is a multiple of 4, behind which the kernel finds the next one (see image.ipxe.hbs).
        initrds: [context.nodeUrl, image.initrdUrl].filter((url) => url !== null).map(grubFile),
        arguments: kernelArguments(plan.role, context, plan.image, renderer, rendering.node),
      });
    }
    case "wait":
      return machineConfig(renderer, "wait", { ...context, pollSeconds });
    case "menu":
      return machineConfig(renderer, "menu", { ...context, ...grubMenu(plan.menu, context.scriptUrl) });
    case "local":
      return machineConfig(renderer, "local", context);
    case "script":
      throw roleNeedsIpxe(plan);
  }
}

/** Each role that is skipped gives the next one this long, seconds. */
const nextSeconds = 5;

/** The default first, which has the menu's own time. */
function grubMenu(menu: RoleMenu | undefined, scriptUrl: string) {
  const { entries = [], default: chosen, timeoutSeconds } = menu ?? {};
  const inOrder = [...entries].sort(
    (left, right) => Number(right.role === chosen) - Number(left.role === chosen),
  );
  return {
    configFile: grubFile(scriptUrl).replace(/boot\.ipxe$/, "grub.cfg"),
    menu: {
      entries: inOrder.map((entry) => ({
        ...entry,
        seconds: entry.role === chosen ? timeoutSeconds : nextSeconds,
      })),
    },
  };
}

function roleNeedsIpxe(plan: BootPlan): Error {
  return RoleNeedsIpxe({ role: plan.kind === "url" ? plan.url : plan.role.name });
}

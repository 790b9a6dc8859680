import { RoleNeedsIpxe } from "../domain/error-catalogue.ts";
import { describeTarget } from "../domain/assignment.ts";
import { type Arch, firmwares } from "../domain/firmware.ts";
import { archByGrubCpu, uefiLoaders } from "../domain/uefi-loaders.ts";
import type { Renderer } from "../render/documents.ts";
import { contextOf, kernelArguments, type Rendering } from "./boot-plan.ts";
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
 * The name of the iPXE that a machine without Secure Boot goes on with.
 * @param firmware of the machine, as it was last seen with
 * @returns undefined: there is none for its architecture, or its firmware is U-Boot, where iPXE sleeps and never wakes
 */
export function ipxeFor(
  { arch, secureBoot }: GrubFacts,
  firmware: string | undefined,
  available: ReadonlySet<string>,
): string | undefined {
  const isUboot = firmwares.some(({ name, kind }) => name === firmware && kind === "uboot");
  return secureBoot || isUboot || !arch
    ? undefined
    : uefiLoaders[arch].ipxe.find((name) => available.has(name));
}

/** Hands the machine over to iPXE. */
export function ipxeConfig(
  machine: { readonly name: string },
  loader: string,
  serverUrl: string,
  renderer: Renderer,
): string {
  return renderer.grubConfig("ipxe", {
    machine: { name: machine.name },
    loader: grubFile(`${serverUrl}/nbp/${loader}`),
  });
}

/** What iPXE is told by its scripts, GRUB is told by configs; each is sourced by a loop that asks for the next one. */
export function grubLanguage(renderer: Renderer): LoaderLanguage {
  return {
    refuse(plan) {
      if (plan.kind === "url") throw RoleNeedsIpxe({ role: describeTarget(plan) });
      if (plan.role.templates.ipxe || plan.role.boot === "script")
        throw RoleNeedsIpxe({ role: plan.role.name });
    },
    script: (rendering) => renderGrubConfig(rendering, renderer),
    local: (machine) => renderer.grubConfig("local", { machine }),
    fault: (facts) => renderer.grubConfig("error", facts),
  };
}

function renderGrubConfig(rendering: Rendering, renderer: Renderer): string {
  const { plan, pollSeconds } = rendering;
  if (plan.kind === "url") throw RoleNeedsIpxe({ role: describeTarget(plan) });
  const context = contextOf({ ...rendering, plan });
  switch (plan.role.boot) {
    case "image": {
      const { image } = context;
      if (!image) throw new Error(`the plan of ${plan.role.name} has no image`);
      return renderer.grubConfig("image", {
        ...context,
        kernel: grubFile(image.kernelUrl),
        initrd: grubFile(image.initrdUrl),
        arguments: kernelArguments(plan.role, context, plan.image, renderer),
      });
    }
    case "wait":
      return renderer.grubConfig("wait", { ...context, pollSeconds });
    case "local":
      return renderer.grubConfig("local", context);
    case "script":
      throw RoleNeedsIpxe({ role: plan.role.name });
  }
}

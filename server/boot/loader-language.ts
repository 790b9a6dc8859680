import type { LocalBootMethod } from "../domain/boot-preferences.ts";
import type { Mac } from "../net/mac.ts";
import type { Renderer } from "../render/documents.ts";
import { type BootPlan, type Rendering, renderScript } from "./boot-plan.ts";

/** What a script in the place of one that could not be made tells. */
export interface FaultFacts extends Record<string, unknown> {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  readonly mac: string;
  readonly retrySeconds: number;
  readonly serverUrl: string;
  readonly scriptUrl: string;
}

/** How the loader that a machine runs is told what to boot. */
export interface LoaderLanguage {
  /** @throws RoleNeedsIpxe when this loader can't do it */
  refuse(plan: BootPlan): void;
  /** @throws TemplateFailed */
  script(rendering: Rendering): string;
  /** For a machine without a plan. */
  local(machine: { readonly name: string }, mac: Mac, method: LocalBootMethod): string;
  fault(facts: FaultFacts): string;
}

export function ipxeLanguage(renderer: Renderer): LoaderLanguage {
  return {
    refuse() {},
    script: (rendering) => renderScript(rendering, renderer),
    local: (machine, mac, method) => renderer.standardScript("local", mac, { machine, method }),
    fault: (facts) => renderer.standardScript("error", facts.mac, facts),
  };
}

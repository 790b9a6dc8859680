import type { Claim } from "../domain/claim.ts";
import { ClaimRefused, ConfigNotReady, IgnitionTooNew, InternalError } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { Machine } from "../domain/machine.ts";
import type { ServedKind } from "../domain/role.ts";
import type { Mac } from "../net/mac.ts";
import {
  type BootPlan,
  planBoot,
  type PlanSources,
  renderIgnition,
  type Rendering,
  renderPlannedDocument,
} from "./boot-plan.ts";
import type { BootServiceDeps } from "./boot-service.ts";
import { nodeInitrd, nodeOfPlan } from "./cluster-nodes.ts";
import { createServedIgnition } from "./served-ignition.ts";

export interface ConfigRequest {
  readonly secret: string;
  readonly address: string;
  readonly kind: Exclude<ServedKind, "ipxe">;
  readonly serverUrl: string;
  /** The machine's Ignition says that it speaks 3.0 to 3.`ignitionMinor`. */
  readonly ignitionMinor?: number | undefined;
}

/** What the claim's script was made for, with the version of the image that it named, whichever is chosen meanwhile. */
function planClaimed({ target, image }: Claim, deps: PlanSources): BootPlan {
  return planBoot(target, image ? { ...deps, images: { findCurrent: () => image } } : deps);
}

/** Machines whose last failure is remembered. */
const rememberedMachines = 5000;

/** The documents behind a claim. */
export function createConfigs(deps: BootServiceDeps) {
  const { ids, log, record, inventory, claims, tracker, renderer } = deps;
  const served = createServedIgnition();
  /** A config that fails is asked for again every few seconds: the machine's last failure is not told anew. */
  const last = new Map<Mac, string>();

  function renderingOf(secret: string, serverUrl: string, claim: Claim, machine: Machine): Rendering {
    const booted = bootedFrom(machine, claim.mac);
    const plan = planClaimed(claim, deps);
    const { address } = claim;
    return {
      machine: booted,
      plan,
      node: nodeOfPlan(deps.nodes, plan, { machine: booted, address, serverUrl }),
      serverUrl,
      bootId: claim.bootId,
      claim: secret,
      pollSeconds: 5,
      localBoot: deps.localBoot,
    };
  }

  function render(request: ConfigRequest, claim: Claim, machine: Machine): string | undefined {
    const rendering = renderingOf(request.secret, request.serverUrl, claim, machine);
    const { kind, ignitionMinor } = request;
    if (kind !== "ignition" && kind !== "ignition-role" && kind !== "ignition-node")
      return renderPlannedDocument(rendering, kind, renderer);
    const parts = served.parts(`${claim.hash} ${ignitionMinor ?? "any"}`, () =>
      renderIgnition(rendering, renderer, ignitionMinor),
    );
    if (parts?.isTooNew) tellTooNew(machine, claim, parts.version, ignitionMinor);
    switch (kind) {
      case "ignition":
        return parts?.machinePart;
      case "ignition-role":
        return parts?.rolePart;
      case "ignition-node":
        return parts?.nodePart;
    }
  }

  /** The machine will refuse it with a line on its console, so people are told here. */
  function tellTooNew(machine: Machine, claim: Claim, version: string, ignitionMinor = 0): void {
    const { code, message } = IgnitionTooNew({ version, newest: `3.${ignitionMinor}.0` });
    tell(machine, claim, code, message);
    tracker.fault(machine.id, `${code}: ${message}`);
  }

  function tell(machine: Machine, claim: Claim, code: string, problem: string): void {
    const failure = `${claim.bootId} ${code} ${problem}`;
    if (last.get(claim.mac) === failure) return;
    if (last.size >= rememberedMachines) last.clear();
    last.set(claim.mac, failure);
    record({
      type: "config.failed",
      level: "warning",
      machineId: machine.id,
      bootId: claim.bootId,
      message: `${machine.name}: ${problem}`,
      data: { code },
    });
  }

  /** @throws ClaimRefused, ConfigNotReady */
  function fetched<Document>(
    { secret, address }: Pick<ConfigRequest, "secret" | "address">,
    kind: Exclude<ServedKind, "ipxe">,
    make: (claim: Claim, machine: Machine) => Document,
  ): { document: Document; machine: Machine } {
    const claim = claims.fetch(secret, address, kind);
    const machine = inventory.get(claim.machineId);
    try {
      return { document: make(claim, machine), machine };
    } catch (error) {
      if (ClaimRefused.is(error)) throw error;
      const reference = ids.id("e");
      const known = error instanceof RollcallError ? error : InternalError({ reference });
      if (known !== error) log.error({ err: error, reference }, "failed to make a config");
      tell(machine, claim, known.code, known.message);
      throw ConfigNotReady({ machine: machine.name, problem: known.message });
    }
  }

  return {
    /**
     * A document behind a claim. Undefined: this role has none of the kind.
     * @throws ClaimRefused; ConfigNotReady for what an administrator can still mend, since a 4xx ends an Ignition boot for good
     */
    async config(request: ConfigRequest): Promise<{ text: string | undefined; machine: Machine }> {
      const { kind } = request;
      const { document: text, machine } = fetched(request, kind, (claim, machine) =>
        render(request, claim, machine),
      );
      if (kind === "user-data" || kind === "ignition") tracker.advance(machine.id, "config.served");
      return { text, machine };
    },

    /** The initrd that makes a machine a node; undefined where its role has none. @throws ClaimRefused, ConfigNotReady */
    async nodeInitrd(
      request: Omit<ConfigRequest, "kind">,
    ): Promise<{ archive: Uint8Array | undefined; machine: Machine }> {
      const { document: archive, machine } = fetched(request, "node", (claim, machine) =>
        nodeInitrd(renderingOf(request.secret, request.serverUrl, claim, machine).node),
      );
      return { archive, machine };
    },
  };
}

/** A machine has several MACs; documents speak of the one it boots from. */
export function bootedFrom(machine: Machine, mac: Mac): Machine {
  return machine.macs[0] === mac
    ? machine
    : { ...machine, macs: [mac, ...machine.macs.filter((other) => other !== mac)] };
}

import { describeTarget, type Selection } from "../domain/assignment.ts";
import { type LocalBootMethod, type Preference, preferLocalBoot } from "../domain/boot-preferences.ts";
import { LocalBootChosen } from "../domain/error-catalogue.ts";
import type { Machine } from "../domain/machine.ts";
import type { Inventory } from "../inventory/inventory.ts";
import type { LoadedRoles } from "../render/load-roles.ts";
import type { BootTracker } from "./tracker.ts";

export interface LocalDiskDeps {
  readonly inventory: Pick<Inventory, "groupOf">;
  readonly tracker: Pick<BootTracker, "step" | "target" | "complete" | "current">;
  readonly roles: () => LoadedRoles;
  /** Of the config, where nobody nearer says. */
  readonly localBoot: LocalBootMethod;
}

/** Hands machines to their local disks, each by the method that its firmware understands. */
export function createLocalDisk(
  deps: LocalDiskDeps,
  machineAt: (address: string) => Machine | undefined,
  select: (machine: Machine) => Selection,
  useUpOnce: (machine: Machine, bootId: string | undefined) => Promise<void>,
) {
  const { inventory, tracker } = deps;
  const roleOf = ({ target }: Selection) =>
    target.kind === "role" ? deps.roles().roles.get(target.role) : undefined;

  /** How this machine gets to its disk in a role, its own one if none is given; and who says so. */
  function methodOf(machine: Machine, role = roleOf(select(machine))): Preference<LocalBootMethod> {
    return preferLocalBoot(machine, inventory.groupOf(machine), role?.localBoot, deps.localBoot);
  }

  /** The machine of this address is to find nothing of ours, so that its firmware goes on with its disk. */
  function findsNothing(address: string): Machine | undefined {
    const machine = machineAt(address);
    const role = machine && roleOf(select(machine));
    if (!machine || role?.boot !== "local") return undefined;
    return methodOf(machine, role).value === "http-404" ? machine : undefined;
  }

  /** Nothing comes after this: it is all that the assignment asked for. */
  async function endAtDisk(machine: Machine, selection: Selection): Promise<void> {
    tracker.target(machine.id, describeTarget(selection.target));
    if (selection.source === "once") await useUpOnce(machine, tracker.current(machine.id)?.id);
    tracker.complete(machine.id, "local");
  }

  return {
    methodOf,
    findsNothing,
    endAtDisk,

    /**
     * To be called with what firmware and iPXE load first over HTTP, for HEAD too: UEFI asks no further after it.
     * @throws LocalBootChosen: it is not there for this machine
     */
    async refuseFirstStage(address: string, step: "nbp" | "contact"): Promise<void> {
      const machine = findsNothing(address);
      if (!machine) return;
      tracker.step(machine.id, step, undefined, { refused: "http-404" });
      await endAtDisk(machine, select(machine));
      throw LocalBootChosen({ machine: machine.name });
    },
  };
}

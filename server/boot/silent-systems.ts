import type { ImageFileKind } from "../domain/image.ts";
import type { Machine } from "../domain/machine.ts";
import type { LoadedRoles } from "../render/load-roles.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { BootTracker } from "./tracker.ts";

export interface SilentSystemDeps {
  readonly tracker: BootTracker;
  readonly roles: () => LoadedRoles;
  readonly assignments: Pick<AssignmentRepository, "find">;
}

/** Roles whose system never calls back (`reports: false`), a memory test for one: what firmware loads is all that is seen of them. */
export function createSilentSystems(
  { tracker, roles, assignments }: SilentSystemDeps,
  useUpOnce: (machine: Machine, bootId: string | undefined) => Promise<void>,
) {
  return {
    /** A machine loads a file of its image; with the last one that firmware loads such a boot is over, and its assignment for one boot. */
    async fileServed(machine: Machine, kind: ImageFileKind, hasInitrd: boolean): Promise<void> {
      const boot = tracker.current(machine.id);
      const role = boot?.target === undefined ? undefined : roles().roles.get(boot.target);
      if (!boot || boot.outcome !== "running" || !role || role.reports) return;
      const isLast = hasInitrd ? kind === "initrd" : kind === "kernel" || kind === "kernelEfi";
      if (!isLast) return;
      const once = assignments.find({ kind: "machine", machineId: machine.id }, "once");
      const isMenu = (name: string) => roles().roles.get(name)?.boot === "menu";
      if (once?.target.kind === "role" && (once.target.role === role.name || isMenu(once.target.role)))
        await useUpOnce(machine, boot.id);
      tracker.complete(machine.id, "local");
    },
  };
}

import { MenuPickRefused } from "../domain/error-catalogue.ts";
import type { AssignedTarget, Selection } from "../domain/assignment.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { planBoot, type PlanSources } from "./boot-plan.ts";
import type { BootTracker } from "./tracker.ts";

export interface MenuPickDeps extends PlanSources {
  readonly tracker: Pick<BootTracker, "current" | "step">;
  readonly record: RecordEvent;
}

/** What was chosen from the menu on a machine's screen: it counts for one script, and only what the menu lists can be chosen. */
export function createMenuPicks(deps: MenuPickDeps) {
  const { tracker, record } = deps;

  /** Told once for each role in a boot: a machine that fails and asks again comes by its menu each time. */
  function tell(machine: Machine, role: string): void {
    const boot = tracker.current(machine.id);
    if (boot?.steps.some(({ step, detail }) => step === "pick" && detail["role"] === role)) return;
    tracker.step(machine.id, "pick", undefined, { role });
    record({
      type: "menu.picked",
      machineId: machine.id,
      bootId: boot?.id,
      message: `${machine.name}: the role ${role} was chosen from its menu`,
      data: { role },
    });
  }

  return {
    /**
     * The selection with the chosen role in the place of the menu. A machine that was assigned to something else meanwhile follows that.
     * @throws MenuPickRefused; RoleNotFound, RoleInvalid, ParameterInvalid of the menu
     */
    follow(
      selection: Selection,
      machine: Machine,
      pick: string | undefined,
    ): { readonly selection: Selection; readonly isPicked: boolean } {
      if (pick === undefined || selection.target.kind === "url") return { selection, isPicked: false };
      const plan = planBoot(selection.target, deps);
      const menu = plan.kind === "role" ? plan.menu : undefined;
      if (!menu) return { selection, isPicked: false };
      if (!menu.entries.some(({ role }) => role === pick))
        throw MenuPickRefused({ pick, allowed: menu.entries.map(({ role }) => role) });
      tell(machine, pick);
      const target: AssignedTarget = { ...selection.target, role: pick, params: {} };
      return { selection: { ...selection, target }, isPicked: true };
    },
  };
}

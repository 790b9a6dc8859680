/** What people change of who boots what: assignments, what takes them back, exams that lock them; put together. */
import type { BootService } from "./boot/boot-service.ts";
import { withoutExam } from "./domain/assignment.ts";
import type { Clock, Ids } from "./domain/capabilities.ts";
import type { RecordEvent } from "./domain/event.ts";
import type { Machine } from "./domain/machine.ts";
import type { Operation } from "./domain/operation.ts";
import { createAssigning } from "./inventory/assigning.ts";
import { createExams, type Exams } from "./inventory/exams.ts";
import type { Inventory } from "./inventory/inventory.ts";
import { createUndoing } from "./inventory/undoing.ts";
import type { LoadedRoles } from "./render/load-roles.ts";
import type { Store } from "./store/open-store.ts";

export interface KeptChangesDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly record: RecordEvent;
  readonly store: Pick<Store, "assignments" | "exams">;
  readonly inventory: Inventory;
  readonly roles: () => LoadedRoles;
  readonly onChange: (machine: Machine) => void;
}

/** What comes later, as it asks for the exams itself. */
interface AskedLater {
  readonly boots: () => Pick<BootService, "check" | "select">;
  readonly operations: () => { readonly running: () => readonly Operation[] };
}

export function keepExams(
  { clock, record, store, inventory, roles, onChange }: KeptChangesDeps,
  { boots, operations }: AskedLater,
): Exams {
  return createExams({
    clock,
    record,
    exams: store.exams,
    inventory,
    check: (target) => boots().check(target),
    findRole: (role) => roles().roles.get(role),
    targetWithoutExam: (machine) => withoutExam(boots().select(machine)),
    operations: () => operations().running(),
    onChange,
  });
}

export function keepChanges(
  deps: KeptChangesDeps,
  boots: Pick<BootService, "check" | "select">,
  exams: Pick<Exams, "lastStart">,
) {
  const { assignments } = deps.store;
  const { select, check } = boots;
  return {
    assigning: createAssigning({
      ...deps,
      assignments,
      select,
      check,
      bootOf: (role) => deps.roles().roles.get(role)?.boot,
    }),
    undoing: createUndoing({ ...deps, assignments, select, examStart: exams.lastStart }),
  };
}

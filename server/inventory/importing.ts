import type { Clock, Ids } from "../domain/capabilities.ts";
import { InvalidRequest, ListConflicts, ListRefused } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { isMachineName, type Machine } from "../domain/machine.ts";
import type { GroupRepository } from "../store/groups.ts";
import type { MachineRepository } from "../store/machines.ts";
import { changesOf, type ImportPlan, planImport } from "./import-plan.ts";
import type { ListFormat } from "./lists/listed-host.ts";
import { formatOf, readList } from "./lists/read-list.ts";

export interface ImportRequest {
  readonly text: string;
  /** Undefined: by its look. */
  readonly format?: ListFormat | undefined;
  /** For hosts whose line names no group. */
  readonly group?: string | undefined;
}

export interface ListImportDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly record: RecordEvent;
  readonly machines: MachineRepository;
  readonly groups: GroupRepository;
  /** Adds groups that nobody has; `names` is asked inside the commit, after what was asked for before. */
  readonly addGroups: (names: () => readonly string[], actor: string) => Promise<void>;
  /** The machine's phase follows its role. */
  readonly settleRole: (machine: Machine) => Promise<Machine>;
}

/** Problems that an error tells in its own sentence. */
const toldProblems = 5;

/** Machines out of lists that people have: all of a list or nothing. */
export function createListImport({
  clock,
  ids,
  record,
  machines,
  groups,
  addGroups,
  settleRole,
}: ListImportDeps) {
  /** @throws ListRefused where nobody can say what the list is, InvalidRequest */
  function read({ text, format, group }: ImportRequest) {
    if (group !== undefined && !isMachineName(group))
      throw InvalidRequest({
        problem: `group ${JSON.stringify(group.slice(0, 70))}: a name is lower-case letters, digits and hyphens`,
        advice: "Write it like lab225 or second-floor.",
      });
    const known = format ?? formatOf(text);
    if (known === undefined)
      throw ListRefused({
        reason: "its first line names no columns, and neither `host NAME {` nor `dhcp-host=` is in it",
      });
    const list = readList(text, known);
    if (list.hosts.length === 0 && list.problems.length === 0)
      throw ListRefused({ reason: `no machine is in it, read as ${known}` });
    // The same ids each time, so that a plan that is made again is the same plan.
    const made = new Map<number, string>();
    const newId = (position: number) => {
      const id = made.get(position) ?? ids.id("m");
      made.set(position, id);
      return id;
    };
    return {
      format: known,
      plan: () => planImport(list, { ...surroundings(), group, newId, now: clock.now() }),
    };
  }

  function surroundings() {
    return {
      machines: machines.all(),
      planOf: (name: string) => {
        const group = groups.find(name);
        return group && (group.plan ?? null);
      },
    };
  }

  function refuseProblems({ problems }: ImportPlan): void {
    if (problems.length === 0) return;
    throw ListConflicts({
      problems: problems.slice(0, toldProblems).map(({ line, problem }) => `line ${line}: ${problem}`),
      count: problems.length,
    });
  }

  function tell({ lines }: ImportPlan, actor: string): void {
    for (const { line, action, next, before } of lines) {
      if (!next || action === "same") continue;
      const changes = changesOf({ before, next });
      record({
        type: action === "new" ? "machine.added" : "machine.edited",
        machineId: next.id,
        actor,
        message:
          action === "new"
            ? `${next.name} added from a list`
            : `${next.name} changed by a list: ${Object.keys(changes).join(", ")}`,
        data: { line, macs: next.macs, ...(action === "new" ? {} : { changes }) },
      });
    }
  }

  return {
    /** What an import would do. @throws ListRefused */
    plan(request: ImportRequest): { readonly format: ListFormat; readonly plan: ImportPlan } {
      const { format, plan } = read(request);
      return { format, plan: plan() };
    },

    /**
     * All of the list or nothing, in one transaction.
     * @param refuse throws when these changes may not be made now
     * @throws ListRefused, ListConflicts
     */
    async run(
      request: ImportRequest,
      actor: string,
      refuse: (plan: ImportPlan) => void = () => {},
    ): Promise<{ readonly format: ListFormat; readonly plan: ImportPlan }> {
      const { format, plan } = read(request);
      const first = plan();
      refuseProblems(first);
      refuse(first);
      let done = first;
      let newGroups: readonly string[] = [];
      // Asked for in one turn, machines and groups are one commit; planned once more inside it, since others may have been before us. The
      // groups come second: where the machines can't be saved nothing is left.
      const saving = machines.saveAll(() => {
        newGroups = [];
        done = plan();
        refuseProblems(done);
        newGroups = done.newGroups;
        return done.lines.flatMap(({ action, next }) => (next && action !== "same" ? [next] : []));
      });
      const counted = addGroups(() => newGroups, actor);
      await Promise.all([saving, counted]);
      tell(done, actor);
      await Promise.all(
        done.lines.flatMap(({ action, next }) => (next && action !== "same" ? [settleRole(next)] : [])),
      );
      return { format, plan: done };
    },
  };
}
export type ListImport = ReturnType<typeof createListImport>;

import type { PowerAction } from "../../domain/power.ts";
import { api, type Page } from "../api.ts";
import type { Machine, OperationBegun, PowerState } from "../api-types.ts";
import type { MachineLive } from "../live-state.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { PhaseMark } from "../parts/phase-mark.tsx";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { say } from "../words.ts";
import { LostWork } from "./assign-dialog.tsx";
import { RefusedOrder } from "./exam-override.tsx";
import { hostSetOf } from "./host-set.ts";
import { followOperation } from "./running-operations.tsx";

const titles = { on: "power.titleOn", off: "power.titleOff", cycle: "power.titleCycle" } as const;

/** Who is switched, and by what, before it is done. */
export function PowerDialog({
  action,
  machines,
  onClose,
}: {
  action: PowerAction;
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  const hostSet = hostSetOf(machines);
  const methods = useLoaded(() => api.all<Machine>("/machines", { machines: hostSet }), [hostSet]);
  const methodOf = (id: string) => methods.value?.find((machine) => machine.id === id)?.power?.method;
  const { isBusy, problem, run } = useAction();
  const order = (overridesExam: boolean) =>
    run(async () => {
      const begun = await api.post<OperationBegun>("/power", { machines: hostSet, action }, overridesExam);
      followOperation(begun.operation);
      onClose();
    });
  const title = say(titles[action], { count: machines.length });
  return (
    <Dialog
      title={title}
      onClose={onClose}
      actions={
        <>
          <button type="button" class="button" autofocus={action !== "on"} onClick={onClose}>
            {say("action.cancel")}
          </button>
          <button
            type="button"
            // A key that is held down must not switch a class off.
            autofocus={action === "on"}
            class={action === "on" ? "button is-main" : "button is-grave"}
            disabled={isBusy}
            onClick={() => void order(false)}
          >
            {title}
          </button>
        </>
      }
    >
      {action !== "on" && <LostWork machines={machines} />}
      <Table
        caption={say("plan.title")}
        items={machines}
        keyOf={({ id }) => id}
        columns={[
          { title: say("plan.machine"), cell: ({ name }) => <ForeignText text={name} limit={63} /> },
          { title: say("plan.phase"), cell: ({ phase }) => <PhaseMark phase={phase} /> },
          { title: say("plan.role"), isWide: true, cell: ({ role }) => <ForeignText text={role} /> },
          { title: say("plan.method"), cell: ({ id }) => methodOf(id) ?? say("plan.methodFound") },
        ]}
      />
      <ProblemMessage problem={methods.problem} />
      <RefusedOrder problem={problem} isBusy={isBusy} onOverride={() => void order(true)} />
    </Dialog>
  );
}

/** Asks the machines themselves, or their boards; that takes some seconds. */
export function PowerStatusDialog({
  machines,
  onClose,
}: {
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  const states = useLoaded(
    (signal) => api.get<Page<PowerState>>("/power", { machines: hostSetOf(machines) }, signal),
    [hostSetOf(machines)],
  );
  return (
    <Dialog
      title={say("power.titleStatus")}
      onClose={onClose}
      actions={
        <button type="button" class="button" onClick={states.reload} disabled={states.isLoading}>
          {say("action.retry")}
        </button>
      }
    >
      {states.isLoading && <p class="hint">{say("page.loading")}</p>}
      <ProblemMessage problem={states.problem} />
      {states.value && (
        <Table
          caption={say("power.titleStatus")}
          items={states.value.items}
          keyOf={({ machine }) => machine}
          columns={[
            { title: say("plan.machine"), cell: ({ machine }) => <ForeignText text={machine} limit={63} /> },
            { title: say("power.state"), cell: ({ state }) => <b>{stateText(state)}</b> },
            { title: say("plan.method"), isWide: true, cell: ({ method }) => method ?? "–" },
            {
              title: say("power.problem"),
              cell: ({ problem }) => (problem === null ? "–" : <ForeignText text={problem} limit={300} />),
            },
          ]}
        />
      )}
    </Dialog>
  );
}

const stateText = (state: string): string =>
  say(state === "on" ? "power.on" : state === "off" ? "power.off" : "power.unknown");

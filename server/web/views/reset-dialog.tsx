import { useState } from "preact/hooks";
import { api } from "../api.ts";
import type { OperationBegun, ResetPlan } from "../api-types.ts";
import type { MachineLive } from "../live-state.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { isLimited } from "../session.ts";
import { say } from "../words.ts";
import { LostWork } from "./assign-dialog.tsx";
import { RefusedOrder } from "./exam-override.tsx";
import { hostSetOf } from "./host-set.ts";
import { followOperation } from "./running-operations.tsx";
import { stepText } from "./operation-words.ts";

/** Back to nothing and up again: each machine with the steps that it will go through. */
export function ResetDialog({
  machines,
  onClose,
}: {
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  const [students, setStudents] = useState(false);
  const order = { machines: hostSetOf(machines), ...(students ? { students } : {}) };
  const plan = useLoaded(
    () => api.post<ResetPlan>("/resets", { ...order, dryRun: true }),
    [order.machines, students],
  );
  const { isBusy, problem, run } = useAction();
  const isPlanned = plan.value !== undefined && !plan.isLoading && plan.problem === undefined;
  const reset = (overridesExam: boolean) =>
    run(async () => {
      followOperation((await api.post<OperationBegun>("/resets", order, overridesExam)).operation);
      onClose();
    });
  return (
    <Dialog
      title={say("reset.title", { count: machines.length })}
      onClose={onClose}
      actions={
        <>
          <button type="button" class="button" autofocus onClick={onClose}>
            {say("action.cancel")}
          </button>
          <button
            type="button"
            class="button is-grave"
            disabled={!isPlanned || isBusy}
            onClick={() => void reset(false)}
          >
            {say("reset.submit", { count: machines.length })}
          </button>
        </>
      }
    >
      <p>{say("reset.explained")}</p>
      {!isLimited.value && (
        <label class="check">
          <input
            type="checkbox"
            checked={students}
            onChange={({ currentTarget }) => setStudents(currentTarget.checked)}
          />
          {say("reset.students")}
        </label>
      )}
      <h3>{say("plan.title")}</h3>
      {plan.isLoading && !plan.value && <p class="hint">{say("plan.working")}</p>}
      <ProblemMessage problem={plan.problem} />
      {plan.value && plan.problem === undefined && <PlanOfReset plan={plan.value} />}
      <LostWork machines={machines} />
      <RefusedOrder problem={problem} isBusy={isBusy} onOverride={() => void reset(true)} />
    </Dialog>
  );
}

function PlanOfReset({ plan: { steps, plan } }: { plan: ResetPlan }) {
  return (
    <>
      {steps.length > 0 && <p class="warning">{steps.map(stepText).join(", ")}</p>}
      <Table
        caption={say("plan.title")}
        items={plan}
        keyOf={({ machine }) => machine}
        columns={[
          { title: say("plan.machine"), cell: ({ machine }) => <ForeignText text={machine} limit={63} /> },
          { title: say("plan.after"), cell: ({ role }) => <ForeignText text={role} /> },
          { title: say("plan.method"), cell: ({ power }) => power?.method ?? say("plan.methodFound") },
          { title: say("plan.steps"), isWide: true, cell: (line) => line.steps.map(stepText).join(" → ") },
        ]}
      />
    </>
  );
}

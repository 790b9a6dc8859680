import { useState } from "preact/hooks";
import { api } from "../api.ts";
import type { AssignmentAnswer, AssignmentLine } from "../api-types.ts";
import type { MachineLive } from "../live-state.ts";
import { announce } from "../parts/announcer.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";
import { hostSetOf } from "./host-set.ts";
import { RoleField } from "./role-field.tsx";
import { followOperation } from "./running-operations.tsx";
import "./action-dialogs.css";

const modes = ["always", "once"] as const;
const powers = ["none", "wake", "cycle"] as const;

const powerWords = {
  none: "assign.powerNone",
  wake: "assign.powerWake",
  cycle: "assign.powerCycle",
} as const;
const submitWords = {
  none: "assign.submit",
  wake: "assign.submitWake",
  cycle: "assign.submitCycle",
} as const;

interface AssignmentOrder {
  readonly role: string;
  readonly mode: (typeof modes)[number];
  readonly power: (typeof powers)[number];
}

/** What machines boot from now on: the plan follows each choice, and is done as it was shown. */
export function AssignDialog({
  machines,
  onClose,
}: {
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  const [order, setOrder] = useState<AssignmentOrder>({ role: "", mode: "always", power: "none" });
  const hostSet = hostSetOf(machines);
  const { role, mode, power } = order;
  const plan = useLoaded(
    () =>
      role === ""
        ? Promise.resolve(undefined)
        : api.post<AssignmentAnswer>("/assignments", { machines: hostSet, role, mode, dryRun: true }),
    [role, mode, hostSet],
  );
  const { isBusy, problem, run } = useAction();
  const isPlanned = role !== "" && plan.value !== undefined && !plan.isLoading && plan.problem === undefined;
  const assign = () =>
    run(async () => {
      const done = await api.post<AssignmentAnswer>("/assignments", { machines: hostSet, ...order });
      announce(say("assign.done", { count: machines.length, role: visibleText(role, 40) }));
      // Without power it has ended already, and what was announced is all there is to tell.
      if (done.operation !== undefined && power !== "none") followOperation(done.operation);
      onClose();
    });
  return (
    <Dialog
      title={say("assign.title", { count: machines.length })}
      onClose={onClose}
      actions={
        <>
          <button type="button" class="button" onClick={onClose}>
            {say("action.cancel")}
          </button>
          <button
            type="button"
            class={power === "cycle" ? "button is-grave" : "button is-main"}
            disabled={!isPlanned || isBusy}
            onClick={() => void assign()}
          >
            {say(submitWords[power], { count: machines.length })}
          </button>
        </>
      }
    >
      <RoleField role={role} onChange={(next) => setOrder({ ...order, role: next })} />
      <div class="choices">
        <Choice
          legend={say("assign.mode")}
          name="mode"
          values={modes}
          value={mode}
          textOf={(value) => say(value === "always" ? "assign.always" : "assign.once")}
          onChange={(next) => setOrder({ ...order, mode: next })}
        />
        <Choice
          legend={say("assign.power")}
          name="power"
          values={powers}
          value={power}
          textOf={(value) => say(powerWords[value])}
          onChange={(next) => setOrder({ ...order, power: next })}
        />
      </div>
      <h3>{say("plan.title")}</h3>
      {role === "" && <p class="hint">{say("plan.choose")}</p>}
      {role !== "" && plan.isLoading && !plan.value && <p class="hint">{say("plan.working")}</p>}
      <ProblemMessage problem={plan.problem} />
      {role !== "" && plan.value && <AssignmentPlan lines={plan.value.plan} />}
      {power === "cycle" && <LostWork machines={machines} />}
      <ProblemMessage problem={problem} />
    </Dialog>
  );
}

function AssignmentPlan({ lines }: { lines: readonly AssignmentLine[] }) {
  const changing = lines.filter(({ changes }) => changes).length;
  return (
    <>
      <p>{changing === 0 ? say("plan.nothingChanges") : say("plan.changes", { count: changing })}</p>
      <Table
        caption={say("plan.title")}
        items={lines}
        keyOf={({ machine }) => machine}
        columns={[
          { title: say("plan.machine"), cell: ({ machine }) => <ForeignText text={machine} limit={63} /> },
          { title: say("plan.before"), cell: ({ before }) => <ForeignText text={before} /> },
          {
            title: say("plan.after"),
            cell: ({ after, changes, changedParameters }) => (
              <span class={changes ? "plan-change" : "hint"}>
                <ForeignText text={after} />
                {!changes && ` (${say("plan.same")})`}
                {changedParameters.length > 0 && (
                  <>
                    {" "}
                    <ForeignText text={changedParameters.join(", ")} />
                  </>
                )}
              </span>
            ),
          },
          { title: say("plan.why"), isWide: true, cell: ({ why }) => <ForeignText text={why} /> },
        ]}
      />
    </>
  );
}

/** What restarts loses what runs on it, and that is said before. */
export function LostWork({ machines }: { machines: readonly MachineLive[] }) {
  const count = machines.filter(({ phase }) => phase === "ready").length;
  return count === 0 ? null : <p class="warning">{say("plan.losesWork", { count })}</p>;
}

function Choice<T extends string>({
  legend,
  name,
  values,
  value,
  textOf,
  onChange,
}: {
  legend: string;
  name: string;
  values: readonly T[];
  value: T;
  textOf: (value: T) => string;
  onChange: (value: T) => void;
}) {
  return (
    <fieldset class="field choice">
      <legend>{legend}</legend>
      {values.map((one) => (
        <label key={one}>
          <input
            type="radio"
            name={name}
            value={one}
            checked={one === value}
            onChange={() => onChange(one)}
          />
          {textOf(one)}
        </label>
      ))}
    </fieldset>
  );
}

import { useState } from "preact/hooks";
import { api } from "../api.ts";
import type { AssignmentAnswer, AssignmentLine, Role } from "../api-types.ts";
import type { MachineLive } from "../live-state.ts";
import { announce } from "../parts/announcer.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { type Loaded, useAction, useLoaded, useSettled } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";
import { RefusedOrder } from "./exam-override.tsx";
import { hostSetOf } from "./host-set.ts";
import { ParameterFields } from "./parameter-fields.tsx";
import { RoleField, useRoles } from "./role-field.tsx";
import { chosenParameters, type TypedParameters } from "./role-parameters.ts";
import { followOperation } from "./running-operations.tsx";
import "./action-dialogs.css";

const kinds = ["role", "url"] as const;
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
  readonly kind: (typeof kinds)[number];
  readonly role: string;
  readonly typed: TypedParameters;
  /** Of an iPXE script of one's own. */
  readonly url: string;
  readonly mode: (typeof modes)[number];
  readonly power: (typeof powers)[number];
}

const nothingOrdered: AssignmentOrder = {
  kind: "role",
  role: "",
  typed: {},
  url: "",
  mode: "always",
  power: "none",
};

/** As the API takes it; undefined: nothing is chosen yet. */
function targetOf({ kind, role, typed, url }: AssignmentOrder, roles: readonly Role[]): object | undefined {
  if (kind === "url") return url.trim() === "" ? undefined : { url: url.trim() };
  if (role === "") return undefined;
  const params = chosenParameters(roles.find(({ name }) => name === role)?.parameters ?? {}, typed);
  return Object.keys(params).length === 0 ? { role } : { role, params };
}

/** What the order would do. @returns what is asked of the API; undefined: nothing is chosen yet; and whether the plan is that of it */
function usePlan(order: AssignmentOrder, machines: string, roles: readonly Role[]) {
  const target = targetOf(order, roles);
  const asked = target && { machines, ...target, mode: order.mode };
  const settled = useSettled(asked);
  const plan = useLoaded(
    () =>
      settled
        ? api.post<AssignmentAnswer>("/assignments", { ...settled, dryRun: true })
        : Promise.resolve(undefined),
    [settled],
  );
  const isSettled = asked !== undefined && JSON.stringify(settled) === JSON.stringify(asked);
  return {
    asked,
    plan,
    isPlanned: isSettled && plan.value !== undefined && !plan.isLoading && plan.problem === undefined,
  };
}

/** What machines boot from now on: the plan follows each choice, and is done as it was shown. */
export function AssignDialog({
  machines,
  onClose,
}: {
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  const roles = useRoles();
  const [order, setOrder] = useState(nothingOrdered);
  const { kind, role, url, power } = order;
  const { asked, plan, isPlanned } = usePlan(order, hostSetOf(machines), roles.value ?? []);
  const { isBusy, problem, run } = useAction();
  const assign = (overridesExam: boolean) =>
    run(async () => {
      const done = await api.post<AssignmentAnswer>("/assignments", { ...asked, power }, overridesExam);
      announce(
        say("assign.done", { count: machines.length, role: visibleText(kind === "role" ? role : url, 40) }),
      );
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
            onClick={() => void assign(false)}
          >
            {say(submitWords[power], { count: machines.length })}
          </button>
        </>
      }
    >
      <Target order={order} roles={roles} onChange={setOrder} />
      <div class="choices">
        <Choice
          legend={say("assign.mode")}
          name="mode"
          values={modes}
          value={order.mode}
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
      {asked === undefined && <p class="hint">{say("plan.choose")}</p>}
      {asked && !isPlanned && plan.problem === undefined && <p class="hint">{say("plan.working")}</p>}
      {asked && <ProblemMessage problem={plan.problem} />}
      {isPlanned && plan.value && <AssignmentPlan lines={plan.value.plan} />}
      {power === "cycle" && <LostWork machines={machines} />}
      <RefusedOrder problem={problem} isBusy={isBusy} onOverride={() => void assign(true)} />
    </Dialog>
  );
}

/** A role with its parameters, or a script in its place. */
function Target({
  order,
  roles,
  onChange,
}: {
  order: AssignmentOrder;
  roles: Loaded<readonly Role[]>;
  onChange: (order: AssignmentOrder) => void;
}) {
  const { kind, role, typed, url } = order;
  const chosen = roles.value?.find(({ name }) => name === role);
  return (
    <>
      {kind === "role" ? (
        <>
          <RoleField
            roles={roles}
            role={role}
            onChange={(next) => onChange({ ...order, role: next, typed: {} })}
          />
          <ParameterFields
            key={role}
            parameters={chosen?.parameters ?? {}}
            typed={typed}
            onChange={(next) => onChange({ ...order, typed: next })}
          />
        </>
      ) : (
        <label class="field">
          <span>{say("assign.url")}</span>
          <input
            type="url"
            maxLength={1000}
            placeholder="http://10.0.0.1/my.ipxe"
            spellcheck={false}
            autocomplete="off"
            value={url}
            onInput={({ currentTarget }) => onChange({ ...order, url: currentTarget.value })}
          />
          <span class="hint">{say("assign.urlHint")}</span>
        </label>
      )}
      <Choice
        legend={say("assign.kind")}
        name="kind"
        values={kinds}
        value={kind}
        textOf={(value) => say(value === "role" ? "assign.kindRole" : "assign.kindUrl")}
        onChange={(next) => onChange({ ...order, kind: next })}
      />
    </>
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

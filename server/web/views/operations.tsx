import { useEffect } from "preact/hooks";
import { api, at } from "../api.ts";
import type { Operation, OperationStep, OperationSummary } from "../api-types.ts";
import { operations } from "../live.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { ProgressBar } from "../parts/progress-bar.tsx";
import { Table } from "../parts/table.tsx";
import { ago, duration, time } from "../parts/text.ts";
import { pathTo } from "../routes.ts";
import { mayOperate } from "../session.ts";
import { keyOf, say } from "../words.ts";
import { operationText, stepText } from "./operation-words.ts";
import "./operations.css";

/** @param operation the one whose steps are shown; undefined: the list */
export function OperationsView({ operation }: { operation?: string }) {
  return operation === undefined ? <OperationList /> : <OperationDetails id={operation} />;
}

const verdicts = ["done", "failed", "skipped", "running", "waiting"] as const;
const throughOf = ({ counts }: OperationSummary) => counts.done + counts.failed + counts.skipped;
const allOf = ({ counts }: OperationSummary) => verdicts.reduce((sum, verdict) => sum + counts[verdict], 0);
/** What the stream tells of it: anew whenever this changes. */
const newsOf = (id: string) => {
  const live = operations.value.get(id);
  return live ? `${live.state} ${live.done} ${live.failed}` : "";
};

function OperationList() {
  const news = [...operations.value.keys()].map((id) => `${id} ${newsOf(id)}`).join();
  const { value, problem } = useLoaded(
    (signal) => api.get<{ items: readonly OperationSummary[] }>("/operations", { limit: 50 }, signal),
    [news],
  );
  return (
    <>
      <h1>{say("operations.title")}</h1>
      <ProblemMessage problem={problem} />
      {value ? (
        <Table
          caption={say("operations.title")}
          items={value.items}
          keyOf={({ id }) => id}
          empty={say("operations.none")}
          columns={[
            {
              title: say("operations.what"),
              cell: (one) => (
                <a href={pathTo({ view: "operation", operation: one.id })}>{operationText(one)}</a>
              ),
            },
            { title: say("operations.state"), cell: (one) => <StateMark state={one.state} /> },
            { title: say("operations.machines"), cell: (one) => <Counts operation={one} /> },
            {
              title: say("operations.by"),
              cell: ({ actor }) => <ForeignText text={actor} limit={32} />,
              isWide: true,
            },
            { title: say("operations.began"), cell: ({ startedAt }) => ago(startedAt) },
            { title: say("operations.took"), cell: tookOf, isNumber: true, isWide: true },
          ]}
        />
      ) : (
        !problem && <p class="empty">{say("page.loading")}</p>
      )}
    </>
  );
}

const tookOf = ({ startedAt, endedAt }: OperationSummary) =>
  endedAt === null ? "–" : duration(Date.parse(endedAt) - Date.parse(startedAt));

function Counts({ operation }: { operation: OperationSummary }) {
  const { counts, state } = operation;
  const all = allOf(operation);
  return (
    <span class="operation-counts">
      {state === "running" && all > 0 && (
        <ProgressBar fraction={throughOf(operation) / all} label={say("operations.progress")} />
      )}
      <span>
        {verdicts
          .filter((verdict) => counts[verdict] > 0)
          .map((verdict) => `${counts[verdict]} ${say(keyOf("stepState", verdict))}`)
          .join(", ")}
      </span>
    </span>
  );
}

/** While it goes on its steps change without the counts: they are looked at again this often, ms. */
const againMs = 2000;

function OperationDetails({ id }: { id: string }) {
  const { value, problem, reload } = useLoaded(
    (signal) => api.get<Operation>(at`/operations/${id}`, {}, signal),
    [id, newsOf(id)],
  );
  const isRunning = value?.state === "running";
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(() => !document.hidden && reload(), againMs);
    return () => clearInterval(timer);
  }, [isRunning, id]);
  return (
    <>
      <p>
        <a href={pathTo({ view: "operations" })}>{say("operations.all")}</a>
      </p>
      <h1>{value ? operationText(value) : say("operations.one")}</h1>
      <ProblemMessage problem={problem} />
      {value && <Details operation={value} onChange={reload} />}
    </>
  );
}

function Details({ operation, onChange }: { operation: Operation; onChange: () => void }) {
  const cancel = useAction();
  const names = [...new Set(operation.machines.flatMap(({ steps }) => steps.map(({ name }) => name)))];
  return (
    <>
      <div class="operation-head">
        <StateMark state={operation.state} />
        <Counts operation={operation} />
        <span class="hint">
          {say("operations.beganBy", { time: time(operation.startedAt) })}{" "}
          <ForeignText text={operation.actor} limit={40} />
        </span>
        {operation.state === "running" && mayOperate.value && (
          <button
            type="button"
            class="button"
            disabled={cancel.isBusy}
            onClick={() =>
              void cancel.run(async () => {
                await api.post(at`/operations/${operation.id}/cancel`, {});
                onChange();
              })
            }
          >
            {say("operations.cancel")}
          </button>
        )}
      </div>
      <ProblemMessage problem={cancel.problem} />
      {operation.steps.length > 0 && (
        <ul class="operation-steps">
          {operation.steps.map((step) => (
            <li>
              <StepMark step={step} /> <StepText step={step} />
            </li>
          ))}
        </ul>
      )}
      <Table
        caption={say("operations.machines")}
        items={operation.machines}
        keyOf={({ machine }) => machine}
        columns={[
          {
            title: say("events.machine"),
            cell: ({ machine }) => (
              <a href={pathTo({ view: "machine", machine })}>
                <ForeignText text={machine} limit={32} />
              </a>
            ),
          },
          { title: say("operations.state"), cell: ({ state }) => <StateMark state={state} /> },
          ...names.map((name) => ({
            title: stepText(name),
            cell: ({ steps }: Operation["machines"][number]) => {
              const step = steps.find((one) => one.name === name);
              return step && <StepMark step={step} isNameless />;
            },
            isWide: true,
          })),
          {
            title: say("operations.report"),
            cell: ({ steps }) => {
              const told = steps.findLast(({ message }) => message !== null);
              return told && <StepText step={told} />;
            },
          },
        ]}
      />
    </>
  );
}

type State = "waiting" | "running" | "done" | "failed" | "skipped" | "cancelled";
const shapes: Readonly<Record<State, string>> = {
  waiting: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3a5 5 0 1 1 0 10A5 5 0 1 1 8 3Z",
  running: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3V13A5 5 0 0 0 8 3Z",
  done: "M1 1H15V15H1ZM3.2 8.4 6.8 12 13 5.6 11.6 4.2 6.8 9.1 4.6 7Z",
  failed:
    "M5 1H11L15 5V11L11 15H5L1 11V5ZM5.2 4 4 5.2 6.8 8 4 10.8 5.2 12 8 9.2 10.8 12 12 10.8 9.2 8 12 5.2 10.8 4 8 6.8Z",
  skipped: "M1 6.5H15V9.5H1Z",
  cancelled: "M1 1H15V15H1ZM4 6.5V9.5H12V6.5Z",
};

function StateMark({ state }: { state: State }) {
  return (
    <span class={`step-mark is-${state}`}>
      <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
        <path d={shapes[state]} fill="currentColor" fill-rule="evenodd" />
      </svg>
      {say(keyOf("stepState", state))}
    </span>
  );
}

function StepMark({ step, isNameless = false }: { step: OperationStep; isNameless?: boolean }) {
  return (
    <>
      {!isNameless && <strong>{stepText(step.name)} </strong>}
      <StateMark state={step.state} />
    </>
  );
}

function StepText({ step: { message, code } }: { step: OperationStep }) {
  return (
    <>
      {message !== null && <ForeignText text={message} limit={400} />}
      {code !== null && <code class="step-code"> {code}</code>}
    </>
  );
}

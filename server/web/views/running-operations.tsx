import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, at } from "../api.ts";
import type { Operation } from "../api-types.ts";
import { connection, operations } from "../live.ts";
import type { OperationLive } from "../live-state.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { ProgressBar } from "../parts/progress-bar.tsx";
import { pathTo } from "../routes.ts";
import { mayOperate } from "../session.ts";
import { say } from "../words.ts";
import { operationStateText, operationText } from "./operation-words.ts";
import "./running-operations.css";

/** Begun on this page: they stay until they are dismissed, so that whoever began them sees how they ended. */
const followed = signal<readonly string[]>([]);

export function followOperation(id: string): void {
  followed.value = [...followed.peek(), id];
}

/** Long work on machines that is under way, with its progress and its end. */
export function RunningOperations() {
  const shown = [...operations.value.values()].filter(({ id, state, total }) =>
    state === "running" ? total > 0 : followed.value.includes(id),
  );
  // What ended while the stream was away, or between two looks of the server, is in no snapshot.
  const isLive = connection.value.state === "live";
  const missed = isLive ? followed.value.filter((id) => !operations.value.has(id)) : [];
  if (shown.length + missed.length === 0) return null;
  return (
    <section class="running-operations" aria-label={say("operation.list")}>
      {shown.map((operation) => (
        <OperationStrip key={operation.id} operation={operation} />
      ))}
      {missed.map((id) => (
        <MissedOperation key={id} id={id} />
      ))}
    </section>
  );
}

/** While it goes on the stream is about to tell of it: it is looked at again after this, ms. */
const againMs = 1000;

function MissedOperation({ id }: { id: string }) {
  const { value, reload } = useLoaded(
    (signal) => api.get<Operation>(at`/operations/${id}`, {}, signal),
    [id],
  );
  useEffect(() => {
    if (value?.state !== "running") return;
    const timer = setTimeout(reload, againMs);
    return () => clearTimeout(timer);
  }, [value]);
  if (!value || value.state === "running") return null;
  const { done, failed, skipped, running, waiting } = value.counts;
  const through = done + failed + skipped;
  return (
    <OperationStrip operation={{ ...value, done: through, failed, total: through + running + waiting }} />
  );
}

function OperationStrip({ operation }: { operation: OperationLive }) {
  const { id, state, done, failed, total, actor } = operation;
  const { isBusy, problem, run } = useAction();
  const name = operationText(operation);
  const isRunning = state === "running";
  const tone = isRunning ? "busy" : failed > 0 || state === "failed" ? "failed" : "ready";
  return (
    <div class={`operation-strip tone-ground-${tone}`} data-operation={id} data-state={state}>
      <div class="operation-line">
        <b>
          <ForeignText text={name} limit={80} />
        </b>
        <span class="hint">
          {operationStateText(state)}, <ForeignText text={say("operation.by", { actor })} limit={40} />
        </span>
        <ProgressBar fraction={total === 0 ? 1 : done / total} label={name} tone={tone} />
        <span class="operation-count">
          {say("operation.progress", { done, total })}
          {failed > 0 && <b class="tone-failed"> · {say("operation.failed", { count: failed })}</b>}
        </span>
        <span class="operation-actions">
          {isRunning && mayOperate.value && (
            <button
              type="button"
              class="button is-small"
              disabled={isBusy}
              aria-label={say("operation.cancelNamed", { operation: name })}
              onClick={() => void run(async () => void (await api.post(at`/operations/${id}/cancel`)))}
            >
              {say("operation.cancel")}
            </button>
          )}
          <a class="button is-small" href={pathTo({ view: "operation", operation: id })}>
            {say("operation.open")}
          </a>
          {!isRunning && (
            <button
              type="button"
              class="button is-small"
              onClick={() => (followed.value = followed.peek().filter((one) => one !== id))}
            >
              {say("operation.dismiss")}
            </button>
          )}
        </span>
      </div>
      {failed > 0 && <Failures id={id} failed={failed} />}
      <ProblemMessage problem={problem} />
    </div>
  );
}

const shownFailures = 5;

/** Which machines failed, and why, as soon as one does. */
function Failures({ id, failed }: { id: string; failed: number }) {
  const details = useLoaded(() => api.get<Operation>(at`/operations/${id}`), [id, failed]);
  const lines = (details.value?.machines ?? []).filter(({ state }) => state === "failed");
  return (
    <ul class="operation-failures">
      {lines.slice(0, shownFailures).map(({ machine, steps }) => (
        <li key={machine}>
          <b>
            <ForeignText text={machine} limit={63} />
          </b>{" "}
          <ForeignText text={steps.find(({ state }) => state === "failed")?.message ?? ""} limit={240} />
        </li>
      ))}
      {lines.length > shownFailures && <li>…</li>}
    </ul>
  );
}

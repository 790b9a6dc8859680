import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { api, at, type Page } from "../api.ts";
import { useEvents } from "../event-stream.ts";
import { machines } from "../live.ts";
import type { MachineLive } from "../live-state.ts";
import type {
  BootSummary,
  DoctorAnswer,
  Documents,
  Explanation,
  LogAnswer,
  MachineFacts,
  Timeline,
} from "../machine-types.ts";
import { EventList } from "../parts/event-list.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { type Loaded, useLoaded } from "../parts/load.ts";
import { PhaseMark } from "../parts/phase-mark.tsx";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { ProgressBar } from "../parts/progress-bar.tsx";
import { ago, bytes, time } from "../parts/text.ts";
import { BootTimeline } from "../parts/timeline.tsx";
import { pathTo } from "../routes.ts";
import { mayOperate } from "../session.ts";
import { keyOf, say } from "../words.ts";
import { BootChoice } from "./boot-choice.tsx";
import { useMachineActions } from "./machine-actions.tsx";
import { MachineFactsPart } from "./machine-facts.tsx";
import { RunningOperations } from "./running-operations.tsx";
import "./machine.css";

/** As many boots can be chosen, the newest. */
const shownBoots = 100;

/** One machine: how its boot goes, what is wrong, and why it boots what it boots. */
export function MachineView({ machine }: { machine: string }) {
  const live = [...machines.value.values()].find(({ id, name }) => name === machine || id === machine);
  // Each step of its boot makes all of this another.
  const news = live
    ? `${live.phase} ${live.boot?.id} ${live.boot?.lastStep} ${live.role} ${live.problem}`
    : "";
  const about = [machine, news];
  const path = at`/machines/${machine}`;
  const facts = useLoaded((signal) => api.get<MachineFacts>(path, {}, signal), about);
  // Undefined: the newest, whichever that becomes.
  const [boot, chooseBoot] = useState<string>();
  const aboutBoot = [...about, boot];
  const timeline = useLoaded((signal) => api.get<Timeline>(`${path}/timeline`, { boot }, signal), aboutBoot);
  const boots = useLoaded(
    (signal) => api.get<Page<BootSummary>>(`${path}/boots`, { limit: shownBoots }, signal),
    [machine, live?.boot?.id, live?.phase],
  );
  const doctor = useLoaded((signal) => api.get<DoctorAnswer>(`${path}/doctor`, {}, signal), about);
  const explanation = useLoaded((signal) => api.get<Explanation>(`${path}/explain`, {}, signal), about);
  const log = useLoaded((signal) => api.get<LogAnswer>(`${path}/log`, { boot }, signal), aboutBoot);
  const events = useEvents({ machine }, 50);
  return (
    <>
      <MachineHead machine={machine} facts={facts} live={live} />
      <RunningOperations />
      <div class="machine-parts">
        <Part title={say("timeline.title")} loaded={timeline}>
          {(value) => (
            <>
              <BootChoice boots={boots.value?.items ?? []} boot={boot} onChoose={chooseBoot} />
              <BootEnd timeline={value} />
              <BootTimeline timeline={value} />
            </>
          )}
        </Part>
        <Part title={say("doctor.title")} loaded={doctor}>
          {(value) => <DoctorVerdict verdict={value} />}
        </Part>
        <Part title={say("explain.title")} loaded={explanation}>
          {(value) => <Why explanation={value} />}
        </Part>
        <Part title={say("facts.title")} loaded={facts}>
          {(value) => <MachineFactsPart facts={value} />}
        </Part>
      </div>
      <DocumentsPart path={path} about={about} />
      <Part title={say("log.title")} loaded={log}>
        {(value) => <LogLines log={value} />}
      </Part>
      <section>
        <h2>{say("events.title")}</h2>
        {events ? <EventList events={events} isOfOneMachine /> : <p class="empty">{say("page.loading")}</p>}
      </section>
    </>
  );
}

function MachineHead({
  machine,
  facts,
  live,
}: {
  machine: string;
  facts: Loaded<MachineFacts>;
  live: MachineLive | undefined;
}) {
  const { buttons, question } = useMachineActions(live ? [live] : []);
  const { value } = facts;
  const group = live?.group ?? value?.group ?? null;
  const phase = live?.phase ?? value?.phase;
  return (
    <header class="machine-head">
      <h1>
        <ForeignText text={value?.name ?? machine} limit={64} />
      </h1>
      {phase && <PhaseMark phase={phase} />}
      <span>
        {say("machine.role")}{" "}
        <strong>
          <ForeignText text={live?.role ?? value?.role ?? "–"} limit={64} />
        </strong>
      </span>
      {group !== null && (
        <a href={pathTo({ view: "room", room: group })}>
          <ForeignText text={group} limit={40} />
        </a>
      )}
      {live && <span class="hint">{say("machine.seen", { ago: ago(live.lastSeenAt) })}</span>}
      {live?.progress && live.progress.total > 0 && (
        <span class="machine-progress">
          <ForeignText text={live.progress.file} limit={40} />{" "}
          {say("machine.loaded", { done: bytes(live.progress.bytes), total: bytes(live.progress.total) })}
          <ProgressBar fraction={live.progress.bytes / live.progress.total} label={say("machine.progress")} />
        </span>
      )}
      {live?.problem && (
        <p class="machine-problem">
          <ForeignText text={live.problem} limit={400} />
        </p>
      )}
      {live && mayOperate.value && (
        <div class="machine-actions" role="toolbar" aria-label={say("machine.actions")}>
          {buttons}
        </div>
      )}
      {question}
    </header>
  );
}

/** A heading with what was loaded under it, or why it was not. */
function Part<T>({
  title,
  loaded: { value, problem },
  children,
}: {
  title: string;
  loaded: Loaded<T>;
  children: (value: T) => ComponentChildren;
}) {
  return (
    <section class="machine-part">
      <h2>{title}</h2>
      <ProblemMessage problem={problem} />
      {value !== undefined && children(value)}
      {value === undefined && !problem && <p class="empty">{say("page.loading")}</p>}
    </section>
  );
}

function BootEnd({ timeline: { boot } }: { timeline: Timeline }) {
  if (!boot) return null;
  return (
    <p>
      <strong>{say(keyOf("outcome", boot.outcome))}</strong>{" "}
      {say("timeline.began", { time: time(boot.startedAt) })}
      {boot.verdict !== null && (
        <>
          {" "}
          <ForeignText text={boot.verdict} limit={400} />
        </>
      )}
    </p>
  );
}

function DoctorVerdict({ verdict: { fine: isFine, diagnoses, station } }: { verdict: DoctorAnswer }) {
  return (
    <>
      {!isFine && station !== null && (
        <p>
          {say("doctor.station")} <ForeignText text={station} limit={200} />
        </p>
      )}
      <ul class="diagnoses">
        {diagnoses.map(({ code, fine, what, evidence, advice }) => (
          <li key={code} class={fine ? "is-fine" : "is-ill"}>
            <p>
              <strong>{fine ? say("doctor.fine") : say("doctor.ill")}</strong>{" "}
              <ForeignText text={what} limit={600} />
            </p>
            {advice !== "" && (
              <p>
                {say("doctor.advice")} <ForeignText text={advice} limit={600} />
              </p>
            )}
            {evidence.length > 0 && (
              <details>
                <summary>{say("doctor.evidence", { count: evidence.length })}</summary>
                <ul>
                  {evidence.map((one) => (
                    <li>
                      <time>{time(one.at)}</time> <ForeignText text={one.what} limit={400} />
                    </li>
                  ))}
                </ul>
              </details>
            )}
          </li>
        ))}
      </ul>
      <p class="hint">{say("doctor.language")}</p>
    </>
  );
}

function Why({ explanation: { role, why, instead, roleProblem } }: { explanation: Explanation }) {
  return (
    <>
      <p>
        <strong>
          <ForeignText text={role} limit={200} />
        </strong>
        : <ForeignText text={why} limit={400} />
      </p>
      {roleProblem !== null && (
        <p class="machine-problem">
          <ForeignText text={roleProblem} limit={400} />
        </p>
      )}
      {instead.length > 0 && (
        <p class="hint">
          {say("explain.instead")}{" "}
          <ForeignText text={instead.map((one) => one.role).join(", ")} limit={300} />
        </p>
      )}
    </>
  );
}

/** What the machine would be served now; the server masks secrets. */
function DocumentsPart({ path, about }: { path: string; about: readonly unknown[] }) {
  const documents = useLoaded((signal) => api.get<Documents>(`${path}/preview`, {}, signal), about);
  const [chosen, choose] = useState<string>();
  const kinds = documents.value?.items ?? [];
  const kind = kinds.some((one) => one.kind === chosen) ? chosen : undefined;
  return (
    <Part title={say("documents.title")} loaded={documents}>
      {() => (
        <>
          <div class="document-kinds" role="group" aria-label={say("documents.title")}>
            {kinds.map((one) => (
              <button
                type="button"
                class="button is-small"
                aria-pressed={one.kind === kind}
                onClick={() => choose(one.kind === kind ? undefined : one.kind)}
              >
                {one.kind}
                {one.problem !== null && ` (${say("documents.broken")})`}
              </button>
            ))}
          </div>
          {kind === undefined ? (
            <p class="hint">{kinds.length > 0 ? say("documents.choose") : say("documents.none")}</p>
          ) : (
            // A new one for each: where a document can't be made, the text of another must not stand under its name.
            <DocumentText key={kind} path={`${path}/preview/${encodeURIComponent(kind)}`} about={about} />
          )}
        </>
      )}
    </Part>
  );
}

function DocumentText({ path, about }: { path: string; about: readonly unknown[] }) {
  const { value, problem } = useLoaded((signal) => api.get<unknown>(path, {}, signal), [path, ...about]);
  const text = typeof value === "string" ? value : JSON.stringify(value, undefined, 2);
  return (
    <>
      <ProblemMessage problem={problem} />
      {value !== undefined && <Lines text={text} label={say("documents.title")} />}
    </>
  );
}

function LogLines({ log: { items } }: { log: LogAnswer }) {
  if (items.length === 0) return <p class="empty">{say("log.none")}</p>;
  return (
    <Lines text={items.map(({ message, text }) => text ?? message).join("\n")} label={say("log.title")} />
  );
}

/** As many lines are drawn; a machine may send megabytes. */
const mostLines = 2000;

/** Text of several lines by others: line by line, so that each is made harmless by itself. */
function Lines({ text, label }: { text: string; label: string }) {
  const lines = text.split("\n");
  return (
    <div class="foreign-lines" tabIndex={0} role="region" aria-label={label}>
      {lines.slice(0, mostLines).map((line) => (
        <div>{line === "" ? " " : <ForeignText text={line} limit={1000} />}</div>
      ))}
      {lines.length > mostLines && <div>…</div>}
    </div>
  );
}

import { useState } from "preact/hooks";
import { api, at } from "../api.ts";
import type { GroupLive } from "../live-state.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { LockIcon } from "../parts/icons.tsx";
import { useAction } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { time } from "../parts/text.ts";
import { visibleText } from "../parts/visible-text.ts";
import { mayOperate } from "../session.ts";
import { say } from "../words.ts";
import { RoleField, useRoles } from "./role-field.tsx";
import "./exam.css";

/** That the room is locked to one role, until when, and by whom. */
export function ExamBanner({ group: { exam } }: { group: GroupLive }) {
  if (!exam) return null;
  return (
    <p class="exam-banner" role="status">
      <LockIcon />
      <b>
        <ForeignText text={say("exam.underWay", { role: exam.role })} limit={80} />
      </b>
      <span>
        {exam.endsAt === null ? say("exam.openEnd") : say("exam.until", { time: time(exam.endsAt) })}
      </span>
      <span>
        <ForeignText text={say("exam.startedBy", { actor: exam.startedBy })} limit={60} />
      </span>
      <span class="hint">{say("exam.locked")}</span>
    </p>
  );
}

export function ExamButton({ group }: { group: GroupLive }) {
  const [isAsked, setAsked] = useState(false);
  if (!mayOperate.value) return null;
  const close = () => setAsked(false);
  return (
    <>
      <button type="button" class="button is-small" onClick={() => setAsked(true)}>
        {group.exam ? say("exam.end") : say("exam.begin")}
      </button>
      {isAsked &&
        (group.exam ? (
          <EndExam group={group} onClose={close} />
        ) : (
          <BeginExam group={group} onClose={close} />
        ))}
    </>
  );
}

function BeginExam({ group, onClose }: { group: GroupLive; onClose: () => void }) {
  const roles = useRoles();
  const [role, setRole] = useState("");
  const [minutes, setMinutes] = useState("");
  const { isBusy, problem, run } = useAction();
  const begin = () =>
    run(async () => {
      const length = minutes === "" ? {} : { forSeconds: Math.round(Number(minutes) * 60) };
      await api.post("/exams", { room: group.name, role, ...length });
      onClose();
    });
  return (
    <Dialog
      title={say("exam.beginTitle", { room: visibleText(group.name, 63) })}
      onClose={onClose}
      actions={
        <>
          <button type="button" class="button" onClick={onClose}>
            {say("action.cancel")}
          </button>
          <button
            type="button"
            class="button is-main"
            disabled={role === "" || isBusy}
            onClick={() => void begin()}
          >
            {say("exam.beginSubmit")}
          </button>
        </>
      }
    >
      <p>{say("exam.beginExplained")}</p>
      <RoleField roles={roles} role={role} onChange={setRole} />
      <label class="field">
        <span>{say("exam.minutes")}</span>
        <input
          type="number"
          min="1"
          max="10080"
          value={minutes}
          onInput={({ currentTarget }) => setMinutes(currentTarget.value)}
        />
        <span class="hint exam-hint">{say("exam.minutesHint")}</span>
      </label>
      <ProblemMessage problem={problem} />
    </Dialog>
  );
}

function EndExam({ group, onClose }: { group: GroupLive; onClose: () => void }) {
  const { isBusy, problem, run } = useAction();
  const end = () =>
    run(async () => {
      await api.delete(at`/exams/${group.name}`);
      onClose();
    });
  return (
    <Dialog
      title={say("exam.endTitle", { room: visibleText(group.name, 63) })}
      onClose={onClose}
      actions={
        <>
          <button type="button" class="button" onClick={onClose}>
            {say("action.cancel")}
          </button>
          <button type="button" class="button is-grave" disabled={isBusy} onClick={() => void end()}>
            {say("exam.endSubmit")}
          </button>
        </>
      }
    >
      <p>{say("exam.endExplained")}</p>
      <ProblemMessage problem={problem} />
    </Dialog>
  );
}

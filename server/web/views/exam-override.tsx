import { Problem } from "../api.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { isAdmin } from "../session.ts";
import { say } from "../words.ts";

/**
 * What an order was refused with. Where an exam was the reason, an administrator is asked once more, in plain words, and the order goes
 * through with `onOverride` alone.
 */
export function RefusedOrder({
  problem,
  isBusy,
  onOverride,
}: {
  problem: unknown;
  isBusy: boolean;
  onOverride: () => void;
}) {
  const isExam = problem instanceof Problem && problem.code === "EXAM_UNDER_WAY";
  return (
    <>
      <ProblemMessage problem={problem} />
      {isExam && isAdmin.value && (
        <div class="warning exam-override" role="group" aria-label={say("exam.override")}>
          <p>{say("exam.overrideQuestion")}</p>
          <button type="button" class="button is-grave" disabled={isBusy} onClick={onOverride}>
            {say("exam.override")}
          </button>
        </div>
      )}
    </>
  );
}

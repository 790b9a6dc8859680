import { Problem } from "../api.ts";
import { say } from "../words.ts";
import { ForeignText } from "./foreign-text.tsx";
import "./problem-message.css";

/** Whatever a call threw, as one message: what is wrong, what to do next, and the code. */
export function ProblemMessage({ problem }: { problem: unknown }) {
  if (problem === undefined || problem === null) return null;
  const known = problem instanceof Problem ? problem : undefined;
  const isUnreachable = known?.code === "unreachable";
  const detail = isUnreachable ? say("problem.unreachable") : known?.detail || say("problem.unforeseen");
  const advice = isUnreachable ? say("problem.unreachableAdvice") : (known?.advice ?? "");
  return (
    <div class="problem" role="alert">
      <p class="problem-detail">
        <ForeignText text={detail} limit={600} />
      </p>
      {advice && (
        <p>
          <ForeignText text={advice} limit={600} />
        </p>
      )}
      {known && !isUnreachable && <code class="problem-code">{known.code}</code>}
    </div>
  );
}

import type { MachineLive } from "../live-state.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { PhaseMark, phaseTones } from "../parts/phase-mark.tsx";
import { ProgressBar } from "../parts/progress-bar.tsx";
import { bytes, percent } from "../parts/text.ts";
import { visibleText } from "../parts/visible-text.ts";
import { say } from "../words.ts";
import "./seat.css";

/** One machine where it stands: name big, role small, phase, and how far its download is. */
export function Seat({
  machine,
  seat,
  column,
  role,
  isSelected,
  isActive,
}: {
  machine: MachineLive;
  /** Its name on the plan; undefined: it has none there. */
  seat?: string;
  column?: number;
  role: "gridcell" | "option";
  isSelected: boolean;
  /** The one that Tab comes to. */
  isActive: boolean;
}) {
  const { name, phase, progress, problem } = machine;
  const tone = phaseTones[phase];
  return (
    <div
      class={`seat ground-${tone}`}
      role={role}
      aria-selected={isSelected}
      aria-colindex={column}
      tabIndex={isActive ? 0 : -1}
      data-machine={machine.id}
      data-name={name}
      data-phase={phase}
      style={column === undefined ? undefined : { gridColumn: column + 1 }}
    >
      <span class="seat-name">
        <ForeignText text={name} limit={40} />
      </span>
      {seat !== undefined && (
        <span class="seat-place">
          <span class="unseen">{say("room.seatWord")} </span>
          <ForeignText text={seat} limit={16} />
        </span>
      )}
      <PhaseMark phase={phase} />
      <span class="seat-role">
        <ForeignText text={machine.role} limit={60} />
      </span>
      {progress && progress.total > 0 && (
        <span class="seat-progress" title={downloads(progress)}>
          <ProgressBar
            fraction={progress.bytes / progress.total}
            label={say("room.downloading", {
              file: visibleText(progress.file, 40),
              percent: percent(progress.bytes / progress.total),
            })}
          />
          <span aria-hidden="true" class="seat-percent">
            {percent(Math.min(1, progress.bytes / progress.total))}
          </span>
        </span>
      )}
      {problem !== null && (phase === "failed" || phase === "lost") && (
        <span class="seat-problem" title={visibleText(problem, 600)}>
          <ForeignText text={problem} limit={140} />
        </span>
      )}
      <span class="seat-tick" aria-hidden="true" />
    </div>
  );
}

const downloads = ({ file, bytes: done, total }: NonNullable<MachineLive["progress"]>) =>
  say("room.downloads", { file: visibleText(file, 60), done: bytes(done), total: bytes(total) });

/** A place where nobody sits: its name, so that the plan can be read. */
export function EmptySeat({ seat, column }: { seat: string; column: number }) {
  return (
    <div class="seat is-empty" role="gridcell" aria-colindex={column} style={{ gridColumn: column + 1 }}>
      <span class="unseen">{say("room.emptySeat", { seat: visibleText(seat, 16) })}</span>
      <span class="seat-place" aria-hidden="true">
        <ForeignText text={seat} limit={16} />
      </span>
    </div>
  );
}

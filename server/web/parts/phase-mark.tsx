import type { Phase } from "../../domain/machine.ts";
import { keyOf, say } from "../words.ts";
import "./phase-mark.css";

/** What each phase is drawn with on a disc of 16: colour never stands alone. The further the boot, the fuller the disc. */
const shapes: Readonly<Record<Phase, string>> = {
  // A question, a ring, a ring with a core.
  discovered: "M8 1 15 8 8 15 1 8ZM8 3.8 3.8 8 8 12.2 12.2 8ZM7 5h2v4H7ZM7 9.8h2v1.8H7Z",
  accepted: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3a5 5 0 1 1 0 10A5 5 0 1 1 8 3Z",
  assigned:
    "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3a5 5 0 1 1 0 10A5 5 0 1 1 8 3ZM8 6a2 2 0 1 0 0 4A2 2 0 1 0 8 6Z",
  // A quarter, a half, three quarters, and nearly all of the disc.
  netbooting: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3a5 5 0 1 1 0 10A5 5 0 1 1 8 3ZM8 3V8H13A5 5 0 0 0 8 3Z",
  booting: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3a5 5 0 1 1 0 10A5 5 0 1 1 8 3ZM8 3V13A5 5 0 0 0 8 3Z",
  configuring: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM3 8a5 5 0 0 1 5-5V8Z",
  joining: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM7 3.2V8.6L11 11l-1 1.6L5 9.8V3.8Z",
  // A square with a tick, an octagon with a cross, a triangle with a mark, a bar.
  ready: "M1 1H15V15H1ZM3.2 8.4 6.8 12 13 5.6 11.6 4.2 6.8 9.1 4.6 7Z",
  failed:
    "M5 1H11L15 5V11L11 15H5L1 11V5ZM5.2 4 4 5.2 6.8 8 4 10.8 5.2 12 8 9.2 10.8 12 12 10.8 9.2 8 12 5.2 10.8 4 8 6.8Z",
  lost: "M8 1 15.5 15H.5ZM7.1 6V10.2H8.9V6ZM7.1 11.4V13.2H8.9V11.4Z",
  retired: "M1 6.5H15V9.5H1Z",
};

/** Which colour and fill a phase has; the class names of theme.css. */
export const phaseTones: Readonly<Record<Phase, "new" | "idle" | "busy" | "ready" | "failed" | "lost">> = {
  discovered: "new",
  accepted: "idle",
  assigned: "idle",
  netbooting: "busy",
  booting: "busy",
  configuring: "busy",
  joining: "busy",
  ready: "ready",
  failed: "failed",
  lost: "lost",
  retired: "idle",
};

export function PhaseShape({ phase }: { phase: Phase }) {
  return (
    <svg class={`phase-shape tone-${phaseTones[phase]}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={shapes[phase]} fill="currentColor" fill-rule="evenodd" />
    </svg>
  );
}

/** Colour, shape and word of a phase. */
export function PhaseMark({ phase }: { phase: Phase }) {
  return (
    <span class={`phase-mark tone-${phaseTones[phase]}`} data-phase={phase}>
      <PhaseShape phase={phase} />
      <span>{say(keyOf("phase", phase))}</span>
    </span>
  );
}

import { bootParts } from "../../domain/boot-spans.ts";
import { now } from "../live.ts";
import type { Timeline, TimelinePart } from "../machine-types.ts";
import { say, type WordKey } from "../words.ts";
import { duration } from "./text.ts";
import "./timeline.css";

/** Twice as long as in the room, and by more than this, ms: worth a look. */
const muchMs = 2000;

interface Row extends TimelinePart {
  readonly ms: number;
  readonly isUnderWay: boolean;
}

const partNames: ReadonlySet<string> = new Set(bootParts);
/** A part that a newer server tells of, by the server's own words. */
const nameOf = ({ part, what }: TimelinePart) =>
  partNames.has(part) ? say(`part.${part}` as WordKey & "part.dhcp") : what;

/**
 * A boot's parts as bars on one scale of time, each with the median of the room as a line on it. The one under way grows.
 */
export function BootTimeline({ timeline }: { timeline: Timeline }) {
  const { boot, parts, underWay, compared } = timeline;
  if (!boot) return <p class="empty">{say("timeline.none")}</p>;
  const rows: Row[] = parts.map((part) => ({ ...part, isUnderWay: false }));
  if (underWay) {
    const ms = Math.max(0, now.value - Date.parse(boot.startedAt) - underWay.startMs);
    rows.push({ ...underWay, ms, isUnderWay: true });
  }
  const from = Math.min(0, ...rows.map(({ startMs }) => startMs));
  const to = Math.max(1, ...rows.map(({ startMs, ms, medianMs }) => startMs + Math.max(ms, medianMs ?? 0)));
  const share = (ms: number) => `${(100 * ms) / (to - from)}%`;
  return (
    <>
      <ol class="timeline">
        {rows.map((row) => {
          const { part, startMs, ms, medianMs, isUnderWay } = row;
          const isSlow = medianMs !== null && ms > 2 * medianMs && ms - medianMs > muchMs;
          return (
            <li key={part} class={isSlow ? "is-slow" : undefined}>
              <span class="timeline-name">{nameOf(row)}</span>
              <span class="timeline-track" aria-hidden="true">
                <span
                  class={isUnderWay ? "timeline-bar is-under-way" : "timeline-bar"}
                  style={{ marginInlineStart: share(startMs - from), width: share(ms) }}
                />
                {medianMs !== null && (
                  <span
                    class="timeline-median"
                    style={{ insetInlineStart: share(startMs - from + medianMs) }}
                  />
                )}
              </span>
              <span class="timeline-time">
                {duration(ms)}
                {isUnderWay && ` (${say("timeline.underWay")})`}
                {isSlow && <strong> {say("timeline.slow")}</strong>}
                {medianMs !== null && <small>{say("timeline.median", { time: duration(medianMs) })}</small>}
              </span>
            </li>
          );
        })}
      </ol>
      <p class="hint">
        {compared > 0 ? say("timeline.compared", { count: compared }) : say("timeline.alone")}
      </p>
    </>
  );
}

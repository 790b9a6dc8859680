import type { BootSummary } from "../machine-types.ts";
import { time } from "../parts/text.ts";
import { visibleText } from "../parts/visible-text.ts";
import { keyOf, say } from "../words.ts";

/** Older boots of a machine, for its timeline and its log. @param boot undefined: the newest, whichever that becomes */
export function BootChoice({
  boots,
  boot,
  onChoose,
}: {
  boots: readonly BootSummary[];
  boot: string | undefined;
  onChoose: (boot: string | undefined) => void;
}) {
  if (boots.length < 2 && boot === undefined) return null;
  return (
    <label class="field boot-choice">
      <span>{say("timeline.which")}</span>
      <select
        value={boot ?? ""}
        onChange={({ currentTarget: { value } }) => onChoose(value === "" ? undefined : value)}
      >
        {boots.map((one, index) => {
          const value = index === 0 ? "" : one.id;
          return (
            <option key={one.id} value={value} selected={value === (boot ?? "")}>
              {textOf(one, index === 0)}
            </option>
          );
        })}
      </select>
    </label>
  );
}

function textOf({ startedAt, outcome, target }: BootSummary, isNewest: boolean): string {
  const parts = [
    time(startedAt),
    target === null ? "" : visibleText(target, 40),
    say(keyOf("outcome", outcome)),
  ];
  const text = parts.filter((part) => part !== "").join(" · ");
  return isNewest ? `${text} (${say("timeline.newest")})` : text;
}

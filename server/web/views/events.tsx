import { useMemo, useState } from "preact/hooks";
import { eventTypes } from "../../domain/event.ts";
import type { EventChoice, LogEvent } from "../event-choice.ts";
import { useEvents } from "../event-stream.ts";
import { machines } from "../live.ts";
import { EventList } from "../parts/event-list.tsx";
import { byName } from "../parts/format.ts";
import { visibleText } from "../parts/visible-text.ts";
import { keyOf, say } from "../words.ts";
import "./events.css";

const levels = ["info", "warning", "alarm"] as const;
/** What events are about: the words before the dot. */
const kinds = [...new Set(Object.keys(eventTypes).map((type) => type.split(".")[0] ?? type))].sort(byName);
const spansHours = [1, 8, 24] as const;

export function EventsView() {
  const [choice, setChoice] = useState<EventChoice>({});
  const [least, setLeast] = useState<(typeof levels)[number]>("info");
  const spans = useMemo(() => spansHours.map((hours) => [sinceOf(hours), hours] as const), []);
  const events = useEvents(choice);
  const isSevere = ({ level }: LogEvent) => levels.indexOf(level) >= levels.indexOf(least);
  const shown = events?.filter(isSevere);
  return (
    <>
      <h1>{say("events.title")}</h1>
      <form class="event-choice" onSubmit={(event) => event.preventDefault()}>
        <Choice
          label={say("events.type")}
          value={choice.type ?? ""}
          options={kinds.map((kind) => [kind, kind])}
          onChoose={(type) => setChoice({ ...choice, type: type || undefined })}
        />
        <Choice
          label={say("events.machine")}
          value={choice.machine ?? ""}
          options={[...machines.value.values()]
            .map(({ name }) => name)
            .sort(byName)
            .map((name) => [name, visibleText(name, 40)])}
          onChoose={(machine) => setChoice({ ...choice, machine: machine || undefined })}
        />
        <Choice
          label={say("events.level")}
          value={least}
          options={levels.map((level) => [level, say(keyOf("events.least", level))])}
          onChoose={(level) => setLeast(levels.find((known) => known === level) ?? "info")}
          isAllLeftOut
        />
        <Choice
          label={say("events.from")}
          value={choice.from ?? ""}
          options={spans.map(([from, count]) => [from, say("events.lastHours", { count })])}
          onChoose={(from) => setChoice({ ...choice, from: from || undefined })}
        />
        <Actor onChoose={(actor) => setChoice({ ...choice, actor: actor || undefined })} />
      </form>
      <p class="hint">{say("events.live")}</p>
      {shown ? <EventList events={shown} /> : <p class="empty">{say("page.loading")}</p>}
    </>
  );
}

const sinceOf = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();

function Choice({
  label,
  value,
  options,
  onChoose,
  isAllLeftOut = false,
}: {
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onChoose: (value: string) => void;
  isAllLeftOut?: boolean;
}) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={({ currentTarget }) => onChoose(currentTarget.value)}>
        {!isAllLeftOut && <option value="">{say("events.all")}</option>}
        {options.map(([option, text]) => (
          <option value={option} selected={option === value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Asked for once it is entered, not with each letter. */
function Actor({ onChoose }: { onChoose: (actor: string) => void }) {
  return (
    <label class="field">
      <span>{say("events.actor")}</span>
      <input
        type="search"
        maxLength={63}
        placeholder={say("events.all")}
        onChange={({ currentTarget }) => onChoose(currentTarget.value.trim())}
      />
    </label>
  );
}

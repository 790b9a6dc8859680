import type { MachineLive } from "../live-state.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { DetailsIcon } from "../parts/icons.tsx";
import { pathTo } from "../routes.ts";
import { say } from "../words.ts";
import { useMachineActions } from "./machine-actions.tsx";
import "./room-toolbar.css";

/** What can be done to the machines that are selected; a viewer looks at them and nothing else. */
export function RoomToolbar({
  selected,
  onClear,
}: {
  selected: readonly MachineLive[];
  onClear: () => void;
}) {
  const { buttons, question } = useMachineActions(selected);
  const [only] = selected;
  if (selected.length === 0 && !question) return null;
  return (
    <div class="room-toolbar" role="toolbar" aria-label={say("act.toolbar")}>
      <span class="selected-names">
        <b>{say("room.selected", { count: selected.length })}</b> <NamesOf machines={selected} />
      </span>
      {buttons}
      {only && selected.length === 1 && (
        <a class="button" href={pathTo({ view: "machine", machine: only.name })}>
          <DetailsIcon /> {say("act.details")}
        </a>
      )}
      <button type="button" class="button" onClick={onClear}>
        {say("room.clear")}
      </button>
      {question}
    </div>
  );
}

const shownNames = 6;

function NamesOf({ machines }: { machines: readonly MachineLive[] }) {
  return (
    <span class="hint">
      {machines.slice(0, shownNames).map(({ id, name }, index) => (
        <span key={id}>
          {index > 0 && ", "}
          <ForeignText text={name} limit={24} />
        </span>
      ))}
      {machines.length > shownNames && " …"}
    </span>
  );
}

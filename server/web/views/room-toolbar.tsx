import { useState } from "preact/hooks";
import type { MachineLive } from "../live-state.ts";
import { AssignIcon, ChevronIcon, DetailsIcon, PowerIcon, ResetIcon } from "../parts/icons.tsx";
import { ForeignText } from "../parts/foreign-text.tsx";
import { Menu } from "../parts/menu.tsx";
import { pathTo } from "../routes.ts";
import { mayOperate } from "../session.ts";
import { say } from "../words.ts";
import { AssignDialog } from "./assign-dialog.tsx";
import { PowerDialog, PowerStatusDialog } from "./power-dialogs.tsx";
import { ResetDialog } from "./reset-dialog.tsx";
import "./room-toolbar.css";

type Asked = "assign" | "status" | "on" | "off" | "cycle" | "reset";

/** What can be done to the machines that are selected; a viewer looks at them and nothing else. */
export function RoomToolbar({
  selected,
  onClear,
}: {
  selected: readonly MachineLive[];
  onClear: () => void;
}) {
  // Of the moment when it was asked: what is selected may change behind the dialog.
  const [asked, setAsked] = useState<{ readonly what: Asked; readonly machines: readonly MachineLive[] }>();
  const ask = (what: Asked) => setAsked({ what, machines: selected });
  const [only] = selected;
  if (selected.length === 0 && !asked) return null;
  return (
    <div class="room-toolbar" role="toolbar" aria-label={say("act.toolbar")}>
      <span class="selected-names">
        <b>{say("room.selected", { count: selected.length })}</b> <NamesOf machines={selected} />
      </span>
      {mayOperate.value && (
        <>
          <button type="button" class="button" onClick={() => ask("assign")}>
            <AssignIcon /> {say("act.assign")}
          </button>
          <Menu
            label={
              <>
                <PowerIcon /> {say("act.power")} <ChevronIcon />
              </>
            }
            items={[
              { text: say("act.powerStatus"), onChoose: () => ask("status") },
              { text: say("act.powerOn"), onChoose: () => ask("on") },
              { text: say("act.powerCycle"), onChoose: () => ask("cycle") },
              { text: say("act.powerOff"), onChoose: () => ask("off") },
            ]}
          />
          <button type="button" class="button" onClick={() => ask("reset")}>
            <ResetIcon /> {say("act.reset")}
          </button>
        </>
      )}
      {only && selected.length === 1 && (
        <a class="button" href={pathTo({ view: "machine", machine: only.name })}>
          <DetailsIcon /> {say("act.details")}
        </a>
      )}
      <button type="button" class="button" onClick={onClear}>
        {say("room.clear")}
      </button>
      {asked && <Question {...asked} onClose={() => setAsked(undefined)} />}
    </div>
  );
}

function Question({
  what,
  machines,
  onClose,
}: {
  what: Asked;
  machines: readonly MachineLive[];
  onClose: () => void;
}) {
  switch (what) {
    case "assign":
      return <AssignDialog machines={machines} onClose={onClose} />;
    case "reset":
      return <ResetDialog machines={machines} onClose={onClose} />;
    case "status":
      return <PowerStatusDialog machines={machines} onClose={onClose} />;
    case "on":
    case "off":
    case "cycle":
      return <PowerDialog action={what} machines={machines} onClose={onClose} />;
  }
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

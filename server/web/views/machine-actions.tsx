import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { MachineLive } from "../live-state.ts";
import { AssignIcon, ChevronIcon, PowerIcon, ResetIcon } from "../parts/icons.tsx";
import { Menu } from "../parts/menu.tsx";
import { mayOperate } from "../session.ts";
import { say } from "../words.ts";
import { AssignDialog } from "./assign-dialog.tsx";
import { PowerDialog, PowerStatusDialog } from "./power-dialogs.tsx";
import { ResetDialog } from "./reset-dialog.tsx";

type Asked = "assign" | "status" | "on" | "off" | "cycle" | "reset";

/** What can be done to machines: its buttons, and the question that one of them asks. A viewer has neither. */
export function useMachineActions(machines: readonly MachineLive[]): {
  readonly buttons: ComponentChildren;
  /** Undefined: nothing is asked. */
  readonly question: ComponentChildren | undefined;
} {
  // Of the moment when it was asked: what is selected may change behind the dialog.
  const [asked, setAsked] = useState<{ readonly what: Asked; readonly machines: readonly MachineLive[] }>();
  const ask = (what: Asked) => setAsked({ what, machines });
  return {
    buttons: mayOperate.value && (
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
    ),
    question: asked && <Question {...asked} onClose={() => setAsked(undefined)} />,
  };
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

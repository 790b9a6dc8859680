import { useComputed, useSignal } from "@preact/signals";
import { connection, groups, machines } from "../live.ts";
import { phases } from "../../domain/machine.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { PhaseMark } from "../parts/phase-mark.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { keyOf, say } from "../words.ts";
import { ExamBanner, ExamButton } from "./exam.tsx";
import { usePhaseNews } from "./phase-news.ts";
import { RoomTabs } from "./room-tabs.tsx";
import { RoomToolbar } from "./room-toolbar.tsx";
import { RunningOperations } from "./running-operations.tsx";
import { countPhases, layoutOf } from "./room-layout.ts";
import { RoomPlan } from "./room-plan.tsx";
import { nothingSelected, readingOrder } from "./selection.ts";
import { WaitingMachines } from "./waiting-machines.tsx";
import "./room.css";

/** The room as a room: who sits where, how far each is, and what can be done about it. */
export function RoomView({ room }: { room: string }) {
  const selection = useSignal(nothingSelected);
  const members = useComputed(() => [...machines.value.values()].filter(({ group }) => group === room));
  const layout = useComputed(() => layoutOf(groups.value.get(room)?.plan ?? null, members.value));
  const selected = useComputed(() => {
    const { ids } = selection.value;
    const byId = machines.value;
    return readingOrder(layout.value)
      .flatMap((id) => (ids.has(id) ? [byId.get(id)] : []))
      .filter((one) => one !== undefined);
  });
  usePhaseNews(members.value);

  const group = groups.value.get(room);
  if (!group && connection.value.state === "connecting") return <p>{say("page.loading")}</p>;
  if (!group)
    return (
      <>
        <RoomTabs room={room} />
        <h1>{say("room.unknown", { room: visibleText(room, 80) })}</h1>
      </>
    );
  const select = (ids: readonly string[]) =>
    (selection.value = { ids: new Set(ids), anchor: ids[0], active: ids[0] });
  return (
    <>
      <RoomTabs room={room} />
      <header class="room-head">
        <h1>
          <ForeignText text={group.name} limit={63} />
        </h1>
        {group.description !== "" && (
          <p class="hint">
            <ForeignText text={group.description} limit={200} />
          </p>
        )}
        <PhaseCounts members={members.value} onSelect={select} />
        <span class="room-head-actions">
          {members.value.length > 0 && (
            <button type="button" class="button is-small" onClick={() => select(readingOrder(layout.value))}>
              {say("room.selectAll")}
            </button>
          )}
          <ExamButton group={group} />
        </span>
      </header>
      <ExamBanner group={group} />
      <RunningOperations />
      <RoomToolbar selected={selected.value} onClear={() => (selection.value = nothingSelected)} />
      {group.plan === null && <p class="hint">{say("room.noPlan", { room: visibleText(group.name, 63) })}</p>}
      {members.value.length === 0 && <p class="empty">{say("room.empty")}</p>}
      <RoomPlan room={room} layout={layout.value} selection={selection} />
      <p class="hint room-keys">{say("room.keys")}</p>
      <WaitingMachines room={room} />
    </>
  );
}

/** How many are in each phase; each number selects those. */
function PhaseCounts({
  members,
  onSelect,
}: {
  members: readonly { readonly id: string; readonly phase: (typeof phases)[number] }[];
  onSelect: (ids: readonly string[]) => void;
}) {
  return (
    <ul class="phase-counts">
      {countPhases(members, phases).map(([phase, count]) => (
        <li key={phase}>
          <button
            type="button"
            title={say("room.selectPhase", { phase: say(keyOf("phase", phase)) })}
            onClick={() => onSelect(members.filter((one) => one.phase === phase).map(({ id }) => id))}
          >
            <b>{count}</b> <PhaseMark phase={phase} />
          </button>
        </li>
      ))}
    </ul>
  );
}

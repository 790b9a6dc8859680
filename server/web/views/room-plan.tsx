import type { Signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { MachineLive } from "../live-state.ts";
import { visibleText } from "../parts/visible-text.ts";
import { navigate } from "../router.ts";
import { pathTo } from "../routes.ts";
import { say } from "../words.ts";
import { nextPlace } from "./room-keys.ts";
import type { RoomLayout, SeatRow } from "./room-layout.ts";
import { EmptySeat, Seat } from "./seat.tsx";
import {
  extendTo,
  moveTo,
  nothingSelected,
  readingOrder,
  selectOnly,
  type Selection,
  toggle,
  toggleAll,
} from "./selection.ts";
import "./room-plan.css";

interface PlanProps {
  readonly room: string;
  readonly layout: RoomLayout;
  readonly selection: Signal<Selection>;
}

/** The seats where they stand, and the machines that have none beside them; mouse, finger and keyboard select. */
export function RoomPlan({ room, layout, selection }: PlanProps) {
  const area = useRef<HTMLDivElement>(null);
  const order = readingOrder(layout);
  const { ids, active } = selection.value;
  const tabStop = active !== undefined && order.includes(active) ? active : order[0];
  const seatProps = (machine: MachineLive) => ({
    machine,
    isSelected: ids.has(machine.id),
    isActive: machine.id === tabStop,
  });
  const hasPlan = layout.rows.length > 0;

  return (
    <div
      ref={area}
      class={hasPlan ? "room-area" : "room-area has-no-plan"}
      onClick={(event) => onClick(event, selection, layout)}
      onDblClick={(event) => open(layout, machineAt(event.target))}
      onKeyDown={(event) => onKey(event, area.current, selection, layout)}
    >
      {hasPlan && (
        <section class="room-plan" style={{ "--columns": trackList(layout.aisles) }}>
          <p class="room-front">{say("room.front")}</p>
          <div role="grid" aria-multiselectable aria-label={say("room.plan", { room: visibleText(room) })}>
            {layout.rows.map((row) => (
              <PlanRow key={row.row} row={row} selection={selection} seatProps={seatProps} />
            ))}
          </div>
        </section>
      )}
      {layout.elsewhere.length > 0 && (
        <section class="room-elsewhere">
          <h2>{hasPlan ? say("room.elsewhere") : say("room.members")}</h2>
          <div role="listbox" aria-multiselectable aria-label={say("room.elsewhere")} class="seat-list">
            {layout.elsewhere.map((machine) => (
              <Seat
                key={machine.id}
                role="option"
                {...(machine.seat === null ? {} : { seat: machine.seat })}
                {...seatProps(machine)}
              />
            ))}
          </div>
        </section>
      )}
    </div>
  );
}

function PlanRow({
  row: { row, label, seats },
  selection,
  seatProps,
}: {
  row: SeatRow;
  selection: Signal<Selection>;
  seatProps: (machine: MachineLive) => { machine: MachineLive; isSelected: boolean; isActive: boolean };
}) {
  const ids = seats.flatMap(({ machine }) => (machine ? [machine.id] : []));
  return (
    <div role="row" class={seats.length > 0 ? "plan-row" : "plan-row is-aisle"} aria-rowindex={row}>
      {ids.length > 0 && (
        <div role="rowheader" class="row-head">
          <button
            type="button"
            aria-label={say("room.selectRow", { row: label })}
            title={say("room.selectRow", { row: label })}
            aria-pressed={ids.every((id) => selection.value.ids.has(id))}
            onClick={() => (selection.value = toggleAll(selection.peek(), ids))}
          >
            {label}
          </button>
        </div>
      )}
      {seats.map(({ seat, column, machine }) =>
        machine ? (
          <Seat key={seat} role="gridcell" seat={seat} column={column} {...seatProps(machine)} />
        ) : (
          <EmptySeat key={seat} seat={seat} column={column} />
        ),
      )}
    </div>
  );
}

/** Aisles are narrower than seats. */
const trackList = (aisles: readonly boolean[]) =>
  aisles.map((isAisle) => (isAisle ? "var(--aisle)" : "minmax(7.5rem, 15rem)")).join(" ");

function machineAt(target: EventTarget | null): string | undefined {
  const seat = target instanceof Element ? target.closest<HTMLElement>("[data-machine]") : null;
  return seat?.dataset["machine"];
}

function open({ rows, elsewhere }: RoomLayout, id: string | undefined): void {
  const all = [...rows.flatMap(({ seats }) => seats.map(({ machine }) => machine)), ...elsewhere];
  const machine = all.find((one) => one?.id === id);
  if (machine) navigate(pathTo({ view: "machine", machine: machine.name }));
}

function onClick(event: MouseEvent, selection: Signal<Selection>, layout: RoomLayout): void {
  const id = machineAt(event.target);
  if (id === undefined) return;
  const before = selection.peek();
  // A finger has no Ctrl: each touch adds or takes away.
  const isTouch = event instanceof PointerEvent && event.pointerType === "touch";
  if (event.shiftKey) selection.value = extendTo(before, id, layout);
  else if (event.ctrlKey || event.metaKey || isTouch) selection.value = toggle(before, id);
  else selection.value = before.ids.size === 1 && before.ids.has(id) ? toggle(before, id) : selectOnly(id);
}

function onKey(
  event: KeyboardEvent,
  area: HTMLElement | null,
  selection: Signal<Selection>,
  layout: RoomLayout,
): void {
  const id = machineAt(event.target);
  if (id === undefined || !area || event.altKey) return;
  const before = selection.peek();
  const isCommand = event.ctrlKey || event.metaKey;
  const next = nextPlace(event.key, id, area);
  if (next !== undefined) {
    selection.value = event.shiftKey
      ? extendTo({ ...before, anchor: before.anchor ?? id }, next, layout)
      : moveTo(before, next);
    focusSeat(area, next);
  } else if (event.key === " ") {
    selection.value = event.shiftKey ? toggleAll(before, rowOf(layout, id)) : toggle(before, id);
  } else if (event.key === "a" && isCommand)
    selection.value = { ...before, ids: new Set(readingOrder(layout)) };
  else if (event.key === "Escape") selection.value = { ...nothingSelected, active: id };
  else if (event.key === "Enter") open(layout, id);
  else return;
  event.preventDefault();
}

function focusSeat(area: HTMLElement, id: string): void {
  const seat = area.querySelector<HTMLElement>(`[data-machine="${CSS.escape(id)}"]`);
  seat?.focus();
}

function rowOf({ rows, elsewhere }: RoomLayout, id: string): string[] {
  const ids = rows.map(({ seats }) => seats.flatMap(({ machine }) => (machine ? [machine.id] : [])));
  return ids.find((row) => row.includes(id)) ?? elsewhere.map((machine) => machine.id);
}

import { phases } from "../../domain/machine.ts";
import { connection, groups, machines } from "../live.ts";
import type { GroupLive, MachineLive } from "../live-state.ts";
import { byName } from "../parts/format.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { LockIcon } from "../parts/icons.tsx";
import { PhaseMark, phaseTones } from "../parts/phase-mark.tsx";
import { pathTo } from "../routes.ts";
import { say } from "../words.ts";
import { countPhases, layoutOf, noPlan } from "./room-layout.ts";
import { RoomTabs } from "./room-tabs.tsx";
import { RunningOperations } from "./running-operations.tsx";
import { WaitingMachines } from "./waiting-machines.tsx";
import "./rooms.css";

/** All rooms at a glance. */
export function RoomsView() {
  const byGroup = Map.groupBy(machines.value.values(), ({ group }) => group);
  const rooms = [...groups.value.values()].toSorted((left, right) => byName(left.name, right.name));
  const homeless = (byGroup.get(null) ?? []).filter(({ phase }) => phase !== "discovered");
  if (connection.value.state === "connecting" && rooms.length === 0) return <p>{say("page.loading")}</p>;
  return (
    <>
      <RoomTabs />
      <h1>{say("rooms.title")}</h1>
      <RunningOperations />
      <WaitingMachines />
      {rooms.length === 0 && <p class="empty">{say("rooms.none")}</p>}
      <ul class="room-cards">
        {rooms.map((group) => (
          <li key={group.name}>
            <RoomCard group={group} members={byGroup.get(group.name) ?? []} />
          </li>
        ))}
      </ul>
      {homeless.length > 0 && <Homeless machines={homeless} />}
    </>
  );
}

function RoomCard({ group, members }: { group: GroupLive; members: readonly MachineLive[] }) {
  return (
    <a class="room-card" href={pathTo({ view: "room", room: group.name })}>
      <span class="room-card-head">
        <b>
          <ForeignText text={group.name} limit={63} />
        </b>
        <span>{say("machines.count", { count: members.length })}</span>
      </span>
      {group.description !== "" && (
        <span class="hint">
          <ForeignText text={group.description} limit={100} />
        </span>
      )}
      {group.exam && (
        <span class="room-card-exam">
          <LockIcon />
          <ForeignText text={say("exam.underWay", { role: group.exam.role })} limit={60} />
        </span>
      )}
      <SmallPlan group={group} members={members} />
      <span class="room-card-phases">
        {countPhases(members, phases).map(([phase, count]) => (
          <span key={phase}>
            <b>{count}</b> <PhaseMark phase={phase} />
          </span>
        ))}
      </span>
    </a>
  );
}

/** The seats as small squares, for the shape of the room; the numbers below say the same in words. */
function SmallPlan({ group, members }: { group: GroupLive; members: readonly MachineLive[] }) {
  const { rows, aisles, elsewhere } = layoutOf(group.plan, members);
  const perRow = Math.max(aisles.length, 12);
  const places = [
    ...rows.flatMap(({ row, seats }) =>
      seats.map(({ column, machine }) => ({ x: column - 1, y: row - 1, machine })),
    ),
    ...elsewhere.map((machine, index) => ({
      x: index % perRow,
      y: rows.length + Math.floor(index / perRow) + (rows.length > 0 ? 0.5 : 0),
      machine,
    })),
  ];
  if (places.length === 0) return null;
  const width = Math.max(...places.map(({ x }) => x)) + 1;
  const height = Math.max(...places.map(({ y }) => y)) + 1;
  return (
    <svg
      class="small-plan"
      viewBox={`0 0 ${width * 14} ${height * 14}`}
      style={{ maxWidth: `${width * 1.5}rem` }}
      aria-hidden="true"
    >
      {places.map(({ x, y, machine }) => (
        <rect
          x={x * 14 + 1}
          y={y * 14 + 1}
          width="12"
          height="12"
          rx="2"
          class={machine ? `small-seat tone-${phaseTones[machine.phase]}` : "small-seat is-empty"}
        />
      ))}
    </svg>
  );
}

function Homeless({ machines: homeless }: { machines: readonly MachineLive[] }) {
  return (
    <section>
      <h2>{say("rooms.without")}</h2>
      <ul class="homeless">
        {noPlan(homeless).elsewhere.map(({ id, name, phase }) => (
          <li key={id}>
            <a href={pathTo({ view: "machine", machine: name })}>
              <ForeignText text={name} limit={63} />
            </a>{" "}
            <PhaseMark phase={phase} />
          </li>
        ))}
      </ul>
    </section>
  );
}

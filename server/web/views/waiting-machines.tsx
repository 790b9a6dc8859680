import { useState } from "preact/hooks";
import { api, at } from "../api.ts";
import type { Machine } from "../api-types.ts";
import { machines } from "../live.ts";
import type { MachineLive } from "../live-state.ts";
import { announce } from "../parts/announcer.tsx";
import { byName } from "../parts/format.ts";
import { ForeignText } from "../parts/foreign-text.tsx";
import { useAction, useLoaded } from "../parts/load.ts";
import { ProblemMessage } from "../parts/problem-message.tsx";
import { Table } from "../parts/table.tsx";
import { ago } from "../parts/text.ts";
import { visibleText } from "../parts/visible-text.ts";
import { isLimited, mayOperate } from "../session.ts";
import { say } from "../words.ts";
import { hostSetOf } from "./host-set.ts";
import { proposeName } from "./propose-name.ts";
import "./waiting-machines.css";

/** More of them are not looked at one by one: `boot machine accept` takes whole sets. */
const shown = 20;

/** Machines that were met and that nobody has accepted. @param room of this room alone; undefined: all of them */
export function WaitingMachines({ room }: { room?: string }) {
  const all = [...machines.value.values()];
  const waiting = all
    .filter(({ phase, group }) => phase === "discovered" && (room === undefined || group === room))
    .toSorted((left, right) => byName(left.name, right.name));
  if (waiting.length === 0) return null;
  const listed = waiting.slice(0, shown);
  return (
    <section class="waiting">
      <h2>
        {say("waiting.title")} <span class="hint">{say("machines.count", { count: waiting.length })}</span>
      </h2>
      <p class="hint">{say("waiting.hint")}</p>
      <WaitingTable waiting={listed} names={proposals(listed, all)} />
    </section>
  );
}

/** By id: a name for each, none twice. */
function proposals(
  waiting: readonly MachineLive[],
  all: readonly MachineLive[],
): ReadonlyMap<string, string> {
  const taken = all.map(({ name }) => name);
  return new Map(
    waiting.map(({ id, name }) => {
      const proposed = proposeName(taken) ?? name;
      taken.push(proposed);
      return [id, proposed];
    }),
  );
}

function WaitingTable({
  waiting,
  names,
}: {
  waiting: readonly MachineLive[];
  names: ReadonlyMap<string, string>;
}) {
  const hostSet = hostSetOf(waiting);
  const details = useLoaded(() => api.all<Machine>("/machines", { machines: hostSet }), [hostSet]);
  const detailOf = (id: string) => details.value?.find((machine) => machine.id === id);
  return (
    <>
      <ProblemMessage problem={details.problem} />
      <Table
        caption={say("waiting.title")}
        items={waiting}
        keyOf={({ id }) => id}
        columns={[
          {
            title: say("waiting.mac"),
            cell: ({ id, name }) => (
              <span class="mono">
                <ForeignText text={detailOf(id)?.macs[0] ?? name} limit={40} />
              </span>
            ),
          },
          {
            title: say("waiting.model"),
            isWide: true,
            cell: ({ id }) => <ForeignText text={modelOf(detailOf(id))} limit={60} />,
          },
          { title: say("waiting.seen"), isWide: true, cell: ({ lastSeenAt }) => <Ago iso={lastSeenAt} /> },
          ...(mayOperate.value
            ? [
                {
                  title: say("waiting.name"),
                  cell: (machine: MachineLive) => (
                    <Accept machine={machine} proposed={names.get(machine.id) ?? machine.name} />
                  ),
                },
              ]
            : []),
        ]}
      />
    </>
  );
}

/** A component of its own, so that the rest is not drawn anew every second. */
function Ago({ iso }: { iso: string | null }) {
  return <>{ago(iso)}</>;
}

const modelOf = (machine: Machine | undefined): string =>
  [machine?.manufacturer, machine?.product].filter((part) => typeof part === "string").join(" ") || "–";

function Accept({ machine: { id, name }, proposed }: { machine: MachineLive; proposed: string }) {
  const [typed, setTyped] = useState<string>();
  const { isBusy, problem, run } = useAction();
  const wanted = typed ?? proposed;
  const machine = visibleText(name, 63);
  const accept = () =>
    run(async () => {
      // Names are unique in the whole lab: a token of some rooms gives none.
      await api.post(at`/machines/${id}/accept`, isLimited.value || wanted === name ? {} : { name: wanted });
      announce(say("waiting.accepted", { machine: visibleText(isLimited.value ? name : wanted, 63) }));
    });
  return (
    <form
      class="accept"
      onSubmit={(event) => {
        event.preventDefault();
        void accept();
      }}
    >
      {!isLimited.value && (
        <input
          value={wanted}
          maxLength={63}
          required
          spellcheck={false}
          autocomplete="off"
          aria-label={say("waiting.nameOf", { machine })}
          onInput={({ currentTarget }) => setTyped(currentTarget.value)}
        />
      )}
      <button
        type="submit"
        class="button is-small"
        disabled={isBusy}
        aria-label={say("waiting.acceptOf", { machine })}
      >
        {say("waiting.accept")}
      </button>
      <ProblemMessage problem={problem} />
    </form>
  );
}

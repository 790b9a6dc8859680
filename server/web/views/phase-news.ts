import { useEffect, useRef } from "preact/hooks";
import { type Phase, phases } from "../../domain/machine.ts";
import { announce } from "../parts/announcer.tsx";
import { visibleText } from "../parts/visible-text.ts";
import { keyOf, say } from "../words.ts";
import { countPhases } from "./room-layout.ts";

/** What happens within this is told in one sentence, ms: a room that boots would be talked about without end. */
const gatherMs = 2000;

interface Told {
  readonly id: string;
  readonly name: string;
  readonly phase: Phase;
}

/** Tells those who do not see the seats which of them changed. */
export function usePhaseNews(members: readonly Told[]): void {
  const known = useRef<ReadonlyMap<string, Phase> | undefined>(undefined);
  const changed = useRef(new Map<string, Told>());
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => {
    const before = known.current;
    known.current = new Map(members.map(({ id, phase }) => [id, phase]));
    // Those that are there when the page opens are no news.
    if (!before || before.size === 0) return;
    for (const machine of members)
      if (before.has(machine.id) && before.get(machine.id) !== machine.phase)
        changed.current.set(machine.id, machine);
    if (changed.current.size === 0 || timer.current !== undefined) return;
    timer.current = setTimeout(() => {
      timer.current = undefined;
      announce(newsOf([...changed.current.values()]));
      changed.current.clear();
    }, gatherMs);
  }, [members]);
  useEffect(() => () => clearTimeout(timer.current), []);
}

function newsOf(changed: readonly Told[]): string {
  const [only] = changed;
  if (only && changed.length === 1)
    return say("room.changed", {
      machine: visibleText(only.name, 63),
      phase: say(keyOf("phase", only.phase)),
    });
  const summary = countPhases(changed, phases)
    .map(([phase, count]) => `${count} ${say(keyOf("phase", phase))}`)
    .join(", ");
  return say("room.changedMany", { count: changed.length, summary });
}

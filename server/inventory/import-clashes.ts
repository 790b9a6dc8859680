import type { Machine } from "../domain/machine.ts";
import type { ImportLine } from "./import-plan.ts";
import type { ListProblem } from "./lists/listed-host.ts";

/** Who has something in the room as it would be: a line of the list, or a machine that the list does not touch. */
interface Holder {
  readonly line: number | undefined;
  readonly machine: Machine;
  readonly before: Machine | undefined;
}

/** What only one machine may have, as keys. */
const single = {
  name: ({ name }: Machine) => [name],
  MAC: ({ macs }: Machine) => macs,
  address: ({ address }: Machine) => (address === undefined ? [] : [address]),
  seat: ({ group, seat }: Machine) =>
    group === undefined || seat === undefined ? [] : [`${seat} of ${group}`],
} as const;

/** Each line whose machine would have what another one has, told at both. */
export function clashesOf(lines: readonly ImportLine[], machines: readonly Machine[]): ListProblem[] {
  const problems: ListProblem[] = [];
  const listed = lines.flatMap(({ line, next, before }): Holder[] =>
    next ? [{ line, machine: next, before }] : [],
  );
  const linesById = Map.groupBy(listed, ({ machine }) => machine.id);
  for (const twice of linesById.values())
    if (twice.length > 1)
      for (const { line, before, machine } of twice)
        problems.push({
          line: line ?? 0,
          problem: `${(before ?? machine).name} is in the list more than once: lines ${twice.map(({ line }) => line).join(", ")}`,
        });
  // The first of a machine's lines stands for it: that it is there twice is told already.
  const holders: readonly Holder[] = [
    ...[...linesById.values()].flatMap(([first]) => (first ? [first] : [])),
    ...machines
      .filter(({ id }) => !linesById.has(id))
      .map((machine): Holder => ({ line: undefined, machine, before: machine })),
  ];
  for (const what of Object.keys(single) as (keyof typeof single)[])
    problems.push(...clashesIn(holders, what));
  return problems;
}

function clashesIn(holders: readonly Holder[], what: keyof typeof single): ListProblem[] {
  const keysOf = (machine: Machine | undefined): readonly string[] => (machine ? single[what](machine) : []);
  const byKey = new Map<string, { shown: string; holders: Holder[] }>();
  for (const holder of holders)
    for (const shown of keysOf(holder.machine)) {
      const entry = byKey.get(shown.toLowerCase()) ?? { shown, holders: [] };
      entry.holders.push(holder);
      byKey.set(shown.toLowerCase(), entry);
    }
  const problems: ListProblem[] = [];
  for (const { shown, holders } of byKey.values()) {
    if (holders.length < 2) continue;
    for (const holder of holders) {
      // Two machines that shared a seat before the list came are not the list's fault.
      if (holder.line === undefined || keysOf(holder.before).includes(shown)) continue;
      const others = holders
        .filter((other) => other !== holder)
        .map(({ line, machine }) =>
          line === undefined ? `the machine ${machine.name} (${machine.macs[0]})` : `line ${line}`,
        );
      problems.push({
        line: holder.line,
        problem: `the ${what} ${shown} is that of ${others.slice(0, 4).join(", ")} too`,
      });
    }
  }
  return problems;
}

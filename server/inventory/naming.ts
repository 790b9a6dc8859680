import type { Clock } from "../domain/capabilities.ts";
import { InvalidRequest, NamesRefused } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { isMachineName, type Machine, naturalKey } from "../domain/machine.ts";
import { advance } from "../domain/machine-lifecycle.ts";
import { nameBy, type NamingPattern, readNamingPattern, tellsApart } from "../domain/naming-pattern.ts";
import type { HardwareRepository } from "../store/hardware.ts";
import type { MachineRepository } from "../store/machines.ts";

export interface NamingRequest {
  readonly machines: readonly Machine[];
  /** Undefined: they keep the names that they have. */
  readonly pattern: string | undefined;
  /** {n} of the first. */
  readonly start: number;
}

/** One machine that would be accepted. */
export interface NamingLine {
  readonly machine: Machine;
  /** Undefined: it lacks a fact that the pattern asks for. */
  readonly name: string | undefined;
  /** Why it can't have it. */
  readonly problem: string | undefined;
}

export interface NamingDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly machines: MachineRepository;
  readonly hardware: Pick<HardwareRepository, "find">;
  readonly settleRole: (machine: Machine) => Promise<Machine>;
}

/** Many machines accepted at once, with names by a rule: all or none. */
export function createNaming({ clock, record, machines, hardware, settleRole }: NamingDeps) {
  /**
   * In the order in which they were met first, so that whoever switches a room on seat by seat gets its numbers in that order.
   * @throws InvalidRequest for a pattern that is none
   */
  function plan({ machines: chosen, pattern: text, start }: NamingRequest): NamingLine[] {
    const pattern = text === undefined ? undefined : readPattern(text, chosen.length);
    const ordered = chosen
      .map((machine) => ({ machine, key: naturalKey(machine.name) }))
      .sort(
        (left, right) => left.machine.createdAt - right.machine.createdAt || (left.key < right.key ? -1 : 1),
      );
    const named = ordered.map(({ machine }, index) => {
      if (!pattern) return { machine, name: machine.name };
      const made = nameBy(pattern, factsOf(machine), start + index);
      return "name" in made
        ? { machine, name: made.name }
        : { machine, name: undefined, missing: made.missing };
    });
    const among = Map.groupBy(named, ({ name }) => name);
    const chosenIds = new Set(chosen.map(({ id }) => id));
    const others = new Map(
      machines
        .all()
        .flatMap((machine) => (chosenIds.has(machine.id) ? [] : [[machine.name, machine] as const])),
    );
    return named.map((line) => ({ machine: line.machine, name: line.name, problem: problemOf(line) }));

    function problemOf({ name, missing }: { name: string | undefined; missing?: readonly string[] }) {
      if (name === undefined) return `it has no ${missing?.join(" and no ")}`;
      if (!isMachineName(name))
        return `${JSON.stringify(name.slice(0, 70))} is no host name: letters, digits and inner hyphens, at most 63`;
      const taken = others.get(name);
      if (taken) return `${name} is the name of another machine (${taken.macs[0]})`;
      const same = among.get(name) ?? [];
      return same.length > 1 ? `${name} would be the name of ${same.length} machines` : undefined;
    }
  }

  function factsOf({ id, seat, group, serial, macs }: Machine) {
    const heard = hardware.find(id)?.nics.find(({ neighbour }) => neighbour !== undefined)?.neighbour;
    return {
      seat,
      group,
      serial,
      mac6: macs[0]?.replaceAll(":", "").slice(-6),
      switch: heard?.systemName ?? heard?.chassisId,
      port: heard?.portId,
    };
  }

  return {
    plan,

    /** @throws NamesRefused with all that is wrong; then nothing was accepted */
    async accept(request: NamingRequest, actor: string): Promise<NamingLine[]> {
      let lines: NamingLine[] = [];
      const accepted: { before: Machine; next: Machine }[] = [];
      await machines.saveAll(() => {
        accepted.length = 0;
        lines = plan({ ...request, machines: request.machines.flatMap(({ id }) => machines.find(id) ?? []) });
        refuse(lines);
        for (const { machine: before, name } of lines)
          accepted.push({
            before,
            next: {
              ...before,
              name: name ?? before.name,
              acceptedAt: before.acceptedAt ?? clock.now(),
              phase: advance(before.phase, "machine.accepted") ?? before.phase,
            },
          });
        return accepted.map(({ next }) => next);
      });
      for (const { before, next } of accepted) {
        record({
          type: "machine.accepted",
          machineId: next.id,
          actor,
          message: `${next.name} accepted${next.name === before.name ? "" : `, until now ${before.name}`}`,
          data: {},
        });
        if (next.phase !== before.phase)
          record({
            type: "machine.phase",
            machineId: next.id,
            message: `${next.name}: ${before.phase} -> ${next.phase}`,
            data: { from: before.phase, to: next.phase, because: "machine.accepted" },
          });
      }
      await Promise.all(accepted.map(({ next }) => settleRole(next)));
      return lines;
    },
  };
}

/** Problems that an error tells in its own sentence. */
const toldProblems = 10;

function refuse(lines: readonly NamingLine[]): void {
  const problems = lines.flatMap(({ machine, problem }) =>
    problem === undefined ? [] : [`${machine.name}: ${problem}`],
  );
  if (problems.length > 0)
    throw NamesRefused({ problems: problems.slice(0, toldProblems), count: problems.length });
}

function readPattern(text: string, count: number): NamingPattern {
  const pattern = readNamingPattern(text);
  const problem =
    typeof pattern === "string"
      ? pattern
      : count > 1 && !tellsApart(pattern)
        ? `it would give ${count} machines one name`
        : undefined;
  if (problem === undefined && typeof pattern !== "string") return pattern;
  throw InvalidRequest({
    problem: `the name ${JSON.stringify(text.slice(0, 60))}: ${problem}`,
    advice: "Write it like 'pc{n:02}' or 'lab225-{seat}' (docs/inventory.md).",
  });
}

import { createDeclaredObjects, type DeclaredObjects } from "../../server/cluster/declared-objects.ts";
import type { Declared, DeclaredObject } from "../../server/domain/declared-object.ts";
import { describeObject } from "../../server/domain/declared-object.ts";
import { KubernetesRefused, KubernetesUnreachable } from "../../server/domain/error-catalogue.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { ManualClock } from "./manual-clock.ts";

export type Objects = readonly (readonly [kind: string, name: string, more?: object])[];

export const declare = (objects: Objects, problems: Declared["problems"] = []): Declared => ({
  documents: objects.map(([kind, name, more], index) => {
    const object = { apiVersion: "v1", kind, metadata: { name }, ...more };
    return {
      file: "students.yaml",
      place: `#${index + 1}`,
      line: index * 10 + 1,
      digest: JSON.stringify(object),
      object,
    };
  }),
  problems,
});

/** Declared objects before an API server that takes all but what it has a fault for. */
export function createLab() {
  const clock = new ManualClock();
  const events: NewEvent[] = [];
  const lab = {
    clock,
    events,
    declared: declare([]),
    /** What was applied since it was last asked for. */
    applied: [] as string[],
    faults: new Map<string, Error>(),
    /** Called with each object that is applied. */
    onApply: (_object: DeclaredObject): void | Promise<void> => undefined,
    begun: 0,
    objects: undefined as unknown as DeclaredObjects,
    make(): void {
      lab.objects = createDeclaredObjects({
        clock,
        log: silentLog,
        record: (event) => void events.push(event),
        random: () => 0.5,
        read: async () => lab.declared,
        begin() {
          lab.begun++;
          return async (object) => {
            await lab.onApply(object);
            const fault = lab.faults.get(object.metadata.name);
            if (fault) throw fault;
            lab.applied.push(describeObject(object));
          };
        },
      });
    },
    /** Passes until nothing is due any more at this time. @returns what was applied */
    async pass(generation = 1, isUp = true): Promise<string[]> {
      for (let round = 0; round < 3; round++) {
        lab.objects.follow({ generation, setUps: 1, isUp });
        await lab.objects.settled();
      }
      return lab.applied.splice(0);
    },
    /** Passes as the reconciler has them, for so long. */
    async passFor(seconds: number, generation = 1): Promise<string[]> {
      const all: string[] = [];
      for (let second = 0; second < seconds; second += 2) {
        clock.advanceMs(2000);
        all.push(...(await lab.pass(generation)));
      }
      return all;
    },
    refusals: () =>
      events
        .splice(0)
        .filter(({ type }) => type === "cluster.object-refused")
        .map(({ message }) => message),
  };
  lab.make();
  return lab;
}

export const refused = (reason: string) => KubernetesRefused({ what: "change it", status: 422, reason });
export const silent = KubernetesUnreachable({ address: "10.0.0.11:6443", reason: "ECONNREFUSED" });
export const counts = (lab: ReturnType<typeof createLab>) => {
  const { applied, waiting, refused: wrong } = lab.objects.status();
  return [applied, waiting, wrong.length];
};

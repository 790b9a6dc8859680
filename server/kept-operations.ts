/** Long work on machines, put together: what its steps look at and whom they order. */
import { createHash } from "node:crypto";
import type { BootService } from "./boot/boot-service.ts";
import type { BootTracker } from "./boot/tracker.ts";
import type { ClusterService } from "./cluster/cluster-service.ts";
import type { AssignedTarget } from "./domain/assignment.ts";
import type { Boot } from "./domain/boot.ts";
import type { Clock, Ids, Log } from "./domain/capabilities.ts";
import type { Claim } from "./domain/claim.ts";
import { PowerNotConfigured } from "./domain/error-catalogue.ts";
import { RollcallError } from "./domain/errors.ts";
import type { RecordEvent } from "./domain/event.ts";
import type { Machine } from "./domain/machine.ts";
import type { Power } from "./domain/power.ts";
import { documentKinds, type Role, type ServedKind, waitsForPeople } from "./domain/role.ts";
import type { Exams } from "./inventory/exams.ts";
import { type BootLimits, createBootSteps } from "./operations/boot-steps.ts";
import { createOperations, type Operations } from "./operations/operations.ts";
import type { Expected } from "./operations/proof.ts";
import { type ClusterRemoval, createCommonSteps, createResetSteps } from "./operations/reset-steps.ts";
import { createRunner, type RunnerLimits } from "./operations/runner.ts";
import { createKnownStatus, type KnownStatus } from "./power/known-status.ts";
import type { Store } from "./store/open-store.ts";

export interface KeptOperationsDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly store: Store;
  readonly boots: BootService;
  readonly tracker: BootTracker;
  readonly roles: () => { readonly roles: ReadonlyMap<string, Role> };
  readonly publicUrl: () => string;
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
  readonly exams: Pick<Exams, "stopping">;
  /** Undefined: no machine has a method. */
  readonly power?: Power | undefined;
  /** Other limits, for tests. */
  readonly operationLimits?: (RunnerLimits & BootLimits) | undefined;
}

export interface KeptOperations {
  readonly operations: Operations;
  readonly powerStatus: KnownStatus;
  readonly keepsStudents: boolean;
  /** SHA-256 of a document that a machine in an operation was served, its secrets masked; undefined for any other machine. */
  digestServed(machine: Machine, kind: ServedKind): string | undefined;
  start(): void;
  stop(): Promise<void>;
}

const withoutPower: Power = {
  act: ({ name }) => Promise.reject(PowerNotConfigured({ machine: name })),
  status: ({ name }) => Promise.reject(PowerNotConfigured({ machine: name })),
};

export function keepOperations(deps: KeptOperationsDeps): KeptOperations {
  const { clock, store, boots, tracker, roles, cluster } = deps;
  const powerStatus = createKnownStatus({
    clock,
    power: deps.power ?? withoutPower,
    settingsOf: ({ id, name, group }) => {
      const { settingsOf, boardsOf } = store.machinePower;
      return JSON.stringify(settingsOf(id) ?? [name, group === undefined ? null : boardsOf(group)]);
    },
  });
  const power = powerStatus.orders;
  const bootOf = (machineId: string): Boot | undefined =>
    tracker.current(machineId) ?? store.boots.ofMachine(machineId, 1)[0];
  const nodeOf = (machineId: string) => cluster?.node(machineId);
  const roleOf = (target: AssignedTarget) =>
    target.kind === "role" ? roles().roles.get(target.role) : undefined;
  const preview = (machine: Machine, kind: ServedKind, target: AssignedTarget): string | undefined => {
    try {
      return boots.preview(machine, kind, deps.publicUrl(), target);
    } catch (error) {
      // A role that can't be made now gives nothing that could be the same.
      if (error instanceof RollcallError) return undefined;
      throw error;
    }
  };
  /** Rendered for nobody: the same at the time when it is served and when it is compared. */
  function digestOf(machine: Machine, kind: ServedKind, target: AssignedTarget): string | undefined {
    const text = preview(machine, kind, target);
    return text === undefined ? undefined : createHash("sha256").update(text).digest("hex");
  }
  function expected(machine: Machine, claim: Claim | undefined): Expected {
    const target = claim?.target ?? boots.select(machine).target;
    const role = roleOf(target);
    const documents = documentKinds.flatMap((kind) => {
      const digest = kind === "ipxe" ? undefined : digestOf(machine, kind, target);
      return digest === undefined ? [] : [[kind, digest] as const];
    });
    const script = preview(machine, "ipxe", target) ?? "";
    return {
      image:
        role?.boot === "image" && role.image !== undefined ? store.images.findCurrent(role.image) : undefined,
      documents: Object.fromEntries(documents),
      diskRoots: script.match(/(?<=\s)root=(?:\/dev\/|(?:PART)?(?:UUID|LABEL)=)\S*/g) ?? [],
    };
  }

  const shared = { clock, bootOf, nodeOf };
  const removal: ClusterRemoval | undefined = cluster && {
    name: cluster.cluster.name,
    drain: (machine, by, mayEnd) => cluster.resetNode(machine, by, mayEnd),
    destroy: (by) => cluster.reset(cluster.cluster.name, by),
  };
  const resetDeps = {
    ...shared,
    students: cluster?.students,
    cluster: removal,
    claimOf: store.claims.ofMachine,
    revokeClaim: store.claims.revoke,
    expected,
    servesSince: clock.now(),
  };
  const runner = createRunner({
    ...deps,
    random: Math.random,
    announce: store.events.announce,
    operations: store.operations,
    machineOf: store.machines.find,
    refusal(operation, { machineId, name }) {
      const own = machineId === undefined ? operation.machines.map((one) => one.machineId) : [machineId];
      // The end of the cluster touches all of its nodes, whoever was named.
      const nodes = name === "cluster" ? (cluster?.nodes() ?? []).map((node) => node.machineId) : [];
      const machines = [...own, ...nodes].flatMap((id) => store.machines.find(id) ?? []);
      return deps.exams.stopping(operation, machines);
    },
    limits: deps.operationLimits,
    steps: {
      common: createCommonSteps(resetDeps),
      machine: {
        ...createResetSteps(resetDeps),
        ...createBootSteps({
          ...shared,
          power,
          select: boots.select,
          waitsForPeople: (machine) => {
            const role = roleOf(boots.select(machine).target);
            return role !== undefined && waitsForPeople(role);
          },
          limits: deps.operationLimits,
          markLost: (machineId) => tracker.advance(machineId, "boot.timed-out"),
        }),
      },
    },
  });
  const operations = createOperations({ ...deps, operations: store.operations, runner });
  let unsubscribe = () => {};

  return {
    operations,
    powerStatus,
    keepsStudents: cluster?.students !== undefined,
    digestServed(machine, kind) {
      if (!operations.isAtWorkOn(machine.id)) return undefined;
      return digestOf(
        machine,
        kind,
        store.claims.ofMachine(machine.id)?.target ?? boots.select(machine).target,
      );
    },
    start() {
      unsubscribe = store.events.subscribe(({ machineId, type }) => {
        if (machineId !== undefined && !type.startsWith("operation.")) operations.nudge(machineId);
      });
      operations.resume();
    },
    async stop() {
      unsubscribe();
      await operations.stop();
    },
  };
}

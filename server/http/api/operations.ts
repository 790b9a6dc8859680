import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import { describeTarget } from "../../domain/assignment.ts";
import {
  ClusterNameNotConfirmed,
  LastMaster,
  NoCluster,
  OperationNotFound,
  StudentsNotKept,
} from "../../domain/error-catalogue.ts";
import { RollcallError } from "../../domain/errors.ts";
import type { Machine } from "../../domain/machine.ts";
import {
  type Operation,
  type OperationOrder,
  type OperationStep,
  planSteps,
  verdictOf,
} from "../../domain/operation.ts";
import { powerActions } from "../../domain/power.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { Assigning, Within } from "../../inventory/assigning.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Operations } from "../../operations/operations.ts";
import { type KnownStatus, statusLimitMs } from "../../power/known-status.ts";
import type { PowerSettingsService } from "../../power/power-settings.ts";
import type { OperationPosition } from "../../store/operations.ts";
import { operators, readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { askedMachines } from "./asked-machines.ts";
import { powerView } from "./machine-power.ts";
import { isoTime } from "./views.ts";

export interface OperationApiDeps {
  readonly operations: Operations;
  readonly powerStatus: Pick<KnownStatus, "of">;
  readonly keepsStudents: boolean;
  readonly assigning: Assigning;
  readonly exams: Exams;
  readonly inventory: Inventory;
  readonly boots: BootService;
  readonly powerSettings: PowerSettingsService;
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
}

const machines = Type.String({ minLength: 1, maxLength: 4000, description: "host set, e.g. s[4-9],lab225" });
const wait = Type.Boolean({ default: false, description: "answer when the operation has ended" });
const dryRun = Type.Boolean({ default: false, description: "only tell what would be done" });
const resetBody = Type.Object(
  {
    machines,
    students: Type.Boolean({ default: false, description: "all students and their objects go too" }),
    destroyCluster: Type.Optional(
      Type.String({ maxLength: 253, description: "the cluster's name: all of it goes back to nothing" }),
    ),
    wait,
    dryRun,
  },
  { additionalProperties: false },
);
const powerBody = Type.Object(
  { machines, action: Type.Union(powerActions.map((action) => Type.Literal(action))), wait },
  { additionalProperties: false },
);
const powerQuery = Type.Object({ machines }, { additionalProperties: false });
const listQuery = Type.Object(
  {
    limit: Type.Integer({ minimum: 1, maximum: 200, default: 50, description: "entries per page" }),
    state: Type.Optional(Type.Literal("running", { description: "only those under way, all of them" })),
    cursor: Type.Optional(
      Type.String({ pattern: "^[0-9]{1,15}-[a-z0-9_-]{1,64}$", description: "`next` of the previous page" }),
    ),
  },
  { additionalProperties: false },
);

const stepView = ({ name, state, startedAt, at, message, code, facts }: OperationStep) => ({
  name,
  state,
  startedAt: isoTime(startedAt),
  at: isoTime(at),
  message: message ?? null,
  code: code ?? null,
  facts,
});

function countsOf(operation: Operation) {
  const counts = { waiting: 0, running: 0, done: 0, failed: 0, skipped: 0 };
  for (const machine of operation.machines) counts[verdictOf(operation, machine)] += 1;
  return counts;
}

/** In a list: without the machines' steps. */
function summaryView(operation: Operation) {
  const { id, order, actor, state, startedAt, endedAt } = operation;
  return {
    id,
    kind: order.kind,
    action: order.action ?? null,
    target: order.target ?? null,
    students: order.students ?? false,
    actor,
    state,
    startedAt: isoTime(startedAt),
    endedAt: isoTime(endedAt),
    counts: countsOf(operation),
  };
}

/** @param seatOf by the id of a machine */
export function operationView(operation: Operation, seatOf: (machineId: string) => string | undefined) {
  return {
    ...summaryView(operation),
    steps: operation.steps.map(stepView),
    machines: operation.machines.map((machine) => ({
      machine: machine.name,
      seat: seatOf(machine.machineId) ?? null,
      state: verdictOf(operation, machine),
      steps: machine.steps.map(stepView),
    })),
  };
}

/** One machine that was not asked in time is told as such, beside those that were. @throws what nobody foresaw */
function statusFailure(error: unknown): { code: string | null; message: string } {
  if (error instanceof RollcallError) return error;
  if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
  const message = `no answer within ${statusLimitMs / 1000} s: ask for fewer machines at once`;
  return { code: null, message };
}

const cursorOf = ({ startedAt, id }: OperationPosition) => `${startedAt}-${id}`;
function positionOf(cursor: string): OperationPosition {
  const dash = cursor.indexOf("-");
  return { startedAt: Number(cursor.slice(0, dash)), id: cursor.slice(dash + 1) };
}

type OperationRequest = Pick<FastifyRequest, "reach"> & { readonly params: { id: string } };

/** Does a caller see it? One of which a machine is elsewhere, or that is a matter of the whole cluster, is as if it were not there. */
export const isSeenOperation = (
  { machines: subjects, order }: Operation,
  { rooms, hasMachine }: Reach,
): boolean =>
  rooms === undefined ||
  (subjects.length > 0 &&
    subjects.every(({ machineId }) => hasMachine(machineId)) &&
    !order.students &&
    order.destroyCluster === undefined);

export function registerOperationApi(app: FastifyInstance, deps: OperationApiDeps): void {
  const { operations, powerStatus, cluster } = deps;
  const tags = ["operations"];
  function view(operation: Operation) {
    const seats = new Map(deps.inventory.all().map(({ id, seat }) => [id, seat]));
    return operationView(operation, (id) => seats.get(id));
  }
  const change = (summary: string, body?: object) => ({
    config: { scopes: operators, rooms: "limited", audit: "own" } as const,
    schema: { summary, tags, ...(body ? { body } : {}) },
  });
  const read = (summary: string, more: object = {}) => ({
    config: { scopes: readers, rooms: "limited" } as const,
    schema: { summary, tags, ...more },
  });

  const machinesOf = (hostSet: string, within: Within) => askedMachines(deps.assigning, hostSet, within);

  /** Machines that a whole cluster's end touches, whoever was named. */
  function nodesOfCluster(): Machine[] {
    const ids = new Set(cluster?.nodes().map(({ machineId }) => machineId));
    return deps.inventory.all().filter(({ id }) => ids.has(id));
  }

  /** @throws OperationNotFound */
  function seen({ params, reach }: OperationRequest): Operation {
    const found = operations.get(params.id);
    if (!isSeenOperation(found, reach)) throw OperationNotFound({ id: params.id });
    return found;
  }

  /** A page of those that the caller sees; what lies between them is not told. */
  function newestSeen(reach: Reach, limit: number, before?: OperationPosition): Operation[] {
    const found: Operation[] = [];
    let from = before;
    while (found.length < limit) {
      const more = operations.newest(limit, from);
      found.push(...more.filter((one) => isSeenOperation(one, reach)));
      from = more.at(-1);
      if (more.length < limit) break;
    }
    return found.slice(0, limit);
  }

  /** What can't go well is refused before anything is touched. @throws StudentsNotKept, ClusterNameNotConfirmed, LastMaster */
  function refuseHopeless(order: OperationOrder, asked: readonly Machine[]): void {
    if (order.students && !deps.keepsStudents) throw StudentsNotKept({});
    if (order.destroyCluster !== undefined) {
      if (!cluster) throw NoCluster({});
      if (order.destroyCluster !== cluster.cluster.name)
        throw ClusterNameNotConfirmed({ name: cluster.cluster.name });
      return;
    }
    const ids = new Set(asked.map(({ id }) => id));
    // Of two resets at once each leaves a master, and both together none.
    const leaving = operations.leavingCluster();
    const masters = (cluster?.nodes() ?? []).filter(
      ({ role, state }) => role === "master" && state === "ready",
    );
    const last = masters.findLast(({ machineId }) => ids.has(machineId));
    if (last && masters.every(({ machineId }) => ids.has(machineId) || leaving.has(machineId)))
      throw LastMaster({ machine: last.name });
  }

  /** Goes on whatever becomes of the request that waits for it. */
  async function answer(
    reply: FastifyReply,
    operation: Operation,
    { isWaited }: { isWaited: boolean },
  ): Promise<FastifyReply> {
    const ended = isWaited ? await operations.ended(operation.id) : undefined;
    const now = ended ?? operations.get(operation.id);
    return reply.code(ended ? 200 : 202).send({ operation: operation.id, ...view(now) });
  }

  app.post<{ Body: Static<typeof resetBody> }>(
    "/resets",
    change("Reset machines: students, cluster, claims, power cycle, proof", resetBody),
    async (request, reply) => {
      const { students, destroyCluster, wait: isWaited } = request.body;
      if (students || destroyCluster !== undefined) request.reach.refuseLimited("cluster");
      const asked = machinesOf(request.body.machines, request.reach.inventory);
      const order = {
        kind: "reset" as const,
        ...(students ? { students } : {}),
        ...(destroyCluster === undefined ? {} : { destroyCluster }),
      };
      const same = operations.findSame(order, asked);
      if (!same) refuseHopeless(order, asked);
      if (request.body.dryRun) {
        const { common, each } = planSteps(order);
        const plan = asked.map((machine) => ({
          machine: machine.name,
          role: describeTarget(deps.boots.select(machine).target),
          power: powerView(deps.powerSettings.of(machine)),
          steps: each,
        }));
        return reply.send({ dryRun: true, steps: common, plan });
      }
      deps.exams.refuse(
        destroyCluster === undefined ? asked : [...asked, ...nodesOfCluster()],
        request.asker,
      );
      return answer(reply, await operations.begin(order, asked, request.actor), { isWaited });
    },
  );

  app.post<{ Body: Static<typeof powerBody> }>(
    "/power",
    change("Switch machines on or off, or power-cycle them", powerBody),
    async (request, reply) => {
      const { action, wait: isWaited } = request.body;
      const asked = machinesOf(request.body.machines, request.reach.inventory);
      // Who is late is switched on in an exam too: the machine boots its role.
      if (action !== "on") deps.exams.refuse(asked, request.asker);
      return answer(reply, await operations.begin({ kind: "power", action }, asked, request.actor), {
        isWaited,
      });
    },
  );

  app.get<{ Querystring: Static<typeof powerQuery> }>(
    "/power",
    read("Which machines are on, as found in the last ten seconds", { querystring: powerQuery }),
    async (request) => {
      const states = machinesOf(request.query.machines, request.reach.inventory).map(async (machine) => {
        try {
          const { method, state, askedAt } = await powerStatus.of(machine);
          return {
            machine: machine.name,
            method,
            state,
            code: null,
            problem: null,
            askedAt: isoTime(askedAt),
          };
        } catch (error) {
          const { code, message } = statusFailure(error);
          return {
            machine: machine.name,
            method: null,
            state: "unknown",
            code,
            problem: message,
            askedAt: null,
          };
        }
      });
      return { items: await Promise.all(states), next: null };
    },
  );

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/operations",
    read("Long work on machines, newest first", { querystring: listQuery }),
    (request) => {
      const { limit, cursor, state } = request.query;
      if (state === "running")
        return {
          items: operations
            .running()
            .filter((one) => isSeenOperation(one, request.reach))
            .toReversed()
            .map(summaryView),
          next: null,
        };
      const found = newestSeen(
        request.reach,
        limit + 1,
        cursor === undefined ? undefined : positionOf(cursor),
      );
      const taken = found.slice(0, limit);
      const last = taken.at(-1);
      return {
        items: taken.map(summaryView),
        next: last !== undefined && found.length > limit ? cursorOf(last) : null,
      };
    },
  );
  app.get<{ Params: { id: string } }>(
    "/operations/:id",
    read("One operation, with the steps of each machine"),
    (request) => view(seen(request)),
  );
  app.post<{ Params: { id: string } }>(
    "/operations/:id/cancel",
    {
      ...change("Begin nothing more; what was ordered goes on by itself"),
      config: { scopes: operators, rooms: "limited" },
    },
    async (request) => view(await operations.cancel(seen(request).id)),
  );
}

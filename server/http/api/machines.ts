import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import type { BootService } from "../../boot/boot-service.ts";
import type { BootTracker } from "../../boot/tracker.ts";
import type { AssignedTarget } from "../../domain/assignment.ts";
import {
  type Driver,
  type DriverChoice,
  driverChoices,
  localBootMethods,
  ramChecks,
  type Preference,
} from "../../domain/boot-preferences.ts";
import { BootNotFound, InvalidRequest } from "../../domain/error-catalogue.ts";
import { RollcallError } from "../../domain/errors.ts";
import { resolveHostSet } from "../../domain/host-set.ts";
import { type Machine, naturalKey } from "../../domain/machine.ts";
import { describeTarget } from "../../domain/assignment.ts";
import { type ServedKind, servedKinds } from "../../domain/role.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { PowerSettingsService } from "../../power/power-settings.ts";
import type { BootPosition, BootRepository } from "../../store/boots.ts";
import { operators, readers } from "../authorization.ts";
import { previewUrl } from "../request-facts.ts";
import { powerView } from "./machine-power.ts";
import { page, pageQuery } from "./paging.ts";
import type { Mac } from "../../net/mac.ts";
import { bootView, explainView, hardwareView, machineView, nodeInBoot } from "./views.ts";

/** Which driver people chose, and the one that the machine gets since it hung in another, where that is left to us. */
export interface DriverInForce extends Preference<DriverChoice> {
  readonly learned: Driver | undefined;
}

export interface MachineApiDeps {
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly boots: BootService;
  readonly tracker: BootTracker;
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
  readonly bootHistory: Pick<BootRepository, "find" | "ofMachine">;
  readonly address: string | undefined;
  readonly driverOf: (machine: Machine) => DriverInForce;
  /** How each machine is switched. */
  readonly powerSettings: PowerSettingsService;
  /** Where machines reach this server, for previews that are asked for on the control socket. */
  readonly publicUrl: () => string;
}

const nullable = (description: string) =>
  Type.Optional(Type.Union([Type.String({ maxLength: 120 }), Type.Null()], { description }));
/** One of these, or null: left to the next in line. */
function choice<T extends string>(values: readonly T[], description: string) {
  const members = [...values.map((value) => Type.Literal(value)), Type.Null()];
  return Type.Optional(Type.Unsafe<T | null>(Type.Union(members, { description })));
}
/** For machines and groups alike. */
export const preferenceFields = {
  localBoot: choice(localBootMethods, "how it gets to its local disk"),
  driver: choice(driverChoices, "network driver of its first-stage program"),
  ramCheck: choice(ramChecks, "ignore: it boots a role that its RAM seems too little for"),
};
const machineBody = {
  name: Type.Optional(Type.String({ maxLength: 63, description: "host name label, unique" })),
  macs: Type.Optional(
    Type.Array(Type.String({ maxLength: 40 }), {
      maxItems: 16,
      description: "the first is the one it boots from",
    }),
  ),
  group: nullable("room or other group; made if it is new"),
  seat: nullable("place in the room"),
  address: nullable("reserved IPv4 address"),
  labels: Type.Optional(
    Type.Record(Type.String(), Type.String({ maxLength: 120 }), {
      propertyNames: { pattern: "^[A-Za-z0-9._/-]{1,63}$" },
    }),
  ),
  ...preferenceFields,
};
const addBody = Type.Object(machineBody, { additionalProperties: false });
const acceptBody = Type.Object({ name: machineBody.name }, { additionalProperties: false });
const listQuery = Type.Object(
  {
    ...pageQuery,
    machines: Type.Optional(Type.String({ maxLength: 4000, description: "host set" })),
  },
  { additionalProperties: false },
);
const bootsQuery = Type.Object(
  {
    limit: pageQuery.limit,
    cursor: Type.Optional(
      Type.String({ pattern: "^[0-9]{1,15}-[a-z0-9_-]{1,64}$", description: "`next` of the previous page" }),
    ),
  },
  { additionalProperties: false },
);
const machineParams = {
  params: Type.Object({ machine: Type.String({ maxLength: 200, description: "name, MAC or id" }) }),
};
type Params = { Params: { machine: string } };
type MachineRequest = Pick<FastifyRequest, "reach" | "asker"> & { readonly params: { machine: string } };

const cursorOf = ({ startedAt, id }: BootPosition) => `${startedAt}-${id}`;
function positionOf(cursor: string): BootPosition {
  const dash = cursor.indexOf("-");
  return { startedAt: Number(cursor.slice(0, dash)), id: cursor.slice(dash + 1) };
}

export function registerMachineApi(app: FastifyInstance, deps: MachineApiDeps): void {
  const { inventory, boots, tracker, bootHistory, exams } = deps;
  const seen = ({ reach, params }: MachineRequest): Machine => reach.inventory.get(params.machine);
  /** One that is to be changed. */
  const changed = (request: MachineRequest): Machine => {
    const machine = seen(request);
    exams.refuse([machine], request.asker);
    return machine;
  };
  const view = (machine: Machine) => ({
    ...plainView(machine),
    /** Where it was last seen; `address` is its reservation. */
    currentAddress: boots.addressOf(machine) ?? null,
    /** What is in force, and who said so: this machine, its group, its role or the config. */
    power: powerView(deps.powerSettings.of(machine)),
    bootsBy: { localBoot: boots.disk.methodOf(machine), driver: driverView(deps.driverOf(machine)) },
  });
  const driverView = (driver: DriverInForce) => ({ ...driver, learned: driver.learned ?? null });
  const plainView = (machine: Machine) => {
    const selection = boots.select(machine);
    return {
      ...machineView(machine, selection, tracker.current(machine.id), tracker.progress(machine.id)),
      roleProblem: roleProblem(selection.target),
      cluster: clusterPlace(machine),
    };
  };
  const clusterPlace = ({ id }: Machine) => {
    const node = nodeInBoot(deps.cluster?.node(id), tracker.current(id));
    return node ? { state: node.state, problem: node.problem ?? null } : null;
  };
  /** Why its next boot would fail on the role itself: it is broken, gone, or without its image; null: it would not. */
  const roleProblem = (target: AssignedTarget): string | null => {
    try {
      boots.check(target);
      return null;
    } catch (error) {
      if (error instanceof RollcallError) return error.message;
      throw error;
    }
  };
  const read = (summary: string) => ({
    config: { scopes: readers, rooms: "limited" } as const,
    schema: { summary, tags: ["machines"], ...machineParams },
  });
  const change = (summary: string) => ({
    config: { scopes: operators, rooms: "limited", audit: "own" } as const,
    schema: { summary, tags: ["machines"], ...machineParams },
  });

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/machines",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "All machines, or those of a host set", tags: ["machines"], querystring: listQuery },
    },
    (request) => {
      const { machines } = request.query;
      const { inventory: visible } = request.reach;
      const all =
        machines === undefined
          ? visible.all()
          : resolveHostSet(machines, visible.all(), visible.groupNames());
      const { items, next } = page(
        all,
        (machine) => `${naturalKey(machine.name)} ${machine.name}`,
        request.query,
      );
      return { items: items.map(view), next };
    },
  );
  app.post<{ Body: Static<typeof addBody> }>(
    "/machines",
    {
      config: { scopes: operators, audit: "own" },
      schema: { summary: "Add a machine", tags: ["machines"], body: addBody },
    },
    async (request, reply) => {
      exams.refuseRoom(request.body.group, request.asker);
      return reply.code(201).send(view(await inventory.add(request.body, request.actor)));
    },
  );
  app.get<Params>("/machines/:machine", read("One machine"), (request) => view(seen(request)));
  app.get<Params>("/machines/:machine/hardware", read("What its own system found in it"), (request) => {
    const machine = seen(request);
    const hardware = inventory.hardwareOf(machine);
    // Names of machines that the caller does not see are told nowhere.
    const nameOf = (other: Machine | undefined) =>
      other && request.reach.hasMachine(other.id) ? [other.name] : [];
    const ownerOf = (mac: Mac) => nameOf(inventory.findByMac(mac))[0];
    return {
      sharesUuidWith: inventory.sharersOf(machine).flatMap(nameOf),
      hardware: hardware ? hardwareView(hardware, ownerOf) : null,
    };
  });
  app.patch<Params & { Body: Static<typeof addBody> }>(
    "/machines/:machine",
    {
      ...change("Change facts of a machine"),
      schema: { ...change("Change facts of a machine").schema, body: addBody },
    },
    async (request) => {
      const machine = changed(request);
      const { name, macs, address, group } = request.body;
      // What is unique in the whole lab would tell whoever tries it what there is in other rooms.
      if ([name, macs, address, group].some((fact) => fact !== undefined)) request.reach.refuseLimited();
      exams.refuseRoom(group, request.asker);
      return view(await inventory.edit(machine.id, request.body, request.actor));
    },
  );
  app.delete<Params>("/machines/:machine", change("Remove a machine"), async (request, reply) => {
    const machine = changed(request);
    request.reach.refuseLimited();
    await inventory.remove(machine, request.actor);
    return reply.code(204).send();
  });
  app.post<Params & { Body: Static<typeof acceptBody> }>(
    "/machines/:machine/accept",
    {
      ...change("Accept a discovered machine"),
      schema: { ...change("Accept a discovered machine").schema, body: acceptBody },
    },
    async (request) => {
      const machine = changed(request);
      if (request.body.name !== undefined) request.reach.refuseLimited();
      return view(await inventory.accept(machine.id, request.body.name, request.actor));
    },
  );
  app.get<Params>("/machines/:machine/explain", read("Which role, and why"), (request) => {
    const machine = seen(request);
    const selection = boots.select(machine);
    return { ...explainView(machine, selection), roleProblem: roleProblem(selection.target) };
  });
  app.get<Params>(
    "/machines/:machine/preview",
    read("The documents that the machine would be served now; what is wrong with one that can't be made"),
    (request) => {
      const machine = seen(request);
      const url = previewUrl(request, deps);
      const documentOf = (kind: ServedKind): { kind: ServedKind; problem: string | null }[] => {
        try {
          return boots.preview(machine, kind, url) === undefined ? [] : [{ kind, problem: null }];
        } catch (error) {
          if (error instanceof RollcallError) return [{ kind, problem: error.message }];
          throw error;
        }
      };
      return { items: servedKinds.flatMap(documentOf), next: null };
    },
  );
  app.get<{ Params: { machine: string; kind: string } }>(
    "/machines/:machine/preview/:kind",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "What the machine would be served now, secrets masked", tags: ["machines"] },
    },
    (request, reply) => {
      const kind = servedKinds.find((kind) => kind === request.params.kind);
      if (!kind)
        throw InvalidRequest({
          problem: `there is no document ${request.params.kind.slice(0, 40)}; there are ${servedKinds.join(", ")}`,
          advice: "Name one of them, e.g. `boot preview MACHINE user-data`; without one it is ipxe.",
        });
      const url = previewUrl(request, deps);
      const machine = seen(request);
      const text = boots.preview(machine, kind, url);
      if (text === undefined && kind === "node")
        throw InvalidRequest({
          problem: `${machine.name} becomes no node of a cluster: it gets ${describeTarget(boots.select(machine).target)}`,
          advice: deps.cluster
            ? `Assign it a role that is a node: \`boot ${machine.name} worker\` or \`boot ${machine.name} master\`. A role of your own is one with \`node: worker\` in its role.yaml.`
            : "There is no cluster: set `cluster.kubernetesVersion` in the config and start the server again (docs/cluster.md).",
        });
      if (text === undefined)
        throw InvalidRequest({
          problem: `the role of ${machine.name} has no ${kind}`,
          advice:
            "`boot explain MACHINE` shows its role; a role of your own has the documents under `templates` or `files` in its role.yaml.",
        });
      return reply.type("text/plain; charset=utf-8").send(text);
    },
  );
  app.get<Params & { Querystring: Static<typeof bootsQuery> }>(
    "/machines/:machine/boots",
    {
      ...read("Boot attempts, newest first"),
      schema: { ...read("Boot attempts, newest first").schema, querystring: bootsQuery },
    },
    (request) => {
      const machine = seen(request);
      tracker.flush();
      const { limit, cursor } = request.query;
      const found = bootHistory.ofMachine(
        machine.id,
        limit + 1,
        cursor === undefined ? undefined : positionOf(cursor),
      );
      const taken = found.slice(0, limit);
      const last = taken.at(-1);
      return {
        items: taken.map((boot) => bootView(newest(boot.id) ?? boot, machine.name)),
        next: last !== undefined && found.length > limit ? cursorOf(last) : null,
      };
      function newest(id: string) {
        const current = tracker.current(machine.id);
        return current?.id === id ? current : undefined;
      }
    },
  );
  app.get<{ Params: { id: string } }>(
    "/boots/:id",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "One boot as a timeline", tags: ["machines"] },
    },
    (request) => {
      const stored = bootHistory.find(request.params.id);
      if (!stored || !request.reach.hasMachine(stored.machineId))
        throw BootNotFound({ id: request.params.id });
      const machine = inventory.get(stored.machineId);
      const current = tracker.current(machine.id);
      return bootView(current?.id === stored.id ? current : stored, machine.name);
    },
  );
}

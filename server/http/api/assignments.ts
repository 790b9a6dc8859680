import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import type { AssignedTarget } from "../../domain/assignment.ts";
import type { Ids } from "../../domain/capabilities.ts";
import { GroupNotFound, InvalidRequest, OperationNotFound } from "../../domain/error-catalogue.ts";
import type { Assigning } from "../../inventory/assigning.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { MayTouch, Undoing } from "../../inventory/undoing.ts";
import { operators, readers } from "../authorization.ts";
import { planView, undoView } from "./views.ts";
import { RollcallError } from "../../domain/errors.ts";
import type { Machine } from "../../domain/machine.ts";
import { type ServedKind, servedKinds } from "../../domain/role.ts";
import { previewUrl } from "../request-facts.ts";

export interface AssignmentApiDeps {
  readonly exams: Exams;
  readonly assigning: Assigning;
  readonly undoing: Undoing;
  readonly boots: BootService;
  readonly address: string | undefined;
  /** Where machines reach this server, for previews that are asked for on the control socket. */
  readonly publicUrl: () => string;
  readonly ids: Ids;
}

const mode = Type.Union([Type.Literal("always"), Type.Literal("once")], { default: "always" });
const targetFields = {
  role: Type.Optional(Type.String({ maxLength: 40 })),
  url: Type.Optional(
    Type.String({ maxLength: 1000, description: "a script of one's own, in place of a role" }),
  ),
  params: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  ramCheck: Type.Optional(
    Type.Literal("ignore", { description: "machines whose RAM seems too little for the role may try" }),
  ),
};
const roleBody = Type.Object({ ...targetFields, mode }, { additionalProperties: false });
const groupBody = Type.Object(targetFields, { additionalProperties: false });
const assignBody = Type.Object(
  {
    machines: Type.String({ minLength: 1, maxLength: 4000, description: "host set, e.g. s[4-9],lab225" }),
    ...targetFields,
    mode,
    power: Type.Union([Type.Literal("none"), Type.Literal("wake"), Type.Literal("cycle")], {
      default: "none",
    }),
    dryRun: Type.Boolean({ default: false, description: "only tell what would change" }),
  },
  { additionalProperties: false },
);
const diffBody = Type.Object(
  {
    machines: Type.String({ minLength: 1, maxLength: 4000, description: "host set" }),
    ...targetFields,
    documents: Type.Array(Type.Union(servedKinds.map((kind) => Type.Literal(kind))), {
      default: [...servedKinds],
      description: "only these; all of them without it",
    }),
  },
  { additionalProperties: false },
);
const undoBody = Type.Object(
  { dryRun: Type.Boolean({ default: false, description: "only tell what would change" }) },
  { additionalProperties: false },
);
const releaseBody = Type.Object(
  { machines: Type.String({ minLength: 1, maxLength: 4000 }) },
  { additionalProperties: false },
);

function targetOf(body: {
  role?: string;
  url?: string;
  params?: Record<string, unknown>;
  ramCheck?: "ignore";
}): AssignedTarget {
  const { role, url, params = {}, ramCheck } = body;
  if (role !== undefined && url === undefined)
    return { kind: "role", role, params, ...(ramCheck ? { ramCheck } : {}) };
  if (url !== undefined && role === undefined) return { kind: "url", url };
  throw InvalidRequest({
    problem: "name a role or a url, one of the two",
    advice:
      "`boot role list` shows the roles; a url is that of an iPXE script, e.g. http://10.0.0.1/my.ipxe.",
  });
}

type GroupRequest = Pick<FastifyRequest, "reach" | "asker"> & { readonly params: { group: string } };

/** Operations kept for looking at; assignments are done at once, so these are records, not work. */
const keptOperations = 500;

export function registerAssignmentApi(app: FastifyInstance, deps: AssignmentApiDeps): void {
  const { assigning, undoing, boots, ids, exams } = deps;
  const refuseGroup = ({ reach, asker, params: { group } }: GroupRequest): void => {
    if (!reach.inventory.groupNames().has(group)) throw GroupNotFound({ group });
    exams.refuseRoom(group, asker);
  };
  const operations = new Map<
    string,
    { readonly operation: object; readonly machineIds: readonly string[] }
  >();
  const change = (summary: string, body?: object) => ({
    config: { scopes: operators, rooms: "limited", audit: "own" } as const,
    schema: { summary, tags: ["assignments"], ...(body ? { body } : {}) },
  });

  app.put<{ Params: { machine: string }; Body: Static<typeof roleBody> }>(
    "/machines/:machine/role",
    change("Assign a role or script", roleBody),
    async (request) => {
      const machine = request.reach.inventory.get(request.params.machine);
      exams.refuse([machine], request.asker);
      const [line] = await assigning.assign({
        machines: machine.macs[0] ?? "",
        target: targetOf(request.body),
        mode: request.body.mode,
        actor: request.actor,
      });
      return line ? planView(line) : {};
    },
  );
  app.delete<{ Params: { machine: string } }>(
    "/machines/:machine/role",
    change("Take the assignment back"),
    async (request, reply) => {
      const machine = request.reach.inventory.get(request.params.machine);
      exams.refuse([machine], request.asker);
      await assigning.release(machine.macs[0] ?? "", request.actor);
      return reply.code(204).send();
    },
  );

  app.post<{ Body: Static<typeof assignBody> }>(
    "/assignments",
    change("Assign to a host set", assignBody),
    async (request) => {
      const { machines, mode, power, dryRun } = request.body;
      if (power !== "none")
        throw InvalidRequest({
          problem: `power: ${power}: this server does not switch machines on and off yet`,
          advice: "Leave --power away, and switch them by hand: they boot what was assigned.",
        });
      const { inventory: within } = request.reach;
      const asked = { machines, target: targetOf(request.body), mode, actor: request.actor, within };
      if (!dryRun) exams.refuse(assigning.machinesOf(machines, within), request.asker);
      const lines = dryRun ? assigning.plan(asked) : await assigning.assign(asked);
      const plan = lines.map(planView);
      if (dryRun) return { dryRun: true, plan };
      const operation = { id: ids.id("op"), kind: "assignment", state: "done", plan };
      operations.set(operation.id, { operation, machineIds: lines.map(({ machine }) => machine.id) });
      for (const old of operations.keys()) if (operations.size > keptOperations) operations.delete(old);
      return { dryRun: false, operation: operation.id, plan };
    },
  );
  app.delete<{ Body: Static<typeof releaseBody> }>(
    "/assignments",
    change("Take assignments back for a host set", releaseBody),
    async (request) => {
      const { inventory: within } = request.reach;
      exams.refuse(assigning.machinesOf(request.body.machines, within), request.asker);
      const released = await assigning.release(request.body.machines, request.actor, within);
      return { released: released.map((machine) => machine.name) };
    },
  );
  app.post<{ Body: Static<typeof undoBody> }>(
    "/assignments/undo",
    change("Take the last change back", undoBody),
    async (request) => {
      const { dryRun } = request.body;
      const { reach } = request;
      const mayTouch: MayTouch = (subject) =>
        subject.kind === "group" ? reach.hasRoom(subject.group) : reach.hasMachine(subject.machineId);
      const planned = undoing.plan(reach.rooms && mayTouch);
      if (!dryRun)
        exams.refuse(
          planned.lines.map(({ machine }) => machine),
          request.asker,
        );
      const undone = dryRun ? planned : await undoing.undo(request.actor, reach.rooms && mayTouch);
      return { dryRun, ...undoView(undone) };
    },
  );
  app.post<{ Body: Static<typeof diffBody> }>(
    "/assignments/diff",
    {
      ...change("What would be served otherwise if this were assigned, secrets masked", diffBody),
      config: { scopes: readers, rooms: "limited", audit: "none" },
    },
    async (request) => {
      const { machines, documents } = request.body;
      const lines = assigning.plan({
        machines,
        target: targetOf(request.body),
        mode: "always",
        actor: request.actor,
        within: request.reach.inventory,
      });
      const url = previewUrl(request, deps);
      const rendered = (machine: Machine, kind: ServedKind, target: AssignedTarget) => {
        try {
          return { text: boots.preview(machine, kind, url, target) ?? null, problem: null };
        } catch (error) {
          // A role that can't be served now is one reason to assign another.
          if (error instanceof RollcallError) return { text: null, problem: error.message };
          throw error;
        }
      };
      const items: object[] = [];
      for (const { machine, before: selected, after: planned } of lines) {
        // What is made of the same is the same.
        if (JSON.stringify(selected.target) === JSON.stringify(planned.target)) continue;
        for (const document of documents) {
          const before = rendered(machine, document, selected.target);
          const after = rendered(machine, document, planned.target);
          if (JSON.stringify(before) !== JSON.stringify(after))
            items.push({ machine: machine.name, document, before, after });
        }
        // The documents of a building take seconds, and machines that boot meanwhile are not to wait for them.
        await new Promise((resolve) => setImmediate(resolve));
        if (request.socket.destroyed) break;
      }
      return { items };
    },
  );
  app.get<{ Params: { id: string } }>(
    "/operations/:id",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "One operation", tags: ["assignments"] },
    },
    (request) => {
      const found = operations.get(request.params.id);
      const isSeen = found && (!request.reach.rooms || found.machineIds.every(request.reach.hasMachine));
      if (!isSeen) throw OperationNotFound({ id: request.params.id });
      return found.operation;
    },
  );

  app.put<{ Params: { group: string }; Body: Static<typeof groupBody> }>(
    "/groups/:group/role",
    change("Assign to a group", groupBody),
    async (request, reply) => {
      refuseGroup(request);
      await assigning.assignGroup(request.params.group, targetOf(request.body), request.actor);
      return reply.code(204).send();
    },
  );
  app.delete<{ Params: { group: string } }>(
    "/groups/:group/role",
    change("Take a group's assignment back"),
    async (request, reply) => {
      refuseGroup(request);
      await assigning.releaseGroup(request.params.group, request.actor);
      return reply.code(204).send();
    },
  );
}

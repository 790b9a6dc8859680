import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import { type AssignedTarget, describeTarget } from "../../domain/assignment.ts";
import { GroupNotFound, InvalidRequest } from "../../domain/error-catalogue.ts";
import type { Assigning } from "../../inventory/assigning.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { MayTouch, Undoing } from "../../inventory/undoing.ts";
import type { Operations } from "../../operations/operations.ts";
import { operators, readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { historyView, planView, undoView } from "./views.ts";
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
  readonly operations: Operations;
}

export const assignmentMode = Type.Union([Type.Literal("always"), Type.Literal("once")], {
  default: "always",
});
export const targetFields = {
  role: Type.Optional(Type.String({ maxLength: 40 })),
  url: Type.Optional(
    Type.String({ maxLength: 1000, description: "a script of one's own, in place of a role" }),
  ),
  params: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  ramCheck: Type.Optional(
    Type.Literal("ignore", { description: "machines whose RAM seems too little for the role may try" }),
  ),
};
const roleBody = Type.Object({ ...targetFields, mode: assignmentMode }, { additionalProperties: false });
const groupBody = Type.Object(targetFields, { additionalProperties: false });
const assignBody = Type.Object(
  {
    machines: Type.String({ minLength: 1, maxLength: 4000, description: "host set, e.g. s[4-9],lab225" }),
    ...targetFields,
    mode: assignmentMode,
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
const historyQuery = Type.Object(
  {
    machines: Type.Optional(Type.String({ minLength: 1, maxLength: 4000, description: "host set" })),
    limit: Type.Integer({ minimum: 1, maximum: 1000, default: 200 }),
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

export function targetOf(body: {
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

/** What becomes of the machines' power: waking switches on what is off, cycling restarts what is on too. */
const actions = { none: undefined, wake: "on", cycle: "cycle" } as const;

/** Undefined: everything, also what was of machines that are gone. */
const mayTouchOf = ({ rooms, hasRoom, hasMachine }: Reach): MayTouch | undefined =>
  rooms && ((subject) => (subject.kind === "group" ? hasRoom(subject.group) : hasMachine(subject.machineId)));

export function registerAssignmentApi(app: FastifyInstance, deps: AssignmentApiDeps): void {
  const { assigning, undoing, boots, operations, exams } = deps;
  const refuseGroup = ({ reach, asker, params: { group } }: GroupRequest): void => {
    if (!reach.inventory.groupNames().has(group)) throw GroupNotFound({ group });
    exams.refuseRoom(group, asker);
  };
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
      const { inventory: within } = request.reach;
      const asked = { machines, target: targetOf(request.body), mode, actor: request.actor, within };
      if (!dryRun) exams.refuse(assigning.machinesOf(machines, within), request.asker);
      const planned = assigning.plan(asked);
      if (dryRun) return { dryRun: true, plan: planned.map(planView) };
      const action = actions[power];
      const order = { kind: "assign" as const, action, target: describeTarget(asked.target) };
      const subjects = planned.map(({ machine }) => machine);
      // Before anything is written: two may not switch the same machine.
      if (action !== undefined) operations.findSame(order, subjects);
      const lines = await assigning.assign(asked);
      // An exam may have begun while the disk was waited for.
      if (action !== undefined) exams.refuse(subjects, request.asker);
      const begin = action === undefined ? operations.noteAssigned : operations.begin;
      const { id } = await begin(order, subjects, request.actor);
      return { dryRun: false, operation: id, plan: lines.map(planView) };
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
  app.get<{ Querystring: Static<typeof historyQuery> }>(
    "/assignments/history",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary: "Who changed which assignments, and when, newest first",
        tags: ["assignments"],
        querystring: historyQuery,
      },
    },
    (request) => {
      const { machines, limit } = request.query;
      const { inventory: within } = request.reach;
      const found = undoing.history(machines, limit, { within, mayTouch: mayTouchOf(request.reach) });
      return { items: found.map(historyView), next: null };
    },
  );
  app.post<{ Body: Static<typeof undoBody> }>(
    "/assignments/undo",
    change("Take the last change back", undoBody),
    async (request) => {
      const { dryRun } = request.body;
      const mayTouch = mayTouchOf(request.reach);
      const planned = undoing.plan(mayTouch);
      if (!dryRun)
        exams.refuse(
          planned.lines.map(({ machine }) => machine),
          request.asker,
        );
      const undone = dryRun ? planned : await undoing.undo(request.actor, mayTouch);
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

import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import { resolveHostSet } from "../../domain/host-set.ts";
import { changesOf, type ImportPlan } from "../../inventory/import-plan.ts";
import type { Asker, Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import { listFormats, type ListFormat } from "../../inventory/lists/listed-host.ts";
import type { NamingLine } from "../../inventory/naming.ts";
import { operators } from "../authorization.ts";

export interface MachineListApiDeps {
  readonly inventory: Inventory;
  readonly exams: Exams;
}

/** A list of 5000 machines has half of it. */
const listLimitBytes = 1024 * 1024;

const importBody = Type.Object(
  {
    text: Type.String({ minLength: 1, maxLength: listLimitBytes, description: "the list as it is written" }),
    format: Type.Optional(
      Type.Unsafe<ListFormat>(
        Type.Union(
          listFormats.map((format) => Type.Literal(format)),
          { description: "without it: by its look" },
        ),
      ),
    ),
    group: Type.Optional(
      Type.String({ maxLength: 63, description: "room of the machines whose line names none" }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: "only answer what would be done" })),
  },
  { additionalProperties: false },
);
const acceptBody = Type.Object(
  {
    machines: Type.Optional(
      Type.String({ maxLength: 4000, description: "host set; without it all that nobody accepted" }),
    ),
    name: Type.Optional(
      Type.String({
        maxLength: 120,
        description: "pattern: pc{n:02}, lab225-{seat}, {serial}, {mac6}, {switch}-{port}",
      }),
    ),
    start: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1_000_000, description: "{n} of the first one" }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: "only answer the names" })),
  },
  { additionalProperties: false },
);

function importView(
  format: ListFormat,
  { lines, problems, notes, ignored, newGroups }: ImportPlan,
  applied: boolean,
) {
  const count = (action: string) => lines.filter((line) => line.action === action).length;
  return {
    format,
    applied,
    counts: {
      new: count("new"),
      changed: count("changed"),
      same: count("same"),
      conflict: count("conflict"),
    },
    plan: lines.map(({ line, action, next, before, listed }) => ({
      line,
      action,
      machine: next?.name ?? listed,
      macs: next?.macs ?? [],
      group: next?.group ?? null,
      seat: next?.seat ?? null,
      address: next?.address ?? null,
      changes: changesOf({ before, next }),
    })),
    problems,
    notes,
    ignored: [...ignored].map(([what, count]) => ({ what, count })),
    newGroups,
  };
}

const namingView = (lines: readonly NamingLine[], applied: boolean) => ({
  applied,
  machines: lines.map(({ machine, name, problem }) => ({
    before: machine.name,
    name: name ?? null,
    mac: machine.macs[0],
    seat: machine.seat ?? null,
    problem: problem ?? null,
  })),
});

/** Many machines at once: out of a list, or accepted with names by a rule. */
export function registerMachineListApi(app: FastifyInstance, { inventory, exams }: MachineListApiDeps): void {
  /** Machines that are in the room of an exam, and those that would come into it. @throws ExamUnderWay */
  const refuseExams = ({ lines }: ImportPlan, asker: Asker): void => {
    const changed = lines.filter(({ action }) => action !== "same");
    exams.refuse(
      changed.flatMap(({ before }) => before ?? []),
      asker,
    );
    for (const { next } of changed) exams.refuseRoom(next?.group, asker);
  };

  app.post<{ Body: Static<typeof importBody> }>(
    "/machines/import",
    {
      config: { scopes: operators, audit: "own" },
      bodyLimit: 2 * listLimitBytes,
      schema: {
        summary: "Import machines from CSV, an ISC dhcpd.conf or dnsmasq's dhcp-host lines: all or none",
        tags: ["machines"],
        body: importBody,
      },
    },
    async (request) => {
      const { dryRun = false, ...list } = request.body;
      const { format, plan } = dryRun
        ? inventory.lists.plan(list)
        : await inventory.lists.run(list, request.actor, (planned) => refuseExams(planned, request.asker));
      return importView(format, plan, !dryRun);
    },
  );

  app.post<{ Body: Static<typeof acceptBody> }>(
    "/machines/accept",
    {
      config: { scopes: operators, audit: "own" },
      schema: {
        summary: "Accept machines, with names by a rule: all or none",
        tags: ["machines"],
        body: acceptBody,
      },
    },
    async (request) => {
      const { machines, name: pattern, start = 1, dryRun = false } = request.body;
      const chosen =
        machines === undefined
          ? inventory.all().filter(({ acceptedAt }) => acceptedAt === undefined)
          : resolveHostSet(machines, inventory.all(), inventory.groupNames());
      if (chosen.length === 0)
        throw InvalidRequest({
          problem: "no machine waits to be accepted",
          advice: "Switch them on with network boot first; `boot machine list` shows what was seen.",
        });
      if (!dryRun) exams.refuse(chosen, request.asker);
      const naming = { machines: chosen, pattern, start };
      const lines = dryRun
        ? inventory.naming.plan(naming)
        : await inventory.naming.accept(naming, request.actor);
      return namingView(lines, !dryRun);
    },
  );
}

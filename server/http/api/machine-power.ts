import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { GroupNotFound } from "../../domain/error-catalogue.ts";
import { powerMethods } from "../../domain/power.ts";
import type { GroupBoards, PowerSettings } from "../../domain/power-settings.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import { fingerprintOf, type PowerSettingsService } from "../../power/power-settings.ts";
import { readers } from "../authorization.ts";

export interface MachinePowerApiDeps {
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly powerSettings: PowerSettingsService;
}

const text = (description: string, maxLength = 253) =>
  Type.Optional(Type.String({ minLength: 1, maxLength, description }));
const settingsBody = Type.Object(
  {
    method: Type.Union(
      powerMethods.map((method) => Type.Literal(method)),
      { description: "ipmi, redfish: its board; wol, ssh: that alone" },
    ),
    address: text("of the board, or of the machine for ssh: IPv4 or host name"),
    port: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 65535, description: "623, 443 or 22 without it" }),
    ),
    user: text("on the board, or of the machine for ssh", 32),
    password: text("of the board; never told again. Left out: the one that is kept", 256),
    certificate: text("SHA-256 of the board's certificate, hexadecimal (Redfish)", 95),
    authority: text(
      "PEM of the authority that signed it, in place of a pinned certificate (Redfish)",
      16_384,
    ),
    system: text("which system of a board that has several (Redfish)", 64),
  },
  { additionalProperties: false },
);
const groupParams = Type.Object({ group: Type.String({ maxLength: 200 }) });
const machineParams = Type.Object({
  machine: Type.String({ maxLength: 200, description: "name, MAC or id" }),
});
interface Params {
  Params: { machine: string };
}
interface GroupParams {
  Params: { group: string };
}

/** What is set, without the secret; null: nothing. */
export function powerView(settings: PowerSettings | undefined) {
  if (!settings) return null;
  const { method, address, port, user, certificate, authority, system, sealed, group } = settings;
  return {
    method,
    address: address ?? null,
    port: port ?? null,
    user: user ?? null,
    hasPassword: sealed !== undefined,
    certificate: certificate ?? null,
    authority: fingerprintOf(authority) ?? null,
    system: system ?? null,
    group: group ?? null,
  };
}

/** A group's boards in the same words; its address is a pattern. */
const boardsView = (group: string, boards: GroupBoards | undefined) =>
  powerView(boards && { ...boards, certificate: undefined, group });

/** How a machine is switched. Who may give orders is no operator's to widen: only admins say where passwords go. */
export function registerMachinePowerApi(
  app: FastifyInstance,
  { inventory, exams, powerSettings }: MachinePowerApiDeps,
): void {
  const schema = (summary: string) => ({ summary, tags: ["machines"], params: machineParams });
  app.get<Params>(
    "/machines/:machine/power",
    { config: { scopes: readers, rooms: "limited" }, schema: schema("How its power is switched") },
    (request) => ({
      settings: powerView(powerSettings.of(request.reach.inventory.get(request.params.machine))),
    }),
  );
  app.put<Params & { Body: Static<typeof settingsBody> }>(
    "/machines/:machine/power",
    { config: { audit: "own" }, schema: { ...schema("Set how its power is switched"), body: settingsBody } },
    async (request) => {
      const machine = inventory.get(request.params.machine);
      exams.refuse([machine], request.asker);
      return { settings: powerView(await powerSettings.set(machine, request.body, request.actor)) };
    },
  );
  app.delete<Params>(
    "/machines/:machine/power",
    { config: { audit: "own" }, schema: schema("Forget how its power is switched") },
    async (request, reply) => {
      const machine = inventory.get(request.params.machine);
      exams.refuse([machine], request.asker);
      await powerSettings.remove(machine, request.actor);
      return reply.code(204).send();
    },
  );
  registerGroupBoards(app, { inventory, exams, powerSettings });
}

/** The boards of a room, for its machines that nothing was set for. */
function registerGroupBoards(
  app: FastifyInstance,
  { inventory, exams, powerSettings }: MachinePowerApiDeps,
): void {
  const schema = (summary: string) => ({ summary, tags: ["groups"], params: groupParams });
  const named = (group: string, names: ReadonlySet<string>): string => {
    if (!names.has(group)) throw GroupNotFound({ group });
    return group;
  };
  app.get<GroupParams>(
    "/groups/:group/power",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: schema("The boards of its machines, where nothing else is set for one"),
    },
    (request) => {
      const group = named(request.params.group, request.reach.inventory.groupNames());
      return { settings: boardsView(group, powerSettings.boardsOf(group)) };
    },
  );
  app.put<GroupParams & { Body: Static<typeof settingsBody> }>(
    "/groups/:group/power",
    { config: { audit: "own" }, schema: { ...schema("Set the boards of its machines"), body: settingsBody } },
    async (request) => {
      const group = named(request.params.group, inventory.groupNames());
      exams.refuseRoom(group, request.asker);
      return {
        settings: boardsView(group, await powerSettings.setBoards(group, request.body, request.actor)),
      };
    },
  );
  app.delete<GroupParams>(
    "/groups/:group/power",
    { config: { audit: "own" }, schema: schema("Forget the boards of its machines") },
    async (request, reply) => {
      const group = named(request.params.group, inventory.groupNames());
      exams.refuseRoom(group, request.asker);
      await powerSettings.removeBoards(group, request.actor);
      return reply.code(204).send();
    },
  );
}

import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Verdict } from "../../doctor/diagnose.ts";
import { stationWords } from "../../doctor/healthy.ts";
import type { Machine } from "../../domain/machine.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import { isUnusableMac, type Mac, parseMac } from "../../net/mac.ts";
import { readers } from "../authorization.ts";
import { isoTime } from "./views.ts";

export interface DoctorApiDeps {
  readonly inventory: Inventory;
  readonly doctor: {
    examine(mac: Mac, machine: Machine | undefined, sees?: (machineId: string) => boolean): Promise<Verdict>;
  };
}

export function registerDoctorApi(app: FastifyInstance, { inventory, doctor }: DoctorApiDeps): void {
  app.get<{ Params: { machine: string } }>(
    "/machines/:machine/doctor",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary: "Why a machine did not boot: what happened, the evidence, what to do next",
        tags: ["machines"],
        params: Type.Object({
          machine: Type.String({
            maxLength: 200,
            description: "name, MAC or id; a MAC may be one that was never seen",
          }),
        }),
      },
    },
    async (request) => {
      const { machine: text } = request.params;
      const { reach } = request;
      const mac = parseMac(text);
      const isMac = mac !== undefined && !isUnusableMac(mac);
      // Of a MAC that nobody added nothing says that it is of the caller's rooms.
      const machine = isMac && !reach.rooms ? inventory.findByMac(mac) : reach.inventory.get(text);
      const first = machine?.macs[0] ?? mac;
      // Who is neither a MAC nor in the inventory was refused above.
      if (first === undefined) throw new Error(`no MAC for ${text}`);
      const verdict = await doctor.examine(first, machine, reach.rooms && reach.hasMachine);
      return verdictView(verdict, machine, first);
    },
  );
}

function verdictView(
  { stoppedAt, isFine, diagnoses, bootId, parts }: Verdict,
  machine: Machine | undefined,
  mac: Mac,
) {
  return {
    machine: machine?.name ?? null,
    mac,
    phase: machine?.phase ?? null,
    boot: bootId ?? null,
    fine: isFine,
    stoppedAt: stoppedAt ?? null,
    station: stoppedAt === undefined ? null : stationWords[stoppedAt],
    diagnoses: diagnoses.map(({ code, certainty, isFine: fine, what, seen, advice, candidates }) => ({
      code,
      certainty,
      fine,
      what,
      evidence: seen.map(({ at, what: saw }) => ({ at: isoTime(at), what: saw })),
      advice,
      candidates,
    })),
    parts,
  };
}

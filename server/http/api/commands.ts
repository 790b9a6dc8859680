import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import { RollcallError } from "../../domain/errors.ts";
import type { Machine } from "../../domain/machine.ts";
import type { Assigning } from "../../inventory/assigning.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Commands } from "../../power/commands.ts";
import { askedMachines } from "./asked-machines.ts";

export interface CommandApiDeps {
  readonly commands: Commands;
  readonly assigning: Assigning;
  readonly exams: Exams;
}

/** What one answer may hold: the outputs of so many machines. */
const machinesAtMost = 200;
/** All machines of one call begin and end within this, ms. */
const callLimitMs = 240_000;

const commandBody = Type.Object(
  {
    machines: Type.String({ minLength: 1, maxLength: 4000, description: "host set, e.g. s[4-9],lab225" }),
    command: Type.String({
      minLength: 1,
      maxLength: 4000,
      pattern: "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$",
      description: "for the shell of the account that the role names (sshUser)",
    }),
    timeoutSeconds: Type.Integer({ minimum: 1, maximum: 200, default: 60, description: "for each machine" }),
  },
  { additionalProperties: false },
);

/** Commands of an administrator, on machines whose role allows them. */
export function registerCommandApi(
  app: FastifyInstance,
  { commands, assigning, exams }: CommandApiDeps,
): void {
  app.post<{ Body: Static<typeof commandBody> }>(
    "/commands",
    {
      config: { audit: "own" },
      schema: {
        summary: "Run a command on machines by SSH, where their role has `sshCommands: any`",
        tags: ["operations"],
        body: commandBody,
      },
    },
    async (request) => {
      const { machines, command, timeoutSeconds } = request.body;
      const asked = askedMachines(assigning, machines, request.reach.inventory);
      if (asked.length > machinesAtMost)
        throw InvalidRequest({
          problem: `${asked.length} machines are more than the ${machinesAtMost} that one call may run a command on`,
          advice: "Name fewer at once: a room, or a part of it.",
        });
      exams.refuse(asked, request.asker);
      const order = { command, limitMs: timeoutSeconds * 1000, actor: request.actor };
      const signal = AbortSignal.timeout(callLimitMs);
      const run = async (machine: Machine) => {
        const none = { exitCode: null, stdout: "", stderr: "", shortened: false };
        try {
          const { code, stdout, stderr, isShortened } = await commands.run(machine, order, signal);
          const told = { exitCode: code, stdout, stderr, shortened: isShortened };
          return { machine: machine.name, ...told, code: null, problem: null, advice: null };
        } catch (error) {
          return { machine: machine.name, ...none, ...failure(error) };
        }
      };
      return { items: await Promise.all(asked.map(run)), next: null };
    },
  );
}

/** One machine's failure is told beside the others' outputs. @throws what nobody foresaw */
function failure(error: unknown): { code: string | null; problem: string; advice: string | null } {
  if (error instanceof RollcallError)
    return { code: error.code, problem: error.message, advice: error.advice };
  if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
  const problem = `it was not through within ${callLimitMs / 1000} s: name fewer machines at once`;
  return { code: null, problem, advice: null };
}

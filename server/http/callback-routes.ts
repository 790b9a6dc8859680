import type { FastifyInstance } from "fastify";
import type { BootService } from "../boot/boot-service.ts";
import type { BootTracker } from "../boot/tracker.ts";
import type { BootStepName } from "../domain/boot.ts";
import type { RecordEvent } from "../domain/event.ts";
import { clientAddress } from "./request-facts.ts";

export interface CallbackRouteDeps {
  readonly boots: BootService;
  readonly tracker: BootTracker;
  readonly record: RecordEvent;
}

/** A report is small; a machine that sends more is broken or hostile. */
const reportLimitBytes = 16 * 1024;
const logLimitBytes = 256 * 1024;
/** Lines of a machine's log that an event keeps. */
const keptLogBytes = 8 * 1024;

type Fields = Record<string, unknown>;

function textOf(fields: unknown, name: string, limit: number): string {
  const value =
    typeof fields === "object" && fields !== null && Object.hasOwn(fields, name)
      ? (fields as Fields)[name]
      : undefined;
  return typeof value === "string" || typeof value === "number"
    ? String(value)
        .replaceAll(/\p{Cc}/gu, " ")
        .slice(0, limit)
    : "";
}

function countOf(fields: unknown, name: string): number {
  const text = textOf(fields, name, 20);
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : 0;
}

/** Steps that a machine may report by itself. */
const reportable: ReadonlySet<string> = new Set<BootStepName>(["network", "rootfs", "verify", "switch-root"]);

/** The machine's reports: form fields (what busybox wget and cloud-init's phone_home send) or JSON. */
export function registerCallbackRoutes(
  app: FastifyInstance,
  { boots, tracker, record }: CallbackRouteDeps,
): void {
  app.post<{ Params: { claim: string } }>(
    "/callback/:claim/phase",
    { bodyLimit: reportLimitBytes, schema: { summary: "Progress of the boot", tags: ["callback"] } },
    async (request, reply) => {
      const { machine, isCurrent } = boots.reporter(
        request.params.claim,
        clientAddress(request),
        "its progress report",
      );
      if (!isCurrent) return reply.code(204).send();
      const step = textOf(request.body, "step", 40);
      const doneBytes = countOf(request.body, "done");
      const totalBytes = countOf(request.body, "total");
      tracker.report(machine.id, { step, doneBytes, totalBytes });
      tracker.advance(machine.id, "kernel.requested");
      if (reportable.has(step) && !tracker.hasReport(machine.id, step as BootStepName))
        request.bootStep = {
          machineId: machine.id,
          step: step as BootStepName,
          detail: { reported: 1, ...(totalBytes ? { totalBytes } : {}) },
        };
      return reply.code(204).send();
    },
  );

  app.post<{ Params: { claim: string } }>(
    "/callback/:claim/joined",
    {
      bodyLimit: reportLimitBytes,
      schema: {
        summary: "The machine is through with everything that its role asks for",
        tags: ["callback"],
      },
    },
    async (request, reply) => {
      const machine = await boots.joined(request.params.claim, clientAddress(request));
      return reply.send({ machine: machine.name, phase: "ready" });
    },
  );

  app.post<{ Params: { claim: string } }>(
    "/callback/:claim/failed",
    {
      bodyLimit: reportLimitBytes,
      schema: { summary: "Something went wrong on the machine", tags: ["callback"] },
    },
    async (request, reply) => {
      const { machine, bootId, isCurrent } = boots.reporter(
        request.params.claim,
        clientAddress(request),
        "its failure report",
      );
      const code = textOf(request.body, "code", 60).replaceAll(/[^A-Z0-9_]/g, "_") || "UNKNOWN";
      const message = textOf(request.body, "message", 500);
      if (isCurrent) {
        request.bootStep = { machineId: machine.id, step: "failed", detail: { code } };
        tracker.fault(machine.id, `${code}: ${message}`);
      }
      record({
        type: "machine.failed",
        level: "warning",
        machineId: machine.id,
        bootId,
        message: `${machine.name}: ${code}: ${message}`,
        data: { code },
      });
      return reply.code(204).send();
    },
  );

  // busybox wget can't send a log but as a form, curl sends what it is told: the octets are the log, whatever they are called.
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
    scope.post<{ Params: { claim: string }; Body: string | undefined }>(
      "/callback/:claim/log",
      { bodyLimit: logLimitBytes, schema: { summary: "Lines of the machine's log", tags: ["callback"] } },
      async (request, reply) => {
        const { machine, bootId } = boots.reporter(request.params.claim, clientAddress(request), "its log");
        const text = request.body ?? "";
        record({
          type: "machine.log",
          machineId: machine.id,
          bootId,
          message: `${machine.name} sent ${text.length} characters of its log`,
          data: { tail: text.slice(-keptLogBytes) },
        });
        return reply.code(204).send();
      },
    );
  });
}

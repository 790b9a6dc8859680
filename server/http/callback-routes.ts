import type { FastifyInstance } from "fastify";
import { LRUCache } from "lru-cache";
import type { BootService } from "../boot/boot-service.ts";
import type { BootTracker } from "../boot/tracker.ts";
import type { AssignedTarget } from "../domain/assignment.ts";
import type { BootStepName } from "../domain/boot.ts";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { ramOfMemTotal } from "../domain/ram-budget.ts";
import { readHardwareReport } from "../inventory/hardware-report.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { clientAddress } from "./request-facts.ts";

/** What a machine told of its SSH, and the boot that its claim is of. */
export interface HostKeyReport {
  readonly machine: Machine;
  readonly bootId: string;
  readonly target: AssignedTarget;
  readonly address: string;
  /** As it was sent: anything. */
  readonly text: string;
}

export interface CallbackRouteDeps {
  readonly boots: BootService;
  readonly tracker: BootTracker;
  readonly record: RecordEvent;
  readonly inventory: Pick<Inventory, "noteReportedRam" | "noteHardware">;
  readonly noteHostKey: (report: HostKeyReport) => Promise<void>;
}

/** A report is small; a machine that sends more is broken or hostile. */
const reportLimitBytes = 16 * 1024;
/** 16 NICs with a frame of the switch each, and 64 disks. */
const hardwareLimitBytes = 64 * 1024;
const logLimitBytes = 256 * 1024;
/** Characters of a host key with its comment; Ed25519 has 80 without. */
const hostKeyLimit = 400;
/** Lines of a machine's log that an event keeps. */
const keptLogBytes = 8 * 1024;

/** What one boot may put into the event log, which is kept for ever: octets of its log as they are stored. */
const bootLogBytes = 64 * 1024;
/** Counted for each stored post beside its text, so that empty ones end too. */
const logPostBytes = 512;
/** Failure reports of a boot that are stored one by one. */
const bootFailures = 20;
/** Reports of a boot's hardware that are kept: one at its start, another when the switch was heard. */
const bootHardwareReports = 8;
/** Boots whose use is remembered, those longest silent forgotten first: some hundred octets each, and no server boots so many at once. */
const rememberedBoots = 4096;

interface BootUse {
  logBytes: number;
  isLogFull: boolean;
  failures: number;
  hardwareReports: number;
}

/** What each boot has put into the event log so far. */
function createBootUses() {
  const uses = new LRUCache<string, BootUse>({ max: rememberedBoots });
  return (machineId: string, bootId: string): BootUse => {
    const key = `${machineId} ${bootId}`;
    const use = uses.get(key) ?? { logBytes: 0, isLogFull: false, failures: 0, hardwareReports: 0 };
    uses.set(key, use);
    return use;
  };
}

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

/** Told once more at the end of the message where reports are no longer stored one by one. */
function merged(reports: number): string {
  return reports < bootFailures
    ? ""
    : ` (report ${reports} of this boot; from here on only reports 100, 1000, 10000 and so on are kept)`;
}

/** Steps that a machine may report by itself. */
const reportable: ReadonlySet<string> = new Set<BootStepName>(["network", "rootfs", "verify", "switch-root"]);

/** The machine's reports: form fields (what busybox wget and cloud-init's phone_home send) or JSON. */
export function registerCallbackRoutes(
  app: FastifyInstance,
  { boots, tracker, record, inventory, noteHostKey }: CallbackRouteDeps,
): void {
  const useOf = createBootUses();

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
      const ramBytes = ramOfMemTotal(textOf(request.body, "ramKiB", 20));
      if (ramBytes !== undefined) inventory.noteReportedRam(machine, ramBytes);
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
      const { claim } = request.params;
      const address = clientAddress(request);
      // As cloud-init's phone_home calls it. Before the rest: a machine that took its answer for good never calls again.
      const text = textOf(request.body, "pub_key_ed25519", hostKeyLimit);
      if (text !== "") {
        const { isCurrent, ...report } = boots.reporter(claim, address, "its callback");
        if (isCurrent) await noteHostKey({ ...report, address, text });
      }
      const { machine, phase } = await boots.joined(claim, address);
      return reply.send({ machine: machine.name, phase });
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
      const reports = ++useOf(machine.id, bootId).failures;
      // Past the first ones only 100, 1000, ... are told, each for all before it.
      if (reports > bootFailures && !Number.isInteger(Math.log10(reports))) return reply.code(204).send();
      if (isCurrent) {
        request.bootStep = { machineId: machine.id, step: "failed", detail: { code } };
        tracker.fault(machine.id, `${code}: ${message}`);
      }
      record({
        type: "machine.failed",
        level: "warning",
        machineId: machine.id,
        bootId,
        message: `${machine.name}: ${code}: ${message}${merged(reports)}`,
        data: { code, ...(reports >= bootFailures ? { reports } : {}) },
      });
      return reply.code(204).send();
    },
  );

  app.post<{ Params: { claim: string } }>(
    "/callback/:claim/hardware",
    {
      bodyLimit: hardwareLimitBytes,
      schema: { summary: "What the machine's own system found in it, as JSON", tags: ["callback"] },
    },
    async (request, reply) => {
      const { machine, bootId } = boots.reporter(
        request.params.claim,
        clientAddress(request),
        "its hardware report",
      );
      const found = readHardwareReport(request.body);
      if (!found)
        throw InvalidRequest({
          problem: "a hardware report is a JSON object",
          advice: "docs/inventory.md says what is in it.",
        });
      // A boot that is over tells what was in the machine then.
      const newest = tracker.current(machine.id);
      const isOver = newest !== undefined && newest.id !== bootId;
      if (!isOver && ++useOf(machine.id, bootId).hardwareReports <= bootHardwareReports)
        await inventory.noteHardware(machine, found);
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
        const tail = text.slice(-keptLogBytes);
        const use = useOf(machine.id, bootId);
        const storedBytes = Buffer.byteLength(JSON.stringify(tail)) + logPostBytes;
        if (use.isLogFull) return reply.code(204).send();
        if (use.logBytes + storedBytes > bootLogBytes) {
          use.isLogFull = true;
          record({
            type: "machine.log",
            level: "warning",
            machineId: machine.id,
            bootId,
            message: `${machine.name} sent more than the ${bootLogBytes / 1024} KiB of log that are kept of a boot; the rest is dropped`,
          });
          return reply.code(204).send();
        }
        use.logBytes += storedBytes;
        record({
          type: "machine.log",
          machineId: machine.id,
          bootId,
          message: `${machine.name} sent ${text.length} characters of its log`,
          data: { tail },
        });
        return reply.code(204).send();
      },
    );
  });
}

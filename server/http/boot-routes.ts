import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { BootService } from "../boot/boot-service.ts";
import type { BootTracker } from "../boot/tracker.ts";
import { InvalidMac } from "../domain/error-catalogue.ts";
import type { Arch } from "../domain/firmware.ts";
import { ramOfMemoryDevices, ramOfMemsize } from "../domain/ram-budget.ts";
import type { Machine } from "../domain/machine.ts";
import type { ServedKind } from "../domain/role.ts";
import type { MachineFacts } from "../inventory/machine-input.ts";
import { parseMac } from "../net/mac.ts";
import { parseUuid } from "../net/uuid.ts";
import type { Renderer } from "../render/documents.ts";
import { clientAddress, serverUrl } from "./request-facts.ts";

export interface BootRouteDeps {
  readonly boots: BootService;
  readonly tracker: BootTracker;
  readonly renderer: Pick<Renderer, "standardScript" | "grubConfig">;
  /** `address` of the config. */
  readonly address: string | undefined;
  /** Digest of a document for the boot's timeline, where somebody wants to compare it. */
  readonly digestServed?: ((machine: Machine, kind: ServedKind) => string | undefined) | undefined;
}

/** iPXE's `${buildarch}` in the kernel's words. */
const archByBuildarch: Readonly<Record<string, Arch>> = {
  i386: "x86",
  x86_64: "x86_64",
  arm64: "arm64",
  arm32: "arm",
  riscv64: "riscv64",
};

/** iPXE leaves a `+` as it is in a query (core/uri.c), so it is no blank there. */
export function queryAsWritten(url: string): Record<string, unknown> {
  const [, query = ""] = url.split("?", 2);
  return Object.fromEntries(new URLSearchParams(query.replaceAll("+", "%2B")));
}

/** What iPXE said of the machine in the query of its script's address. */
function factsFrom(query: Record<string, unknown>): MachineFacts {
  const text = (name: string) =>
    typeof query[name] === "string" ? (query[name] as string).slice(0, 400) : undefined;
  return {
    uuid: parseUuid(text("uuid") ?? ""),
    serial: text("serial"),
    manufacturer: text("manufacturer"),
    product: text("product"),
    ramBytes: ramOfMemsize(text("memsize") ?? "") ?? ramOfMemoryDevices(text("dimms") ?? ""),
    // A 32-bit build of iPXE runs on 64-bit machines all the same (undionly.kpxe does), so i386 says nothing of the machine.
    arch: text("arch") === "i386" ? undefined : archByBuildarch[text("arch") ?? ""],
  };
}

/** What was chosen from the menu that the machine was sent before. */
export function pickFrom({ pick }: Readonly<Record<string, unknown>>): string | undefined {
  return typeof pick === "string" ? pick.slice(0, 100) : undefined;
}

const ignitionType = "application/vnd.coreos.ignition+json";
const documents: Readonly<Record<string, { kind: Exclude<ServedKind, "ipxe">; type: string }>> = {
  "ignition.json": { kind: "ignition", type: ignitionType },
  "ignition/role.json": { kind: "ignition-role", type: ignitionType },
  "ignition/node.json": { kind: "ignition-node", type: ignitionType },
  "cloud-init/user-data": { kind: "user-data", type: "text/cloud-config; charset=utf-8" },
  "cloud-init/meta-data": { kind: "meta-data", type: "text/yaml; charset=utf-8" },
  "cloud-init/vendor-data": { kind: "vendor-data", type: "text/cloud-config; charset=utf-8" },
  "cloud-init/network-config": { kind: "network-config", type: "text/yaml; charset=utf-8" },
};

/** Ignition asks for `application/vnd.coreos.ignition+json;version=3.4.0`: the newest version that it reads. */
function ignitionMinor(accept: string | undefined): number | undefined {
  const [, minor] =
    /^application\/vnd\.coreos\.ignition\+json; ?version=3\.(\d{1,3})\.\d/.exec(accept ?? "") ?? [];
  return minor === undefined ? undefined : Number(minor);
}

export function sendScript(reply: FastifyReply, script: string): FastifyReply {
  return reply.header("cache-control", "no-store").type("text/plain; charset=utf-8").send(script);
}

/** The step that a machine's own script is. One that waits, or that fails again as before, asks every few seconds: that is one step. */
export function noteScript(
  request: FastifyRequest,
  { machine, error, isWaiting }: Awaited<ReturnType<BootService["script"]>>,
  tracker: BootTracker,
): void {
  if (!machine) return;
  const step = isWaiting ? "wait" : "script";
  const last = tracker.current(machine.id)?.steps.at(-1);
  const isRepeated = isWaiting
    ? tracker.hasStep(machine.id, "wait")
    : error !== undefined && last?.step === "script" && last.detail["code"] === error.code;
  if (!isRepeated)
    request.bootStep = { machineId: machine.id, step, detail: error ? { code: error.code } : {} };
}

/** What firmware and first boots load. To firmware an error is a script (200, `#!ipxe`), to the rest it is a problem document. */
export function registerBootRoutes(app: FastifyInstance, deps: BootRouteDeps): void {
  const { boots, tracker, renderer, address } = deps;
  // A newer iPXE looks for autoexec.ipxe beside the file that it was loaded as.
  for (const path of ["/boot.ipxe", "/autoexec.ipxe", "/nbp/autoexec.ipxe"]) {
    app.get(
      path,
      { schema: { summary: "First contact: chains to the machine's own script", tags: ["boot"] } },
      async (request, reply) => {
        const from = clientAddress(request);
        await boots.disk.refuseFirstStage(from, "contact");
        const machine = boots.machineAt(from);
        if (machine) request.bootStep = { machineId: machine.id, step: "contact", detail: {} };
        boots.firstStageServed(from, "started");
        const context = { serverUrl: serverUrl(request, address) };
        return sendScript(reply, renderer.standardScript("first-contact", from, context));
      },
    );
  }

  app.get<{ Params: { mac: string }; Querystring: Record<string, unknown> }>(
    "/boot/:mac/boot.ipxe",
    // Making a script mints a claim, which ends the one before: not for a HEAD, which promises to change nothing.
    {
      exposeHeadRoute: false,
      schema: { summary: "The machine's own iPXE script; always 200", tags: ["boot"] },
    },
    async (request, reply) => {
      const url = serverUrl(request, address);
      const mac = parseMac(request.params.mac);
      if (!mac)
        return sendScript(reply, boots.errorScript(InvalidMac({ text: request.params.mac }), url).script);
      const query = queryAsWritten(request.url);
      const made = await boots.script({
        mac,
        address: clientAddress(request),
        serverUrl: url,
        facts: factsFrom(query),
        pick: pickFrom(query),
      });
      noteScript(request, made, tracker);
      return sendScript(reply, made.script);
    },
  );

  app.get<{ Params: { claim: string } }>(
    "/boot/claims/:claim/node.cpio",
    // GRUB asks for the length first where it loads through the firmware's HTTP: here HEAD is a fetch like any other.
    { schema: { summary: "The initrd that makes the machine a node, behind its claim", tags: ["boot"] } },
    async (request, reply) => {
      const { archive, machine } = await boots.nodeInitrd({
        secret: request.params.claim,
        address: clientAddress(request),
        serverUrl: serverUrl(request, address),
      });
      void reply.header("cache-control", "no-store");
      // A loader takes a text in its place for an archive.
      if (!archive) return reply.code(404).send();
      // Firmware loads it: as "config" it would be the step of a system that runs.
      if (request.method === "GET") request.bootStep = { machineId: machine.id, step: "node", detail: {} };
      return reply.type("application/octet-stream").send(Buffer.from(archive));
    },
  );

  for (const [path, { kind, type }] of Object.entries(documents)) {
    app.get<{ Params: { claim: string } }>(
      `/boot/claims/:claim/${path}`,
      // Each answer counts as a fetch under the claim, so there is no HEAD.
      {
        exposeHeadRoute: false,
        schema: { summary: `The machine's ${kind}, behind its claim`, tags: ["boot"] },
      },
      async (request, reply) => {
        const { text, machine } = await boots.config({
          secret: request.params.claim,
          address: clientAddress(request),
          kind,
          serverUrl: serverUrl(request, address),
          ignitionMinor: ignitionMinor(request.headers.accept),
        });
        const digest = deps.digestServed?.(machine, kind);
        const detail = { document: kind, ...(digest === undefined ? {} : { digest }) };
        request.bootStep = { machineId: machine.id, step: "config", detail };
        void reply.header("cache-control", "no-store").type(type);
        // cloud-init asks 10 times for a document that is 404, so one that the role does not have is empty; Ignition takes 204 as empty.
        return text === undefined && type === ignitionType ? reply.code(204).send() : reply.send(text ?? "");
      },
    );
  }
}

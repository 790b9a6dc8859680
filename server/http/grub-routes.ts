import type { FastifyInstance } from "fastify";
import { firstGrubConfig, grubConfigBytes, readGrubFacts } from "../boot/grub-config.ts";
import { InvalidMac } from "../domain/error-catalogue.ts";
import { parseMac } from "../net/mac.ts";
import { parseUuid } from "../net/uuid.ts";
import { type BootRouteDeps, noteScript, pickFrom, sendScript } from "./boot-routes.ts";
import { clientAddress, serverUrl } from "./request-facts.ts";

/** What signed GRUB loads, which its Secure Boot lets start where it lets no iPXE. An error is a config (200) as for iPXE it is a script. */
export function registerGrubRoutes(
  app: FastifyInstance,
  { boots, tracker, renderer, address }: BootRouteDeps,
): void {
  app.get(
    "/grub/grub.cfg",
    { schema: { summary: "GRUB's first contact: leads to the machine's own config", tags: ["boot"] } },
    (request, reply) => {
      const from = clientAddress(request);
      const machine = boots.machineAt(from);
      if (machine && request.method === "GET")
        request.bootStep = { machineId: machine.id, step: "contact", detail: {} };
      boots.firstStageServed(from, "started");
      return sendScript(reply, firstGrubConfig(serverUrl(request, address), renderer));
    },
  );

  // GRUB looks for lists of modules that it could load, and shows an error for each that is not there; the signed one has all it needs.
  app.get(
    "/grub/:platform/:list.lst",
    { schema: { summary: "GRUB's lists of modules: empty", tags: ["boot"] } },
    (_request, reply) => reply.type("text/plain; charset=utf-8").send(""),
  );

  const path = "/boot/:mac/grub.cfg";
  const schema = { summary: "The machine's own GRUB config; always 200", tags: ["boot"] };
  // Through the firmware's HTTP, GRUB asks for the length first. A config is made for GET alone, since making it mints a claim.
  app.head(path, { schema: { ...schema, hide: true } }, (_request, reply) =>
    sendScript(reply.header("content-length", grubConfigBytes), ""),
  );
  app.get<{ Params: { mac: string }; Querystring: Record<string, unknown> }>(
    path,
    { exposeHeadRoute: false, schema },
    async (request, reply) => {
      const url = serverUrl(request, address);
      const grub = readGrubFacts(request.query);
      const mac = parseMac(request.params.mac);
      if (!mac) {
        const { script } = boots.errorScript(InvalidMac({ text: request.params.mac }), url, true);
        return sendScript(reply, script);
      }
      const { uuid } = request.query;
      const made = await boots.script({
        mac,
        address: clientAddress(request),
        serverUrl: url,
        facts: {
          uuid: typeof uuid === "string" ? parseUuid(uuid) : undefined,
          arch: grub.arch,
          secureBoot: grub.secureBoot,
        },
        grub,
        pick: pickFrom(request.query),
      });
      noteScript(request, made, tracker);
      return sendScript(reply, made.script);
    },
  );
}

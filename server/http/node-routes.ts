import { TLSSocket } from "node:tls";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type ClusterService, longestPollMs } from "../cluster/cluster-service.ts";
import { type AgentProof, keyDigest } from "../cluster/registrar.ts";
import type { Instruction } from "../domain/cluster-node.ts";
import { AgentNotKnown, InvalidRequest, NoCluster } from "../domain/error-catalogue.ts";
import { tar } from "../node/tar.ts";
import { clientAddress } from "./request-facts.ts";

export interface NodeRouteDeps {
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
}

/** A name that stands in it twice has several values. */
type Query = Readonly<Record<string, string | readonly string[]>>;

/** An agent's request with its CSR has about 1 KiB. */
const claimLimitBytes = 32 * 1024;
/** The tail of a log that comes with a report. */
const reportLimitBytes = 16 * 1024;

/** The agent on a node: it claims its boot, asks what to do, and tells what came of it. */
export function registerNodeRoutes(app: FastifyInstance, deps: NodeRouteDeps): void {
  const serviceOf = () => {
    if (!deps.cluster) throw NoCluster({});
    return deps.cluster;
  };

  app.post<{ Params: { claim: string } }>(
    "/callback/:claim/join",
    {
      bodyLimit: claimLimitBytes,
      schema: {
        summary: "The machine calls back to join the cluster: it gets a client certificate for this boot",
        tags: ["callback"],
      },
    },
    async (request, reply) => {
      const fields = fieldsOf(request.body);
      const { name, certificate, authority } = await serviceOf().claim(
        request.params.claim,
        clientAddress(request),
        fields,
      );
      return reply
        .type("text/plain; charset=utf-8")
        .header("cache-control", "no-store")
        .send(`name ${name}\nwait ${longestPollMs / 1000}\n${certificate}${authority}`);
    },
  );

  app.get<{ Querystring: Query }>(
    "/node/instruction",
    {
      exposeHeadRoute: false,
      schema: { summary: "What the machine is to do next; waits for it", tags: ["callback"] },
    },
    async (request, reply) => {
      const service = serviceOf();
      const instruction = await service.instruction(proofOf(request), {
        done: numberOf(request.query, "done"),
        waitMs: numberOf(request.query, "wait") * 1000,
      });
      void reply.header("cache-control", "no-store");
      if (!instruction) return reply.code(204).send();
      return reply.type("application/x-tar").send(instructionArchive(instruction));
    },
  );

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
    scope.post<{ Querystring: Query; Body: string | undefined }>(
      "/node/report",
      { bodyLimit: reportLimitBytes, schema: { summary: "What an instruction came to", tags: ["callback"] } },
      async (request, reply) => {
        const service = serviceOf();
        await service.report(proofOf(request), {
          sequence: numberOf(request.query, "sequence"),
          result: numberOf(request.query, "result"),
          phase: wordOf(request.query, "phase")
            .replaceAll(/[^a-z-]/g, "")
            .slice(0, 40),
          tail: withoutSecrets(typeof request.body === "string" ? request.body : ""),
        });
        return reply.code(204).send();
      },
    );
  });
}

/**
 * OpenSSL's words for a certificate out of its time. A machine may stay on longer than its certificate lasts, and a clock may jump; what ends
 * an agent is the row of its machine, which has its key for this boot.
 */
const outOfTime: readonly string[] = ["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"];

/** Whoever holds the key of a certificate of our agents' authority. @throws AgentNotKnown */
function proofOf({ raw: { socket } }: FastifyRequest): AgentProof {
  const isOurs =
    socket instanceof TLSSocket &&
    (socket.authorized || outOfTime.includes(String(socket.authorizationError)));
  const certificate = isOurs ? socket.getPeerX509Certificate() : undefined;
  const subject = certificate?.subject ?? "";
  const bootId = /^CN=([\w-]{1,64})$/m.exec(subject)?.[1];
  const machineId = /^O=([\w-]{1,64})$/m.exec(subject)?.[1];
  if (!certificate || bootId === undefined || machineId === undefined) throw AgentNotKnown({});
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  return { bootId, machineId, key: keyDigest(spki) };
}

/** The instruction as an agent of POSIX sh reads it: lines of `name=value`, and the files for the node's user namespace. */
export function instructionArchive(instruction: Instruction): Buffer {
  const { sequence, operation, deadlineSeconds, message, files } = instruction;
  const lines = [
    `sequence=${sequence}`,
    `operation=${operation}`,
    `deadline=${deadlineSeconds}`,
    `message=${message.replaceAll(/[^\x20-\x7e]+/g, " ")}`,
    `arguments=${instruction.arguments.join(" ")}`,
  ];
  return tar([
    { name: "instruction", mode: 0o600, content: `${lines.join("\n")}\n` },
    ...files.map(({ path, mode, content }) => ({ name: `files${path}`, mode, content })),
  ]);
}

function fieldsOf(body: unknown): Record<string, string> {
  if (typeof body !== "object" || body === null) throw InvalidRequest({ problem: "a claim has form fields" });
  return Object.fromEntries(
    Object.entries(body as Record<string, unknown>).flatMap(([name, value]) =>
      typeof value === "string" ? [[name, value]] : [],
    ),
  );
}

/** @returns what stands once in a query, or "" */
function wordOf(query: Query, name: string): string {
  const said = query[name] ?? "";
  if (typeof said !== "string") throw InvalidRequest({ problem: `${name} stands in the query twice` });
  return said;
}

function numberOf(query: Query, name: string): number {
  const text = wordOf(query, name);
  if (!/^[0-9]{1,9}$/.test(text)) throw InvalidRequest({ problem: `${name} must be a number` });
  return Number(text);
}

/** What an agent of ours has taken out already; another's log may have it still. */
function withoutSecrets(text: string): string {
  return text
    .replaceAll(
      /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g,
      "(a private key)",
    )
    .replaceAll(/(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])/g, "(a bootstrap token)")
    .replaceAll(/(?<![0-9a-f:])[0-9a-f]{64}(?![0-9a-f])/g, "(64 hex digits)")
    .replaceAll(/\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+/g, "(a token)");
}

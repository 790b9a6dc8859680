import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import { describeTarget } from "../../domain/assignment.ts";
import { formatKubernetesVersion } from "../../domain/cluster.ts";
import type { ClusterNode } from "../../domain/cluster-node.ts";
import type { ClusterTransition } from "../../domain/cluster-record.ts";
import type { DeclaredStatus } from "../../domain/declared-object.ts";
import { InvalidRequest, NoCluster, NodeNotResettable } from "../../domain/error-catalogue.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import { operators, readers } from "../authorization.ts";
import { registerClusterEndpointApi } from "./cluster-endpoint.ts";
import { isoTime } from "./views.ts";

export interface ClusterApiDeps {
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly boots: BootService;
  readonly roles: () => LoadedRoles;
}

const nodeName = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
const machine = Type.String({ minLength: 1, maxLength: 253 });

const joinBody = Type.Object({ name: Type.String({ pattern: nodeName }) }, { additionalProperties: false });
const armBody = Type.Object(
  {
    machine,
    code: Type.Optional(Type.String({ pattern: "^[0-9]{6}$" })),
    minutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 1440 })),
  },
  { additionalProperties: false },
);
const releaseBody = Type.Object({ machine }, { additionalProperties: false });
const resetBody = Type.Object(
  { machine: Type.Optional(machine), destroyCluster: Type.Optional(Type.String({ maxLength: 253 })) },
  { additionalProperties: false },
);
const transitionsQuery = Type.Object(
  {
    machine: Type.Optional(machine),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
  },
  { additionalProperties: false },
);

/** Refused documents in an answer; the count tells of all. */
const shownRefused = 100;

function declaredView({ applied, waiting, refused }: DeclaredStatus) {
  return {
    applied,
    waiting,
    refused: refused.length,
    problems: refused.slice(0, shownRefused).map(({ file, place, line, object, reason }) => ({
      file,
      document: place ?? null,
      line: line ?? null,
      object: object ?? null,
      reason,
    })),
  };
}

/** How a machine stands in the cluster; the arming code is on its own screen and nowhere else. */
export function clusterNodeView(node: ClusterNode) {
  return {
    machine: node.name,
    role: node.role,
    state: node.state,
    since: isoTime(node.since),
    address: node.address,
    boot: node.bootId,
    generation: node.generation,
    tries: node.tries,
    problem: node.problem ?? null,
    kernel: node.report.kernel,
    memoryKiB: node.report.memoryKiB,
  };
}

function clusterView(service: ClusterService) {
  const { cluster, record } = service;
  const declared = service.declaredObjects();
  return {
    name: cluster.name,
    kubernetesVersion: formatKubernetesVersion(cluster.version),
    endpoint: `https://${cluster.endpoint.host}:${cluster.endpoint.port}`,
    authorityHash: service.authorityHash,
    etcd: cluster.etcd.kind,
    // The word of the config.
    etcdMode: cluster.etcd.kind === "stacked" ? "stacked" : service.keepsData ? "server" : "ephemeral",
    ephemeral: !service.keepsData,
    state: record.state,
    generation: record.generation,
    initializedAt: isoTime(record.initializedAt),
    readyMasters: service.readyMasters(),
    declaredObjects: declared ? declaredView(declared) : null,
    nodes: service
      .nodes()
      .toSorted((left, right) => (left.role + left.name < right.role + right.name ? -1 : 1))
      .map(clusterNodeView),
  };
}

function transitionView(transition: ClusterTransition, nameOf: (id: string) => string) {
  const { machineId, bootId, from, to, cause, generation } = transition;
  return {
    at: isoTime(transition.at),
    machine: machineId === undefined ? null : nameOf(machineId),
    boot: bootId ?? null,
    from,
    to,
    cause,
    generation,
  };
}

export function registerClusterApi(app: FastifyInstance, deps: ClusterApiDeps): void {
  const { inventory, roles, exams } = deps;
  const tags = ["cluster"];
  const serviceOf = (): ClusterService => {
    if (!deps.cluster) throw NoCluster({});
    return deps.cluster;
  };
  registerClusterEndpointApi(app, serviceOf);

  app.get(
    "/cluster",
    { schema: { summary: "The cluster, its masters and workers", tags }, config: { scopes: readers } },
    () => clusterView(serviceOf()),
  );

  app.get(
    "/cluster/kubeconfig",
    { schema: { summary: "A kubeconfig for the cluster's administrator; a secret, for 30 days", tags } },
    async (_request, reply) => {
      const text = await serviceOf().kubeconfig();
      return reply.type("application/yaml").header("cache-control", "no-store").send(text);
    },
  );

  app.get(
    "/cluster/join",
    {
      schema: {
        summary: "What a machine that is none of ours joins by, but for a token",
        tags,
        // A name was part of it once: whoever gives one still would take the template for a command.
        querystring: Type.Object({}, { additionalProperties: false }),
      },
      config: { scopes: readers },
    },
    () => {
      const service = serviceOf();
      const { endpoint, authorityHash, nodes } = clusterView(service);
      return {
        endpoint,
        authorityHash,
        members: nodes
          .filter(({ state }) => state === "ready")
          .map(({ machine, role }) => ({ machine, role })),
        command: service.joinTemplate,
      };
    },
  );

  app.post<{ Body: Static<typeof joinBody> }>(
    "/cluster/join",
    {
      schema: {
        summary:
          "Make the command by which a machine that is none of ours joins as a worker; a secret, good for the Node of this name and 15 minutes",
        tags,
        body: joinBody,
      },
      config: { scopes: operators, audit: ["name"] },
    },
    async (request, reply) => {
      const { command, expiresAt } = await serviceOf().joinCommand(request.body.name);
      return reply
        .code(201)
        .header("cache-control", "no-store")
        .send({ command, expiresAt: isoTime(expiresAt) });
    },
  );

  app.post<{ Body: Static<typeof armBody> }>(
    "/cluster/arm",
    {
      schema: {
        summary: "Let a master join: by the code on its screen, or whenever it boots within the time",
        tags,
        body: armBody,
      },
      config: { scopes: operators, audit: "own" },
    },
    async (request) => {
      const { code, minutes } = request.body;
      if (code !== undefined && minutes !== undefined)
        throw InvalidRequest({
          problem: "either a code or a time: a code is good for the boot that shows it",
        });
      const armed = inventory.get(request.body.machine);
      exams.refuse([armed], request.asker);
      await serviceOf().arm(armed, {
        code,
        forMs: minutes === undefined ? undefined : minutes * 60_000,
        by: request.actor,
      });
      const { target } = deps.boots.select(armed);
      const nodeRole = target.kind === "role" ? roles().roles.get(target.role)?.node : undefined;
      return { armed: armed.name, role: describeTarget(target), nodeRole: nodeRole ?? null };
    },
  );

  app.post<{ Body: Static<typeof releaseBody> }>(
    "/cluster/release",
    {
      schema: { summary: "Let a machine that was given up try again", tags, body: releaseBody },
      config: { scopes: operators, audit: ["machine"] },
    },
    async (request) => ({
      released: await serviceOf().release(inventory.get(request.body.machine), request.actor),
    }),
  );

  app.post<{ Body: Static<typeof resetBody> }>(
    "/cluster/reset",
    {
      schema: {
        summary:
          "Take a machine out of the cluster, drained, and boot it anew; with `destroyCluster` and no machine the whole cluster goes back to nothing",
        tags,
        body: resetBody,
      },
      config: { scopes: operators, audit: ["machine", "destroyCluster"] },
    },
    async (request, reply) => {
      const { machine: name, destroyCluster } = request.body;
      const service = serviceOf();
      if (name === undefined) {
        const ids = new Set(service.nodes().map(({ machineId }) => machineId));
        exams.refuse(
          inventory.all().filter(({ id }) => ids.has(id)),
          request.asker,
        );
        await service.reset(destroyCluster, request.actor);
      } else {
        const machine = inventory.get(name);
        exams.refuse([machine], request.asker);
        const mayEnd = destroyCluster !== undefined && destroyCluster === service.cluster.name;
        if (!(await service.resetNode(machine, request.actor, mayEnd)))
          throw NodeNotResettable({
            machine: machine.name,
            state: service.node(machine.id)?.state ?? "unknown",
          });
      }
      return reply.code(202).send(clusterView(service));
    },
  );

  app.get<{ Querystring: Static<typeof transitionsQuery> }>(
    "/cluster/transitions",
    {
      schema: {
        summary: "Each step of the cluster and its machines, the newest first",
        tags,
        querystring: transitionsQuery,
      },
      config: { scopes: readers },
    },
    (request) => {
      const { machine: name, limit = 100 } = request.query;
      const id = name === undefined ? undefined : inventory.get(name).id;
      const names = new Map([...inventory.all()].map((one) => [one.id, one.name]));
      const nameOf = (machineId: string) => names.get(machineId) ?? machineId;
      return {
        items: serviceOf()
          .transitions(id, limit)
          .map((transition) => transitionView(transition, nameOf)),
        next: null,
      };
    },
  );
}

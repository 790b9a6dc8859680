import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import { NoCluster } from "../../domain/error-catalogue.ts";
import { longestTokenSeconds, shortestTokenSeconds } from "../../domain/student.ts";
import { describeUse } from "../../domain/student-objects.ts";
import type {
  StudentCreation,
  StudentDescription,
  Students,
  StudentStatus,
} from "../../students/students.ts";
import { operators, readers } from "../authorization.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface StudentApiDeps {
  /** Undefined: no cluster is configured. */
  readonly cluster: ClusterService | undefined;
}

const createBody = Type.Object(
  { names: Type.Array(Type.String({ minLength: 1, maxLength: 200 }), { minItems: 1, maxItems: 500 }) },
  { additionalProperties: false },
);
const tokenBody = Type.Object(
  {
    expiresInSeconds: Type.Optional(
      Type.Integer({ minimum: shortestTokenSeconds, maximum: longestTokenSeconds }),
    ),
  },
  { additionalProperties: false },
);

function creationView({ asked, name, result, reason, suggestion }: StudentCreation) {
  return { asked, name: name ?? null, result, reason: reason ?? null, suggestion: suggestion ?? null };
}

function studentView({ student, state, problem, waitsForCluster, usage }: StudentStatus) {
  return {
    name: student.name,
    namespace: student.name,
    state,
    problem: problem ?? null,
    waitsForCluster,
    asked: student.asked ?? null,
    createdAt: isoTime(student.createdAt),
    createdBy: student.createdBy,
    pods: describeUse(usage, "pods") ?? null,
    cpu: describeUse(usage, "requests.cpu") ?? null,
    memory: describeUse(usage, "requests.memory") ?? null,
  };
}

function descriptionView(description: StudentDescription) {
  const { student, objects, usage, tokens } = description;
  return {
    ...studentView(description),
    leavingSince: isoTime(student.leaving?.since),
    leavingBy: student.leaving?.by ?? null,
    objects,
    quota: Object.keys(usage?.hard ?? {})
      .toSorted()
      .map((resource) => ({
        resource,
        used: usage?.used[resource] ?? "0",
        hard: usage?.hard[resource] ?? "0",
      })),
    tokens: tokens.map(({ issuedAt, expiresAt, issuedBy, isAlive }) => ({
      issuedAt: isoTime(issuedAt),
      expiresAt: isoTime(expiresAt),
      issuedBy,
      isAlive,
    })),
  };
}

/** Students and their namespaces. Tokens are in the answer that makes them and nowhere else. */
export function registerStudentApi(app: FastifyInstance, deps: StudentApiDeps): void {
  const tags = ["students"];
  const studentsOf = (): Students => {
    if (!deps.cluster?.students) throw NoCluster({});
    return deps.cluster.students;
  };
  interface Named {
    Params: { name: string };
  }

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/students",
    {
      schema: { summary: "All students, and what of their shares is used", tags, querystring: listQuery },
      config: { scopes: readers, rooms: "cluster" },
    },
    async (request) => {
      const { items, next } = page(await studentsOf().list(), ({ student }) => student.name, request.query);
      return { items: items.map(studentView), next };
    },
  );

  app.post<{ Body: Static<typeof createBody> }>(
    "/students",
    {
      schema: {
        summary:
          "Create students by names as a class list has them; those who are there stay. The answer says of each what came of it: created, exists or refused",
        tags,
        body: createBody,
      },
      config: { scopes: operators, rooms: "cluster" },
    },
    async (request, reply) => {
      const made = await studentsOf().create(request.body.names, request.actor);
      const isAnyNew = made.some(({ result }) => result === "created");
      return reply.code(isAnyNew ? 201 : 200).send({ items: made.map(creationView), next: null });
    },
  );

  app.get<Named>(
    "/students/:name",
    {
      schema: { summary: "One student: objects, quota, tokens that were given, problems", tags },
      config: { scopes: readers, rooms: "cluster" },
    },
    async (request) => descriptionView(await studentsOf().describe(request.params.name)),
  );

  app.delete<Named>(
    "/students/:name",
    {
      schema: {
        summary:
          "Delete a student with all that is in the namespace; the student is `leaving` until nothing is left in the cluster, and then not found",
        tags,
      },
      config: { scopes: operators, rooms: "cluster" },
    },
    async (request, reply) => {
      const { name } = request.params;
      const students = studentsOf();
      await students.remove(name, request.actor);
      return reply.code(202).send({ name, state: "leaving" });
    },
  );

  app.post<Named & { Body: Static<typeof tokenBody> }>(
    "/students/:name/tokens",
    {
      schema: {
        summary: "Make a token of the student's account, and a kubeconfig with it; secrets, shown once",
        tags,
        body: tokenBody,
      },
      config: { scopes: operators, rooms: "cluster" },
    },
    async (request, reply) => {
      const { name, token, kubeconfig, expiresAt, isShortened } = await studentsOf().issueToken(
        request.params.name,
        request.body.expiresInSeconds,
        request.actor,
      );
      return reply
        .code(201)
        .header("cache-control", "no-store")
        .send({
          name,
          namespace: name,
          token,
          kubeconfig,
          expiresAt: isoTime(expiresAt),
          shortened: isShortened,
        });
    },
  );
}

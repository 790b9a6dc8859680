import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { RegistryCheck } from "../../registry/check.ts";
import type { GarbageCollection } from "../../registry/garbage-collection.ts";
import { imageMakers } from "../authorization.ts";

export interface RegistryApiDeps {
  readonly registry: { readonly collection: GarbageCollection; readonly check: RegistryCheck };
}

const checkBody = Type.Object(
  {
    deep: Type.Boolean({ default: false, description: "read all content and compare its digests" }),
    repair: Type.Boolean({
      default: false,
      description: "make the rows what the content says, and remove files that nobody knows",
    }),
  },
  { additionalProperties: false },
);
const collectBody = Type.Object(
  { dryRun: Type.Boolean({ default: false, description: "only tell what would go" }) },
  { additionalProperties: false },
);

export function registerRegistryApi(app: FastifyInstance, { registry }: RegistryApiDeps): void {
  app.post<{ Body: Static<typeof checkBody> }>(
    "/registry/check",
    {
      config: { scopes: imageMakers },
      schema: {
        summary:
          "Compare what the registry knows with what lies on the disk; the answer comes when it is done",
        tags: ["registry"],
        body: checkBody,
      },
    },
    async ({ body }) => {
      const { isDeep, isRepaired, ...found } = await registry.check.check({
        isDeep: body.deep,
        isRepair: body.repair,
      });
      return { ...found, deep: isDeep, repaired: isRepaired };
    },
  );

  app.post<{ Body: Static<typeof collectBody> }>(
    "/registry/collect",
    {
      config: { scopes: imageMakers },
      schema: {
        summary: "Remove manifests and blobs of the registry that nobody needs",
        tags: ["registry"],
        body: collectBody,
      },
    },
    ({ body }) => registry.collection.collect({ isDry: body.dryRun }),
  );
}

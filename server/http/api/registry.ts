import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { RegistryCheck } from "../../registry/check.ts";
import type { GarbageCollection } from "../../registry/garbage-collection.ts";
import type { Pins } from "../../registry/pins.ts";
import { RegistryOff, TokenInvalid } from "../../domain/error-catalogue.ts";
import { type ClientSettings, clientFiles, takesAnything } from "../../signatures/policy/client-files.ts";
import { imageMakers, readers } from "../authorization.ts";
import { isoTime } from "./views.ts";

export interface RegistryApiDeps {
  readonly registry: {
    readonly collection: GarbageCollection;
    readonly check: RegistryCheck;
    readonly pins: Pick<Pins, "list">;
    /** Undefined: the registry is switched off. */
    readonly access: RegistryAccess | undefined;
    /** What nodes that boot now are told. */
    clientSettings(): ClientSettings;
  };
}

interface RegistryAccess {
  /** What an administrator shows to the registry for some minutes. @returns undefined: there is no such token any more */
  credential(
    actor: string,
  ): { readonly user: string; readonly password: string; readonly expiresInSeconds: number } | undefined;
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

/** What nodes are told to trust: by scope, and as the files that they get. */
function policyView(settings: ClientSettings) {
  const names = (signers: readonly { readonly name: string }[]) => signers.map(({ name }) => name);
  const unsigned = (settings.unsignedImages ?? []).filter((scope) => !settings.trust.has(scope));
  const signed = [...settings.trust].map(([scope, { signers, former }]) => ({
    scope,
    needsSignature: true,
    signers: names(signers),
    former: names(former),
  }));
  return {
    /** Of an image that falls under no scope. */
    others: takesAnything(settings) ? "taken" : "refused",
    scopes: [
      ...signed,
      ...unsigned.map((scope) => ({ scope, needsSignature: false, signers: [], former: [] })),
    ].toSorted((one, other) => (one.scope < other.scope ? -1 : 1)),
    files: clientFiles(settings),
  };
}

export function registerRegistryApi(app: FastifyInstance, { registry }: RegistryApiDeps): void {
  app.get(
    "/registry/policy",
    {
      config: { scopes: readers },
      schema: {
        summary: "What nodes are told to trust: which images need whose signature, and the files that say so",
        tags: ["registry"],
      },
    },
    () => policyView(registry.clientSettings()),
  );

  app.post<{ Body: Static<typeof checkBody> }>(
    "/registry/check",
    {
      config: { scopes: imageMakers, audit: ["deep", "repair"] },
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
      config: { scopes: imageMakers, audit: ["dryRun"] },
      schema: {
        summary: "Remove manifests and blobs of the registry that nobody needs",
        tags: ["registry"],
        body: collectBody,
      },
    },
    async ({ body }) => {
      const { waiting, ...found } = await registry.collection.collect({ isDry: body.dryRun });
      return {
        ...found,
        waiting: { blobCount: 0, bytes: 0, ...waiting, until: isoTime(waiting?.until) },
        pinned: registry.pins.list(),
      };
    },
  );

  // For administrators alone, so that no token of less lasts longer by it.
  app.post(
    "/registry/credentials",
    {
      schema: {
        summary: "A login for the registry, for some minutes; it is kept nowhere",
        tags: ["registry"],
        body: Type.Object({}, { additionalProperties: false }),
      },
    },
    ({ actor }, reply) => {
      if (!registry.access) throw RegistryOff({});
      const credential = registry.access.credential(actor);
      if (!credential) throw TokenInvalid({});
      void reply.header("cache-control", "no-store");
      return credential;
    },
  );
}

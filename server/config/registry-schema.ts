import { Type } from "typebox";
import { port } from "./schema-parts.ts";
import { upstreamSchema } from "./upstream-schema.ts";

const hostPattern = "^[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?$";

/** The section `registry`. */
export const registrySchema = Type.Object(
  {
    enabled: Type.Boolean({ default: true, description: "serve container images" }),
    port: port(80, "registry.local"),
    tlsPort: port(443, "registry.local over TLS"),
    insecurePush: Type.Boolean({
      default: false,
      description: "take pushes over plain HTTP from other machines too; tokens can be overheard there",
    }),
    host: Type.String({
      pattern: hostPattern,
      default: "registry.local",
      description: "what nodes call the registry; signatures name images by it",
    }),
    aliases: Type.Array(Type.String({ pattern: hostPattern }), {
      default: [],
      description:
        "other names and addresses of the registry, with a port where there is one: nodes that pull by them are given a policy for them",
    }),
    upstreams: Type.Array(upstreamSchema, {
      default: [],
      description: "other registries whose images are fetched, kept and served here",
    }),
    cacheBytes: Type.Integer({
      minimum: 1,
      maximum: 1_000_000_000_000_000,
      default: 64_000_000_000,
      description:
        "limit for what is kept of upstreams, octets; over it goes what nobody used for the longest time",
    }),
    graceSeconds: Type.Integer({
      minimum: 0,
      maximum: 31_536_000,
      default: 3600,
      description:
        "what neither a tag nor a manifest names is kept for so long after its last use; longer than a push takes",
    }),
    quotaBytes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000_000_000_000,
        description: "limit for all that the registry keeps, octets; default: the disk",
      }),
    ),
    scrubBytesPerSecond: Type.Integer({
      minimum: 0,
      maximum: 10_000_000_000,
      default: 8_000_000,
      description: "how fast the registry's content is read in the background to find damage; 0: not at all",
    }),
  },
  { additionalProperties: false },
);

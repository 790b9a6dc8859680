import { Type } from "typebox";
import { type RepositoryMode, repositoryModes } from "../domain/container-images.ts";
import { port } from "./schema-parts.ts";
import { upstreamSchema } from "./upstream-schema.ts";

const hostPattern = "^[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?$";

const rulePattern = "^[a-z0-9*._/-]{1,255}$";
const repositoryRuleSchema = Type.Object(
  {
    pattern: Type.String({
      pattern: rulePattern,
      title: "a name of a repository, with * for any characters",
      description: "names of repositories; * stands for any characters",
    }),
    mode: Type.Unsafe<RepositoryMode>(
      Type.Union(
        repositoryModes.map((mode) => Type.Literal(mode)),
        {
          description:
            "who gets an image that is not signed: open (everybody), warn (everybody, with a warning), require-signed (only who may push it)",
        },
      ),
    ),
  },
  {
    additionalProperties: false,
    title: "entries like `- { pattern: p10/*, mode: require-signed }`; modes are open, warn, require-signed",
  },
);

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
    repositories: Type.Array(repositoryRuleSchema, {
      default: [],
      maxItems: 200,
      description: "whose images have to be signed; the first entry whose pattern fits counts",
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
        description: "limit for all that is pushed to the registry, octets; default: the disk",
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

import { Type } from "typebox";
import { type RepositoryMode, repositoryModes } from "../domain/container-images.ts";
import { port } from "./schema-parts.ts";
import { upstreamSchema } from "./upstream-schema.ts";

const hostPattern = "^[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?$";

const userPattern = "^[^:\\s]{1,100}$";
const rulePattern = "^[a-z0-9*._/-]{1,255}$";
const repositoryRuleSchema = Type.Object(
  {
    pattern: Type.String({
      pattern: rulePattern,
      title: "a name of a repository, with * for any characters",
      description: "names of repositories; * stands for any characters",
    }),
    mode: Type.Optional(
      Type.Unsafe<RepositoryMode>(
        Type.Union(
          repositoryModes.map((mode) => Type.Literal(mode)),
          {
            description:
              "who gets an image that is not signed: open (everybody), warn (everybody, with a warning), require-signed (only who may push it)",
          },
        ),
      ),
    ),
    quotaBytes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000_000_000_000,
        description: "octets that each of these repositories may have",
      }),
    ),
  },
  {
    additionalProperties: false,
    title:
      "entries like `- { pattern: p10/*, mode: require-signed, quotaBytes: 20000000000 }`; modes are open, warn, require-signed",
  },
);

const userSchema = Type.Object(
  {
    name: Type.String({
      pattern: userPattern,
      title: "a user of registry.htpasswdFile",
      description: "user of registry.htpasswdFile",
    }),
    repositories: Type.Array(
      Type.String({
        pattern: rulePattern,
        title: "a name of a repository, with * for any characters",
        description: "names of repositories; * stands for any characters",
      }),
      { maxItems: 100, description: "repositories that this user may change" },
    ),
  },
  {
    additionalProperties: false,
    title: "entries like `- { name: anna, repositories: [p10/*] }`",
  },
);

/** The section `registry`. */
export const registrySchema = Type.Object(
  {
    enabled: Type.Boolean({ default: true, description: "serve container images" }),
    port: port(80, "registry.local"),
    tlsPort: port(443, "registry.local over TLS"),
    anonymousPull: Type.Boolean({
      default: true,
      description:
        "everybody pulls; false: only who logs in, with an API token of any scope or as a user of registry.htpasswdFile",
    }),
    insecurePush: Type.Boolean({
      default: false,
      description:
        "take logins over plain HTTP from other machines too, to push and, without registry.anonymousPull, to pull; they can be overheard there",
    }),
    htpasswdFile: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          "users of the registry with their passwords, as `htpasswd -B` writes them; they may push; the file is read anew when it changes",
      }),
    ),
    users: Type.Array(userSchema, {
      default: [],
      maxItems: 1000,
      description: "users of registry.htpasswdFile who may change some repositories alone",
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
      description:
        "whose images have to be signed, and how large repositories may become; for each of the two the first entry that fits and names it counts",
    }),
    pins: Type.Array(
      Type.String({
        pattern: "^[a-z0-9*._/-]{1,255}(:[A-Za-z0-9_*.-]{1,128}|@sha(256|512):[0-9a-f]{64,128})$",
        title: "an image like p10/*:v1.26.9 or p10/pause@sha256:…, with * for any characters",
      }),
      {
        default: [],
        maxItems: 1000,
        description:
          "images that nobody may delete, as name:tag or name@digest; * stands for any characters. What roles and the cluster name is pinned anyway",
      },
    ),
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

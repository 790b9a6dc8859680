import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { RegistryAddress } from "../../domain/container-images.ts";
import {
  ContainerImageNotFound,
  NotFound,
  RegistryOff,
  RepositoryNotFound,
} from "../../domain/error-catalogue.ts";
import type { ImageRemoval } from "../../registry/image-removal.ts";
import type { Signatures } from "../../signatures/signatures.ts";
import type { RegistryRepository } from "../../store/registry.ts";
import { imageMakers, readers } from "../authorization.ts";
import { imageStateView } from "./keys.ts";
import { listQuery, pageQuery } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface ContainerImageApiDeps {
  readonly containers: {
    /** Undefined: the registry is switched off. */
    address(): RegistryAddress | undefined;
    readonly store: Pick<
      RegistryRepository,
      "tagged" | "taggedIn" | "imageBytes" | "hasRepository" | "findTag"
    >;
    readonly stateOf: Signatures["stateOf"];
    readonly removal: ImageRemoval;
  };
}

const signatureQuery = Type.Object(
  {
    ...pageQuery,
    tag: Type.Optional(Type.String({ maxLength: 128, description: "this tag alone" })),
    digest: Type.Optional(
      Type.String({
        pattern: "^sha(256|512):[0-9a-f]{64,128}$",
        description: "this manifest, whatever its tags are",
      }),
    ),
  },
  { additionalProperties: false },
);
type SignatureQuery = Static<typeof signatureQuery>;

const removeQuery = Type.Object(
  {
    image: Type.String({
      minLength: 1,
      maxLength: 600,
      description: "p10/pause:3.9, p10/pause@sha256:..., or p10/pause with all its tags",
    }),
    dryRun: Type.Boolean({ default: false, description: "only tell what would go" }),
    force: Type.Boolean({ default: false, description: "also what roles, the cluster or the config name" }),
  },
  { additionalProperties: false },
);

/** Images for containers, beside those that machines boot. */
export function registerContainerImageApi(app: FastifyInstance, { containers }: ContainerImageApiDeps): void {
  const { store, stateOf, removal } = containers;

  app.get(
    "/registry",
    {
      config: { scopes: readers },
      schema: {
        summary: "Where the container registry is, and whose certificate it shows",
        tags: ["registry"],
      },
    },
    () => {
      const address = containers.address();
      if (!address) throw RegistryOff({});
      return address;
    },
  );

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/registry/images",
    {
      config: { scopes: readers },
      schema: {
        summary: "Tags of all repositories, with what clients think of their signatures",
        tags: ["registry"],
        querystring: listQuery,
      },
    },
    ({ query: { limit, cursor = "" } }) => {
      // No name has a colon, so the first one parts it from the tag.
      const [, repository = "", tag = ""] = /^([^:]*):(.*)$/s.exec(cursor) ?? [];
      const found = store.tagged({ repository, tag }, limit + 1);
      const items = found.slice(0, limit);
      const last = items.at(-1);
      return {
        items: items.map((image) => {
          const { state, signers } = stateOf(image.repository, image.digest, image.tag) ?? lost;
          return {
            repository: image.repository,
            tag: image.tag,
            digest: image.digest,
            sizeBytes: store.imageBytes(image.repository, image.digest),
            state,
            signers,
            updatedAt: isoTime(image.updatedAt),
          };
        }),
        next: last && found.length > limit ? `${last.repository}:${last.tag}` : null,
      };
    },
  );

  app.delete<{ Querystring: Static<typeof removeQuery> }>(
    "/registry/images",
    {
      config: { scopes: imageMakers },
      schema: {
        summary: "Remove a tag or a manifest of the registry; its octets are free after the grace",
        tags: ["registry"],
        querystring: removeQuery,
      },
    },
    async ({ query: { image, dryRun, force }, actor }) => {
      if (!containers.address()) throw RegistryOff({});
      return removal.remove({ image, isDry: dryRun, isForced: force, by: actor });
    },
  );

  function signaturesOf(repository: string, { limit, cursor, tag, digest }: SignatureQuery) {
    if (!store.hasRepository(repository)) throw RepositoryNotFound({ repository });
    const view = (image: { tag: string | null; digest: string }) => {
      const state = stateOf(repository, image.digest, image.tag ?? undefined);
      if (!state) throw ContainerImageNotFound({ image: `${repository}@${image.digest}` });
      return { ...image, ...imageStateView(state) };
    };
    if (digest !== undefined) return { items: [view({ tag: null, digest })], next: null };
    if (tag !== undefined) {
      const found = store.findTag(repository, tag);
      if (found === undefined) throw ContainerImageNotFound({ image: `${repository}:${tag}` });
      return { items: [view({ tag, digest: found })], next: null };
    }
    const found = store.taggedIn(repository, { after: cursor, limit: limit + 1 });
    const items = found.slice(0, limit);
    const next = found.length > limit ? (items.at(-1)?.tag ?? null) : null;
    return { items: items.map((image) => view({ tag: image.tag, digest: image.digest })), next };
  }
  const schema = {
    summary:
      "Signatures of a repository's images, and what clients think of them; slashes of its name may stand as they are",
    tags: ["images"],
    querystring: signatureQuery,
  };
  app.get<{ Params: { repository: string }; Querystring: SignatureQuery }>(
    "/images/:repository/signatures",
    { config: { scopes: readers }, schema },
    ({ params, query }) => signaturesOf(params.repository, query),
  );
  app.get<{ Params: { "*": string }; Querystring: SignatureQuery }>(
    "/images/*",
    { config: { scopes: readers }, schema: { querystring: signatureQuery, hide: true } },
    ({ params, query, url }) => {
      const [, repository] = /^(.+)\/signatures$/.exec(params["*"]) ?? [];
      if (repository === undefined) throw NotFound({ path: url.split("?")[0] ?? "/" });
      return signaturesOf(repository, query);
    },
  );
}

/** Of a manifest that was deleted just now. */
const lost = { state: "unsigned", signers: [] } as const;

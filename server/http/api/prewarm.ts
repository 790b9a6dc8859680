import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { InvalidRequest, OperationNotFound } from "../../domain/error-catalogue.ts";
import type { Prewarm, PrewarmProgress } from "../../upstream/prewarm.ts";
import type { PullThrough } from "../../upstream/pull-through.ts";
import { imageMakers, readers } from "../authorization.ts";
import { isoTime } from "./views.ts";

export interface PrewarmApiDeps {
  readonly upstreams: { readonly prewarm: Prewarm; readonly pull: PullThrough };
}

const prewarmBody = Type.Object(
  {
    references: Type.Array(Type.String({ minLength: 1, maxLength: 600 }), {
      minItems: 1,
      maxItems: 100,
      description: "images as nodes name them here, e.g. docker.io/library/alpine:3.20",
    }),
    platform: Type.Optional(
      Type.String({
        pattern: "^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$",
        description: "e.g. linux/amd64; default: all that an image has",
      }),
    ),
  },
  { additionalProperties: false },
);

const view = ({ startedAt, endedAt, ...rest }: PrewarmProgress) => ({
  ...rest,
  startedAt: isoTime(startedAt),
  endedAt: isoTime(endedAt),
});

/** Images of upstream registries that are to be here before a room boots. */
export function registerPrewarmApi(app: FastifyInstance, { upstreams }: PrewarmApiDeps): void {
  app.post<{ Body: Static<typeof prewarmBody> }>(
    "/registry/prewarm",
    {
      config: { scopes: imageMakers, audit: ["references", "platform"] },
      schema: {
        summary: "Fetch images of upstream registries",
        description: "Answers at once; the operation tells how far it is.",
        tags: ["registry"],
        body: prewarmBody,
      },
    },
    async (request, reply) => {
      const images = request.body.references.map((text) => {
        const image = upstreams.prewarm.read(text);
        if (!image)
          throw InvalidRequest({
            problem: `${JSON.stringify(text.slice(0, 100))} is no image`,
            advice: "Name images as REPOSITORY:TAG or REPOSITORY@DIGEST, e.g. docker.io/library/alpine:3.20.",
          });
        return image;
      });
      return reply.code(202).send(view(upstreams.prewarm.start(images, request.body.platform)));
    },
  );

  app.get<{ Params: { id: string } }>(
    "/registry/prewarm/:id",
    { config: { scopes: readers }, schema: { summary: "How far a prewarm is", tags: ["registry"] } },
    (request) => {
      const progress = upstreams.prewarm.find(request.params.id);
      if (!progress) throw OperationNotFound({ id: request.params.id });
      return view(progress);
    },
  );

  app.get(
    "/registry/upstreams",
    {
      config: { scopes: readers },
      schema: { summary: "Upstream registries, and what was fetched of them", tags: ["registry"] },
    },
    () => ({
      items: upstreams.pull.upstreams.all.map(({ prefix, url, lookaside }) => ({ prefix, url, lookaside })),
      ...upstreams.pull.counts,
    }),
  );
}

import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { BootTracker } from "../../boot/tracker.ts";
import type { ContentStore } from "../../content/content-store.ts";
import type { Clock } from "../../domain/capabilities.ts";
import { AssetNotFound, ImageInUse, ImageNotFound } from "../../domain/error-catalogue.ts";
import type { RecordEvent } from "../../domain/event.ts";
import type { Image } from "../../domain/image.ts";
import type { Machine } from "../../domain/machine.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import type { ImageRepository } from "../../store/images.ts";
import { imageMakers, readers } from "../authorization.ts";
import { listQuery, page } from "./paging.ts";
import { imageView } from "./views.ts";

export interface ImageApiDeps {
  readonly clock: Clock;
  readonly content: Pick<ContentStore, "put" | "find" | "remove">;
  readonly images: ImageRepository;
  readonly inventory: Inventory;
  readonly tracker: BootTracker;
  readonly roles: () => LoadedRoles;
  readonly record: RecordEvent;
}

const digest = Type.String({ pattern: "^[0-9a-f]{64}$" });
const file = Type.Object({
  name: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$" }),
  sha256: digest,
  sizeBytes: Type.Integer({ minimum: 1 }),
});
const imageBody = Type.Object(
  {
    name: Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,62}$" }),
    version: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" }),
    arch: Type.Union([
      Type.Literal("x86_64"),
      Type.Literal("arm64"),
      Type.Literal("riscv64"),
      Type.Literal("x86"),
      Type.Literal("arm"),
    ]),
    files: Type.Object(
      { kernel: file, initrd: file, rootfs: Type.Optional(file) },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);
const removeQuery = Type.Object(
  {
    version: Type.Optional(Type.String({ maxLength: 63, description: "without it all versions" })),
  },
  { additionalProperties: false },
);

export function registerImageApi(app: FastifyInstance, deps: ImageApiDeps): void {
  const { clock, content, images, inventory, tracker, roles, record } = deps;

  function imageBootedBy(machine: Machine): string | undefined {
    const boot = tracker.current(machine.id);
    return boot?.outcome === "running" ? roles().roles.get(boot.target ?? "")?.image : undefined;
  }

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/images",
    {
      config: { scopes: readers },
      schema: { summary: "All images", tags: ["images"], querystring: listQuery },
    },
    (request) => {
      const { items, next } = page(images.all(), (image) => `${image.name}/${image.version}`, request.query);
      return { items: items.map(imageView), next };
    },
  );

  // Content comes before the image that names it, one file per request, so that each can be repeated by itself.
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    scope.put<{ Params: { sha256: string }; Body: AsyncIterable<Uint8Array> }>(
      "/contents/:sha256",
      {
        config: { scopes: imageMakers },
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          summary: "Upload content by its SHA-256",
          tags: ["images"],
          params: Type.Object({ sha256: digest }),
        },
      },
      async (request, reply) => {
        // Many GB over a slow line take as long as they take; only silence ends an upload.
        request.allowSlowBody();
        const known = await content.find(request.params.sha256);
        if (known) {
          request.raw.resume();
          return reply.send(known);
        }
        const announced = Number(request.headers["content-length"] ?? 0);
        return reply
          .code(201)
          .send(await content.put(request.body, { expected: request.params.sha256, sizeBytes: announced }));
      },
    );
    scope.get<{ Params: { sha256: string } }>(
      "/contents/:sha256",
      {
        config: { scopes: readers },
        schema: {
          summary: "Is this content there?",
          tags: ["images"],
          params: Type.Object({ sha256: digest }),
        },
      },
      async (request) => {
        const known = await content.find(request.params.sha256);
        if (!known) throw AssetNotFound({ sha256: request.params.sha256 });
        return known;
      },
    );
  });

  app.post<{ Body: Static<typeof imageBody> }>(
    "/images/import",
    {
      config: { scopes: imageMakers },
      schema: {
        summary: "Register an image; it becomes the version that machines boot",
        tags: ["images"],
        body: imageBody,
      },
    },
    async (request, reply) => {
      for (const { sha256 } of Object.values(request.body.files))
        if (!(await content.find(sha256))) throw AssetNotFound({ sha256 });
      const image = { ...request.body, addedAt: clock.now(), isCurrent: true } as Image;
      await images.save(image);
      record({
        type: "image.added",
        actor: request.actor,
        message: `image ${image.name} ${image.version} added`,
        data: { name: image.name, version: image.version },
      });
      return reply.code(201).send(imageView(image));
    },
  );

  app.delete<{ Params: { image: string }; Querystring: Static<typeof removeQuery> }>(
    "/images/:image",
    {
      config: { scopes: imageMakers },
      schema: { summary: "Remove an image", tags: ["images"], querystring: removeQuery },
    },
    async (request, reply) => {
      const { version } = request.query;
      const found = images
        .all()
        .filter(
          (image) =>
            image.name === request.params.image && (version === undefined || image.version === version),
        );
      if (found.length === 0) throw ImageNotFound({ image: request.params.image });
      const booting = inventory
        .all()
        .filter(
          (machine) =>
            ["netbooting", "booting"].includes(machine.phase) &&
            imageBootedBy(machine) === request.params.image,
        );
      if (booting.length > 0)
        throw ImageInUse({
          // A boot takes the current version, which may not be the one that was named.
          image: [request.params.image, images.findCurrent(request.params.image)?.version]
            .filter((part) => part !== undefined)
            .join(" "),
          machines: booting.map((machine) => machine.name),
        });
      for (const image of found) await images.remove(image);
      const kept = new Set(
        images.all().flatMap((image) => Object.values(image.files).map((file) => file.sha256)),
      );
      for (const { sha256 } of found.flatMap((image) => Object.values(image.files)))
        if (!kept.has(sha256)) await content.remove(sha256);
      record({
        type: "image.removed",
        actor: request.actor,
        message: `image ${request.params.image} ${version ?? "(all versions)"} removed`,
        data: { name: request.params.image },
      });
      return reply.code(204).send();
    },
  );
}

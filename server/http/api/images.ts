import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import type { BootTracker } from "../../boot/tracker.ts";
import type { ImageHolds } from "../../boot/image-holds.ts";
import type { AssetCollector } from "../../content/asset-collector.ts";
import type { ContentStore } from "../../content/content-store.ts";
import type { Clock } from "../../domain/capabilities.ts";
import {
  AssetNotFound,
  ImageInUse,
  ImageInvalid,
  ImageNeeded,
  ImageNotFound,
  NoPreviousVersion,
  UploadRejected,
} from "../../domain/error-catalogue.ts";
import type { RecordEvent } from "../../domain/event.ts";
import { type Image, previousVersion } from "../../domain/image.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import type { ImageRepository } from "../../store/images.ts";
import { imageMakers, readers } from "../authorization.ts";
import { listQuery, page } from "./paging.ts";
import { imageView } from "./views.ts";

export interface ImageApiDeps {
  readonly clock: Clock;
  readonly content: Pick<ContentStore, "put" | "find">;
  readonly collector: AssetCollector;
  readonly holds: Pick<ImageHolds, "all">;
  readonly images: ImageRepository;
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly tracker: BootTracker;
  readonly record: RecordEvent;
  readonly roles: () => LoadedRoles;
  readonly boots: BootService;
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
      {
        kernel: file,
        kernelEfi: Type.Optional(file),
        initrd: Type.Optional(file),
        rootfs: Type.Optional(file),
      },
      { additionalProperties: false },
    ),
    current: Type.Optional(
      Type.Boolean({ description: "false: it is put beside the version that machines boot; default true" }),
    ),
  },
  { additionalProperties: false },
);
const removeQuery = Type.Object(
  {
    version: Type.Optional(Type.String({ maxLength: 63, description: "without it all versions" })),
    force: Type.Boolean({ default: false, description: "also if roles are left with no version to boot" }),
  },
  { additionalProperties: false },
);

const currentBody = Type.Object(
  { version: Type.String({ minLength: 1, maxLength: 63 }) },
  { additionalProperties: false },
);
const collectBody = Type.Object(
  { dryRun: Type.Boolean({ default: false, description: "only tell what would go" }) },
  { additionalProperties: false },
);

export function registerImageApi(app: FastifyInstance, deps: ImageApiDeps): void {
  const { clock, content, collector, holds, images, inventory, tracker, record, roles, boots, exams } = deps;

  /** Versions of an image that machines are booting right now, with these machines. */
  function versionsInUse(name: string) {
    const machinesOf = new Map<string, Set<string>>();
    for (const { machineId, bootId, image } of holds.all()) {
      const boot = tracker.current(machineId);
      // A claim lives on for a while where its boot was given up or another one took its place.
      const isRunning = bootId === undefined || (boot?.id === bootId && boot.outcome === "running");
      const machine = inventory.all().find(({ id }) => id === machineId);
      if (image.name !== name || !isRunning || !machine) continue;
      machinesOf.set(image.version, (machinesOf.get(image.version) ?? new Set()).add(machine.name));
    }
    return [...machinesOf].map(([version, machines]) => ({ version, machines: [...machines].sort() }));
  }

  /** @throws ImageNeeded where roles would be left with no version of it */
  function refuseNeeded(image: string): void {
    const needing = [...roles().roles.values()]
      .filter((role) => role.image === image)
      .map(({ name }) => name);
    if (needing.length === 0) return;
    const machines = inventory.all().filter((machine) => {
      const { target } = boots.select(machine);
      return target.kind === "role" && needing.includes(target.role);
    }).length;
    throw ImageNeeded({ image, roles: needing.sort(), machines });
  }

  function tellSwitch(image: Image, actor: string): void {
    record({
      type: "image.switched",
      actor,
      message: `machines boot version ${image.version} of ${image.name} from now on`,
      data: { name: image.name, version: image.version },
    });
    collector.collectSoon();
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
        const { sha256 } = request.params;
        collector.expect(sha256);
        const known = await content.find(sha256);
        if (known) {
          request.raw.resume();
          return reply.send(known);
        }
        // What is of unknown length can't be weighed against assets.maxBytes before it is there.
        const length = request.headers["content-length"];
        if (length === undefined) throw UploadRejected({ problem: "its Content-Length is missing" });
        const announced = Number(length);
        await collector.makeRoom(announced);
        return reply
          .code(201)
          .send(await content.put(request.body, { expected: sha256, sizeBytes: announced }));
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
      config: { scopes: imageMakers, audit: "own" },
      schema: {
        summary: "Register an image; it becomes the version that machines boot",
        tags: ["images"],
        body: imageBody,
      },
    },
    async (request, reply) => {
      const { current: isCurrent = true, ...described } = request.body;
      for (const { name, sha256, sizeBytes } of Object.values(described.files)) {
        collector.expect(sha256);
        const stored = await content.find(sha256);
        if (!stored) throw AssetNotFound({ sha256 });
        // Machines are told the size, and refuse a root of another one.
        if (stored.sizeBytes !== sizeBytes)
          throw ImageInvalid({
            file: name,
            problem: `sizeBytes is ${sizeBytes}, and its content has ${stored.sizeBytes}`,
          });
      }
      const now = clock.now();
      const image = {
        ...described,
        addedAt: now,
        isCurrent,
        currentSince: isCurrent ? now : undefined,
      } as Image;
      if (isCurrent) exams.refuseImage(image.name, request.asker);
      await images.save(image);
      collector.settle(image);
      collector.collectSoon();
      record({
        type: "image.added",
        actor: request.actor,
        message: `image ${image.name} ${image.version} added`,
        data: { name: image.name, version: image.version },
      });
      return reply.code(201).send(imageView(images.find(image.name, image.version) ?? image));
    },
  );

  app.put<{ Params: { image: string }; Body: Static<typeof currentBody> }>(
    "/images/:image/current",
    {
      config: { scopes: imageMakers, audit: "own" },
      schema: {
        summary: "Choose the version that machines boot; boots under way go on with theirs",
        tags: ["images"],
        body: currentBody,
      },
    },
    async (request) => {
      const { image: name } = request.params;
      const { version } = request.body;
      exams.refuseImage(name, request.asker);
      const chosen = await images.switchTo(() => images.find(name, version), clock.now());
      if (!chosen) throw ImageNotFound({ image: `${name} ${version}` });
      tellSwitch(chosen, request.actor);
      return imageView(chosen);
    },
  );

  app.post<{ Params: { image: string } }>(
    "/images/:image/rollback",
    {
      config: { scopes: imageMakers, audit: "own" },
      schema: {
        summary: "Go back to the version that was booted before; a second time goes forward again",
        tags: ["images"],
      },
    },
    async (request) => {
      const { image: name } = request.params;
      if (!images.findCurrent(name)) throw ImageNotFound({ image: name });
      exams.refuseImage(name, request.asker);
      const chosen = await images.switchTo((all) => previousVersion(all, name), clock.now());
      if (!chosen) throw NoPreviousVersion({ image: name });
      tellSwitch(chosen, request.actor);
      return imageView(chosen);
    },
  );

  app.post<{ Body: Static<typeof collectBody> }>(
    "/assets/gc",
    {
      config: { scopes: imageMakers, audit: ["dryRun"] },
      schema: { summary: "Remove content that nothing needs", tags: ["images"], body: collectBody },
    },
    (request) => collector.collect({ isDry: request.body.dryRun }),
  );

  app.delete<{ Params: { image: string }; Querystring: Static<typeof removeQuery> }>(
    "/images/:image",
    {
      config: { scopes: imageMakers, audit: "own" },
      schema: { summary: "Remove an image", tags: ["images"], querystring: removeQuery },
    },
    async (request, reply) => {
      const { version, force: isForced } = request.query;
      const versions = images.all().filter((image) => image.name === request.params.image);
      const found = versions.filter((image) => version === undefined || image.version === version);
      if (found.length === 0)
        throw ImageNotFound({ image: [request.params.image, version].filter(Boolean).join(" ") });
      const inUse = versionsInUse(request.params.image).filter(
        (used) => version === undefined || used.version === version,
      );
      exams.refuseImage(request.params.image, request.asker);
      if (inUse.length > 0) throw ImageInUse({ image: request.params.image, versions: inUse });
      if (!isForced && found.length === versions.length) refuseNeeded(request.params.image);
      for (const image of found) await images.remove(image);
      await collector.removeFiles(found);
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

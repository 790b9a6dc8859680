import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { Signer, SignerKey } from "../../domain/signature.ts";
import type { ImageState } from "../../signatures/image-state.ts";
import type { Signers } from "../../signatures/signers.ts";
import { readers } from "../authorization.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface KeyApiDeps {
  readonly signers: Pick<Signers, "all" | "add" | "revoke" | "remove">;
}

const keyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 59 }),
    /** ASCII armor, the PEM of a key of cosign's, or the base64 of a binary key. */
    publicKey: Type.String({ minLength: 1, maxLength: 700_000 }),
    scopes: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 400 }), { minItems: 1, maxItems: 64 }),
    ),
    expiresInSeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 3_153_600_000 })),
  },
  { additionalProperties: false },
);

function keyView({
  format,
  fingerprint,
  algorithm,
  userIds,
  createdAt,
  expiresAt,
  isRevoked,
}: SignerKey): object {
  return {
    format,
    fingerprint,
    algorithm,
    userIds,
    createdAt: isoTime(createdAt),
    expiresAt: isoTime(expiresAt),
    revoked: isRevoked,
  };
}

function signerView(signer: Signer): object {
  return {
    name: signer.name,
    scopes: signer.scopes,
    addedAt: isoTime(signer.addedAt),
    expiresAt: isoTime(signer.expiresAt),
    revokedAt: isoTime(signer.revokedAt),
    keys: signer.keys.map(keyView),
  };
}

/** For `GET /images/{repository}/signatures`: what clients think of an image, and by which signatures. */
export function imageStateView({ state, signers, signatures, missing }: ImageState): object {
  return {
    state,
    signers,
    missing,
    signatures: signatures.map(({ signature, verdict, signer }) => ({
      format: signature.format,
      position: signature.position,
      signer: signer ?? null,
      fingerprint: signature.fingerprint,
      reference: signature.reference,
      signedAt: isoTime(signature.signedAt),
      expiresAt: isoTime(signature.expiresAt),
      addedAt: isoTime(signature.addedAt),
      addedBy: signature.addedBy,
      accepted: verdict.accepted,
      refusal: verdict.accepted ? null : verdict.refusal,
    })),
  };
}

/** Who may sign images. Only admins change it: a key more is an image more that every node runs. */
export function registerKeyApi(app: FastifyInstance, { signers }: KeyApiDeps): void {
  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/keys",
    {
      config: { scopes: readers },
      schema: { summary: "Who may sign images, and which", tags: ["keys"], querystring: listQuery },
    },
    (request) => {
      const { items, next } = page(signers.all(), (signer) => signer.name, request.query);
      return { items: items.map(signerView), next };
    },
  );
  app.post<{ Body: Static<typeof keyBody> }>(
    "/keys",
    {
      bodyLimit: 1_000_000,
      config: { audit: "own" },
      schema: { summary: "Add a signer, or a key or scope of one", tags: ["keys"], body: keyBody },
    },
    async (request, reply) => {
      const { name, publicKey, scopes, expiresInSeconds } = request.body;
      const isText = publicKey.includes("-----BEGIN ");
      const signer = await signers.add(
        {
          name,
          keys: Buffer.from(publicKey, isText ? "utf8" : "base64"),
          scopes,
          expiresInMs: expiresInSeconds === undefined ? undefined : expiresInSeconds * 1000,
        },
        request.actor,
      );
      return reply.code(201).send(signerView(signer));
    },
  );
  app.post<{ Params: { name: string } }>(
    "/keys/:name/revoke",
    {
      config: { audit: "own" },
      schema: { summary: "Revoke a signer: its signatures count no more", tags: ["keys"] },
    },
    async (request) => signerView(await signers.revoke(request.params.name, request.actor)),
  );
  app.delete<{ Params: { name: string } }>(
    "/keys/:name",
    {
      config: { audit: "own" },
      schema: { summary: "Remove a signer as if it had never been", tags: ["keys"] },
    },
    async (request, reply) => {
      await signers.remove(request.params.name, request.actor);
      return reply.code(204).send();
    },
  );
}

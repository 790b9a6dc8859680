import t from "tap";
import type { ImageSignature } from "../../server/domain/signature.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { openSignatureStore } from "../support/signature-store.ts";

t.test(
  "the cache gives up no manifest that somebody has signed: its signatures would go with it",
  async (t) => {
    const { store } = openSignatureStore(t, systemClock);
    const repository = "docker.io/library/alpine";
    const digests = ["a", "b"].map((digit) => `sha256:${digit.repeat(64)}`);
    const facts = {
      artifactType: undefined,
      configMediaType: undefined,
      subject: undefined,
      annotations: {},
    };
    for (const digest of digests)
      await store.registry.saveManifest({
        repository,
        manifest: { ...facts, digest, sizeBytes: 1, mediaType: "x" },
        references: [],
        isCached: true,
        tags: [],
        by: "test",
        now: 1,
      });
    t.same(
      store.upstreams.oldest(10).map(({ digest }) => digest),
      digests,
    );
    const signature: Omit<ImageSignature, "position" | "format"> = {
      repository,
      digest: digests[0] ?? "",
      fingerprint: "f".repeat(40),
      reference: `registry.local/${repository}:3.20`,
      signedAt: 0,
      expiresAt: undefined,
      id: "0".repeat(64),
      addedAt: 0,
      addedBy: "test",
    };
    await store.signatures.add(signature, Buffer.from("signature"), undefined);
    t.same(
      store.upstreams.oldest(10).map(({ digest }) => digest),
      digests.slice(1),
    );
  },
);

import type { Test } from "tap";
import { attachmentTag } from "../../server/domain/signature.ts";
import { systemClock } from "../../server/platform/clock.ts";
import type { ServerOptions } from "./http-fixture.ts";
import { blobOf } from "./oci-image.ts";
import { registryLab } from "./registry-lab.ts";
import type { LabImage } from "./signing-lab.ts";
import { makeSigstoreKey, signedLayer, sigstorePayload } from "./sigstore-lab.ts";

/** A registry of which p10/* is shown signed only, and a key of cosign's. */
export async function sigstoreRegistry(t: Test, options: ServerOptions = {}) {
  let shiftMs = 0;
  const clock = {
    ...systemClock,
    now: () => systemClock.now() + shiftMs,
    monotonicMs: () => systemClock.monotonicMs() + shiftMs,
  };
  const registry = await registryLab(t, {
    clock,
    ...options,
    settings: {
      "registry.repositories": [{ pattern: "p10/*", mode: "require-signed" }],
      ...options.settings,
    },
  });
  const { api } = registry.server;
  const key = makeSigstoreKey();
  const addKey = (name: string, publicKey: string, more: object = {}) =>
    api("POST", "/keys", { name, publicKey, ...more });
  const attach = async (repository: string, digest: string, image: LabImage) => {
    for (const content of image.blobs.values()) await registry.blob(repository, blobOf(content));
    const tag = attachmentTag(digest);
    const pushed = await registry.manifest(repository, tag, blobOf(image.manifest), image.mediaType);
    t.equal(pushed.status, 201, pushed.text);
    return tag;
  };
  const signed = (repository: string, digest: string, by = key) =>
    signedLayer(by, sigstorePayload(digest, `registry.local/${repository}`));
  const state = async (repository: string, tag: string) =>
    (await api("GET", `/images/${repository}/signatures?tag=${tag}`)).items[0] as unknown as {
      state: string;
      signers: string[];
      signatures: { format: string; accepted: boolean; refusal: string | null }[];
    };
  const see = async (repository: string, reference: string) =>
    (await registry.pull(`/v2/${repository}/manifests/${reference}`)).status;
  const events = async (type: string) =>
    (await api("GET", "/events?limit=1000")).items.filter((event) => (event["type"] as unknown) === type);
  return {
    ...registry,
    api,
    key,
    addKey,
    attach,
    signed,
    state,
    see,
    events,
    advance: (ms: number) => (shiftMs += ms),
  };
}

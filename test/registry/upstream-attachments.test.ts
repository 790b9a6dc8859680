import t, { type Test } from "tap";
import { attachmentTag } from "../../server/domain/signature.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import type { LabImage } from "../support/signing-lab.ts";
import { attachmentOf } from "../support/sigstore-lab.ts";
import { sigstoreRegistry } from "../support/sigstore-registry.ts";

const minuteMs = 60_000;

/** An upstream with an image, of which far/* is shown signed only. */
async function lab(t: Test) {
  const upstream = await startFakeUpstream(t);
  const registry = await sigstoreRegistry(t, {
    settings: {
      "registry.upstreams": [{ prefix: "far/", url: upstream.url }],
      "registry.repositories": [{ pattern: "far/*", mode: "require-signed" }],
    },
  });
  await registry.addKey("ci", registry.key.publicPem);
  const [config, layer] = [blobOf("{}"), blobOf("a layer")];
  const image = manifestOf(config, [layer]);
  for (const one of [config, layer]) upstream.add(one);
  upstream.add(image, { type: ociManifest, tag: "1" });
  const tag = attachmentTag(image.digest);
  const { push } = registry;
  const fetch = async (path: string) => (await push("GET", `/v2/far/app/${path}`)).status;
  return {
    ...registry,
    upstream,
    image,
    tag,
    /** What somebody who may push pulls. */
    fetch,
    attachUpstream(attachment: LabImage): void {
      for (const content of attachment.blobs.values()) upstream.add(blobOf(content));
      upstream.add(blobOf(attachment.manifest), { type: ociManifest, tag });
    },
    async fetchAttachment(attachment: LabImage): Promise<void> {
      await fetch(`manifests/${tag}`);
      for (const digest of attachment.blobs.keys()) t.equal(await fetch(`blobs/${digest}`), 200);
    },
  };
}

t.test("an upstream's signatures that are gone or others count no more, at once", async (t) => {
  for (const end of ["gone", "other"] as const) {
    const { upstream, image, tag, fetch, attachUpstream, fetchAttachment, signed, see, advance } =
      await lab(t);
    const attachment = attachmentOf([signed("far/app", image.digest)]);
    attachUpstream(attachment);
    await fetchAttachment(attachment);
    t.equal(await fetch("manifests/1"), 200);
    t.same([await see("far/app", "1"), await see("far/app", image.digest)], [200, 200], "signed");
    if (end === "gone") upstream.untag(tag);
    else attachUpstream(attachmentOf([]));
    advance(2 * minuteMs);
    t.equal(await fetch(`manifests/${tag}`), end === "gone" ? 404 : 200);
    t.same([await see("far/app", "1"), await see("far/app", image.digest)], [404, 404], end);
  }
});

t.test("the cache gives up no verified signature of an upstream, nor what it lies in", async (t) => {
  const { server, image, fetch, attachUpstream, fetchAttachment, signed } = await lab(t);
  const attachment = attachmentOf([signed("far/app", image.digest)]);
  attachUpstream(attachment);
  await fetchAttachment(attachment);
  const held = () => server.app.store.upstreams.manifests();
  t.match(held(), [{ digest: attachment.digest, holdsSignatures: 0 }]);
  t.equal(await fetch("manifests/1"), 200);
  const sorted = held().sort((one, other) => one.holdsSignatures - other.holdsSignatures);
  t.match(sorted, [
    { digest: image.digest, tag: "1", holdsSignatures: 0 },
    { digest: attachment.digest, holdsSignatures: 1 },
  ]);
  t.same(
    server.app.store.upstreams.partsOf("far/app", attachment.digest).sort(),
    [attachment.digest, ...attachment.blobs.keys()].sort(),
  );
});

import t from "tap";
import { blobOf, manifestOf } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

const sized = (bytes: number, fill: number) => blobOf(Buffer.alloc(bytes, fill));

t.test("a repository takes as much as its quota, each by itself", async (t) => {
  const lab = await registryLab(t, {
    settings: {
      "registry.repositories": [
        { pattern: "p10/large", quotaBytes: 100_000 },
        { pattern: "p10/*", quotaBytes: 10_000 },
        { pattern: "p10/signed", mode: "require-signed" },
      ],
    },
  });
  const { blob, push, begin, manifest } = lab;
  const large = await blob("p10/a", sized(6000, 1));
  const more = sized(5000, 2);
  const post = (repository: string, { digest, content }: { digest: string; content: Buffer }) =>
    push("POST", `/v2/${repository}/blobs/uploads/?digest=${digest}`, {
      body: content,
      headers: { "content-length": String(content.length) },
    });
  const message = /the repository p10\/a holds 6 kB of 10 kB .*Delete tags/s;

  t.test("what is more is refused with the repository's name and what to do", async (t) => {
    t.match(await post("p10/a", more), { status: 403, code: "DENIED", text: message });
    t.match(await post("p10/a", more), { text: /REPOSITORY_QUOTA_REACHED/ });
  });
  t.test("in pieces, too, and where the client does not say how much comes", async (t) => {
    const path = await begin("p10/a");
    const pieces = async function* () {
      for (let number = 0; number < 5; number++) yield Buffer.alloc(1000, 2);
    };
    t.match(await push("PATCH", path, { body: pieces() }), { status: 403, code: "DENIED" });
  });
  t.test("uploads under way count", async (t) => {
    const [one, two] = [await begin("p10/b"), await begin("p10/b")];
    t.equal((await push("PATCH", one, { body: Buffer.alloc(6000, 3) })).status, 202);
    t.match(await push("PATCH", two, { body: Buffer.alloc(6000, 4) }), { status: 403 });
    t.equal((await push("DELETE", one)).status, 204);
    await blob("p10/b", sized(6000, 4));
  });
  t.test("what is mounted counts in each repository, and what is there already does not", async (t) => {
    await blob("p10/c", sized(5000, 5));
    const mount = (repository: string) =>
      push("POST", `/v2/${repository}/blobs/uploads/?mount=${large.digest}&from=p10/a`);
    t.match(await mount("p10/c"), { status: 403, code: "DENIED" });
    t.equal((await mount("p10/a")).status, 201);
    t.equal((await mount("p10/large")).status, 201, "the first entry that names a quota counts");
    t.equal((await mount("elsewhere")).status, 201, "without one there is no limit");
  });
  t.test("manifests count, and another tag for one that is there does not", async (t) => {
    const config = await blob("p10/d", sized(2000, 6));
    const layer = await blob("p10/d", sized(7000, 7));
    const image = manifestOf(config, [layer]);
    t.equal((await manifest("p10/d", "1", image)).status, 201);
    const fat = manifestOf(config, [layer], { annotations: { text: "x".repeat(900) } });
    t.match(await manifest("p10/d", "2", fat), { status: 403, code: "DENIED" });
    t.equal((await manifest("p10/d", "2", image)).status, 201);
  });
  t.test("what was taken away makes room", async (t) => {
    t.equal((await push("DELETE", `/v2/p10/a/blobs/${large.digest}`)).status, 202);
    t.equal((await post("p10/a", more)).status, 201);
  });
  t.test("an entry with a quota alone says nothing of signatures", async (t) => {
    const { image, pull } = lab;
    await image("p10/signed", "1");
    t.equal((await pull("/v2/p10/signed/manifests/1")).status, 404);
    t.equal((await pull("/v2/p10/d/manifests/1")).status, 200);
  });
});

import t from "tap";
import { blobOf, digestOf, ociIndex, ociManifest } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("pull", async (t) => {
  const { push, pull, image, blob, referrer, begin, manifest: put } = await registryLab(t);
  const sample = await image("p10/hello", "1.0");

  t.test(
    "the base answers, with a challenge that containers/image takes its credentials out for",
    async (t) => {
      for (const path of ["/v2/", "/v2", "//v2//"])
        t.match(await pull(path), {
          status: 200,
          headers: {
            "docker-distribution-api-version": "registry/2.0",
            "www-authenticate": 'Basic realm="rollcall"',
            "x-registry-supports-signatures": "1",
          },
        });
    },
  );
  t.test("a manifest by tag and by digest, GET and HEAD", async (t) => {
    const { digest, content } = sample.manifest;
    for (const reference of ["1.0", digest]) {
      const headers = {
        "content-type": ociManifest,
        "content-length": String(content.length),
        "docker-content-digest": digest,
        etag: `"${digest}"`,
        "cache-control": reference === digest ? /immutable/ : "no-cache",
      };
      const path = `/v2/p10/hello/manifests/${reference}`;
      for (let round = 0; round < 2; round++) {
        const got = await pull(path);
        t.match(got, { status: 200, headers });
        t.same(got.bytes, content);
      }
      t.match(await pull(path, { method: "HEAD" }), { status: 200, headers, text: "" });
      t.match(await pull(path, { headers: { "if-none-match": `"${digest}"` } }), { status: 304, text: "" });
    }
  });
  t.test("a manifest that is not there is a 404 with its code", async (t) => {
    for (const path of [
      "/v2/p10/hello/manifests/2.0",
      "/v2/p10/none/manifests/1.0",
      "/v2/p10/hello/manifests/.bad",
    ])
      t.match(await pull(path), { status: 404, code: "MANIFEST_UNKNOWN" });
    t.match(await pull(`/v2/p10/hello/manifests/${digestOf("x")}`), {
      status: 404,
      code: "MANIFEST_UNKNOWN",
    });
    t.match(await pull(`/v2/p10/hello/manifests/sha256-${"a".repeat(64)}.sig`), {
      status: 404,
      code: "MANIFEST_UNKNOWN",
    });
    t.match(await pull("/v2/p10/hello/manifests/2.0", { method: "HEAD" }), { status: 404, text: "" });
  });
  t.test("a blob, and parts of it", async (t) => {
    const { digest, content } = await blob("p10/hello", blobOf("0123456789".repeat(20_000)));
    const path = `/v2/p10/hello/blobs/${digest}`;
    const size = content.length;
    const part = (range: string) => pull(path, { headers: { range } });
    const whole = await pull(path);
    t.match(whole, {
      status: 200,
      headers: { "content-length": String(size), "docker-content-digest": digest, "accept-ranges": "bytes" },
    });
    t.ok(whole.bytes.equals(content));
    t.match(await pull(path, { method: "HEAD" }), {
      status: 200,
      text: "",
      headers: { "content-length": String(size) },
    });
    t.match(await part("bytes=3-5"), {
      status: 206,
      text: "345",
      headers: { "content-range": `bytes 3-5/${size}`, "content-length": "3" },
    });
    t.match(await part("bytes=-2"), { status: 206, text: "89" });
    t.equal((await part("bytes=100000-")).bytes.length, size - 100_000);
    t.match(await part(`bytes=${size}-`), { status: 416, headers: { "content-range": `bytes */${size}` } });
    t.match(
      await part("bytes=5-2"),
      { status: 416 },
      "the conformance suite takes 200 for no support of ranges",
    );
    t.equal((await part("lines=1-2")).status, 200);
    t.match(await pull(path, { headers: { "if-none-match": `"${digest}"` } }), { status: 304 });
  });
  t.test("several ranges are the parts of one message, as zstd:chunked asks for them", async (t) => {
    const { digest } = await blob("p10/hello", blobOf("0123456789"));
    const ask = (range: string) => pull(`/v2/p10/hello/blobs/${digest}`, { headers: { range } });
    const answer = await ask("bytes=0-1, 5-6,20-30,-1");
    const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(
      answer.headers["content-type"] ?? "",
    )?.[1];
    t.equal(answer.status, 206);
    t.equal(answer.headers["content-length"], String(answer.bytes.length));
    const one = (place: string, text: string) =>
      `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ${place}/10\r\n\r\n${text}`;
    t.equal(answer.text, `${one("0-1", "01")}${one("5-6", "56")}${one("9-9", "9")}\r\n--${boundary}--\r\n`);
    t.match(await ask("bytes=0-9,0-9"), { status: 200, text: "0123456789" }, "longer than all of it");
    t.match(await ask("bytes=20-30,40-50"), { status: 416 });
    t.match(await ask(`bytes=${"0-0,".repeat(1001)}0-0`), { status: 200 }, "too many");
  });
  t.test("a blob that is not there is a 404; a digest that is none is a 400", async (t) => {
    t.match(await pull(`/v2/p10/hello/blobs/${digestOf("x")}`), { status: 404, code: "BLOB_UNKNOWN" });
    t.match(await pull(`/v2/p10/none/blobs/${sample.config.digest}`), { status: 404, code: "BLOB_UNKNOWN" });
    t.match(await pull("/v2/p10/hello/blobs/sha256:xyz"), { status: 400, code: "DIGEST_INVALID" });
  });
  t.test("double slashes count as one, and escapes as what they stand for", async (t) => {
    t.equal((await pull("/v2//p10/hello//manifests/1.0")).status, 200);
    t.equal((await pull("/v2/p10%2Fhello/manifests/1%2E0")).status, 200);
    t.equal((await pull("/v2/p10/hello/manifests/%zz")).status, 404);
  });
  t.test("names that are none, paths and methods that are not there", async (t) => {
    for (const name of ["P10", "a..b", "-a", "a/-/b", `a/${"b".repeat(254)}`, "..%2f..%2fetc"])
      t.match(await pull(`/v2/${name}/tags/list`), { status: 400, code: "NAME_INVALID" }, name);
    for (const path of ["/", "/v1/", "/v2x", "/v2/p10", "/v2/_catalog/x", "/assets/x"])
      t.match(await pull(path), { status: 404, code: "UNSUPPORTED" }, path);
    t.match(await push("POST", "/v2/p10/hello/tags/list"), {
      status: 405,
      code: "UNSUPPORTED",
      headers: { allow: "GET, HEAD" },
    });
    t.equal(
      (await pull("/v2/p10/manifests/blobs/uploads/manifests/1")).code,
      "MANIFEST_UNKNOWN",
      "our words in a name",
    );
  });

  t.test("tags are sorted by their octets, all at once or by pages", async (t) => {
    await image("tags", "b");
    for (const tag of ["a", "B", "1.10", "1.9", "_x"])
      await put("tags", tag, sample.manifest).then(() => image("tags", tag));
    const all = ["1.10", "1.9", "B", "_x", "a", "b"];
    const list = async (query = "") => {
      const { json, headers } = await pull(`/v2/tags/tags/list${query}`);
      return { ...json, link: headers["link"] };
    };
    t.same(await list(), { name: "tags", tags: all, link: undefined });
    t.same(await list("?n=2"), {
      name: "tags",
      tags: ["1.10", "1.9"],
      link: '</v2/tags/tags/list?n=2&last=1.9>; rel="next"',
    });
    t.match(await list("?n=2&last=1.9"), { tags: ["B", "_x"], link: /last=_x/ });
    t.same(await list("?n=2&last=_x"), { name: "tags", tags: ["a", "b"], link: undefined }, "the last page");
    t.same(
      await list("?last=C"),
      { name: "tags", tags: ["_x", "a", "b"], link: undefined },
      "after a tag that is not there",
    );
    t.same(await list("?n=0"), { name: "tags", tags: [], link: undefined });
    t.same(await list("?n=100"), { name: "tags", tags: all, link: undefined });
    t.equal((await pull("/v2/tags/tags/list?n=many")).status, 400);
    t.match(await pull("/v2/no/such/tags/list"), { status: 404, code: "NAME_UNKNOWN" });
  });
  t.test("the catalog names the repositories, by pages", async (t) => {
    const { repositories } = (await pull("/v2/_catalog")).json as { repositories: string[] };
    t.ok(repositories.includes("p10/hello"));
    t.same(repositories, repositories.toSorted());
    const first = await pull("/v2/_catalog?n=1");
    t.same(first.json["repositories"], repositories.slice(0, 1));
    t.match(first.headers["link"], /<\/v2\/_catalog\?n=1&last=.*>; rel="next"/);
  });
  t.test("referrers are listed by their subject, with what they are", async (t) => {
    const subject = sample.manifest;
    const first = await referrer("p10/hello", subject, "application/one", { annotations: { made: "today" } });
    const second = await referrer("p10/hello", subject, "application/two");
    const list = async (path: string) => {
      const answer = await pull(path);
      return { ...answer, manifests: answer.json["manifests"] as { digest: string }[] };
    };
    const base = `/v2/p10/hello/referrers/${subject.digest}`;
    const all = await list(base);
    t.match(all, {
      status: 200,
      headers: { "content-type": ociIndex },
      json: { schemaVersion: 2, mediaType: ociIndex },
    });
    t.same(all.manifests.map(({ digest }) => digest).sort(), [first.digest, second.digest].sort());
    const filtered = await list(`${base}?artifactType=application/one`);
    t.equal(filtered.headers["oci-filters-applied"], "artifactType");
    t.same(filtered.manifests, [
      {
        mediaType: ociManifest,
        digest: first.digest,
        size: first.content.length,
        artifactType: "application/one",
        annotations: { made: "today" },
      },
    ]);
    t.same((await list(`/v2/nobody/referrers/${digestOf("nothing")}`)).manifests, [], "never a 404");
    t.match(await pull("/v2/p10/hello/referrers/nonsense"), { status: 400, code: "DIGEST_INVALID" });
    await push("DELETE", `/v2/p10/hello/manifests/${first.digest}`);
    t.same((await list(base)).manifests.length, 1);
  });
  t.test("an upload's state is for whoever may push", async (t) => {
    t.match(await pull(await begin("p10/hello")), { status: 401, code: "UNAUTHORIZED" });
  });
});

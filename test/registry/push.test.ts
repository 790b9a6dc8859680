import { connect } from "node:net";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  blobOf,
  descriptorOf,
  digestOf,
  indexOf,
  manifestOf,
  ociIndex,
  ociManifest,
} from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

const content = Buffer.from("0123456789abcdefghij");
const blob = blobOf(content);
const octets = { "content-type": "application/octet-stream" };

t.test("blobs", async (t) => {
  const { push, pull, begin, server } = await registryLab(t);
  const there = async (repository: string, digest = blob.digest) =>
    (await pull(`/v2/${repository}/blobs/${digest}`, { method: "HEAD" })).status;

  t.test("all at once, in the request that asks for the upload", async (t) => {
    const answer = await push("POST", `/v2/once/blobs/uploads/?digest=${blob.digest}`, { body: content });
    t.match(answer, {
      status: 201,
      headers: { location: `/v2/once/blobs/${blob.digest}`, "docker-content-digest": blob.digest },
    });
    t.equal(await there("once"), 200);
  });
  t.test("all at once, in a second request", async (t) => {
    const path = await begin("second");
    t.equal(
      (await push("PUT", `${path}?digest=${blob.digest}`, { body: content, headers: octets })).status,
      201,
    );
    t.equal(await there("second"), 200);
  });
  t.test("in chunks that say where they belong; the last one in the PUT", async (t) => {
    const path = await begin("chunks");
    const chunk = (method: "PATCH" | "PUT", from: number, to: number, query = "") =>
      push(method, `${path}${query}`, {
        body: content.subarray(from, to + 1),
        headers: { "content-range": `${from}-${to}` },
      });
    t.match(await chunk("PATCH", 0, 6), { status: 202, headers: { range: "0-6", location: path } });
    const early = await chunk("PATCH", 14, 19);
    t.match(early, { status: 416, code: "BLOB_UPLOAD_INVALID", headers: { range: "0-6" } }, "out of order");
    const again = await chunk("PATCH", 0, 6);
    t.match(again, { status: 416, headers: { range: "0-6" } }, "the same once more");
    t.match(await pull(path, { token: server.adminToken }), {
      status: 204,
      headers: { range: "0-6", location: path },
    });
    t.match(await chunk("PATCH", 7, 13), { status: 202, headers: { range: "0-13" } });
    const skipped = await chunk("PUT", 15, 19, `?digest=${blob.digest}`);
    t.match(skipped, { status: 416, headers: { range: "0-13" } }, "the last one out of order");
    t.equal((await chunk("PUT", 14, 19, `?digest=${blob.digest}`)).status, 201);
    t.equal(await there("chunks"), 200);
    t.match(await pull(path, { token: server.adminToken }), { status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
  });
  t.test("as a stream whose length nobody knows", async (t) => {
    const path = await begin("stream");
    async function* pieces() {
      for (let at = 0; at < content.length; at += 3) yield content.subarray(at, at + 3);
    }
    t.match(await push("PATCH", path, { body: pieces() }), { status: 202, headers: { range: "0-19" } });
    t.equal((await push("PUT", `${path}?digest=${blob.digest}`)).status, 201);
  });
  t.test("a Content-Range that does not fit is refused, and the upload goes on", async (t) => {
    const path = await begin("ranges");
    const wrong = (range: string) =>
      push("PATCH", path, { body: "abc", headers: { "content-range": range } });
    t.match(await wrong("0-9"), { status: 400, code: "SIZE_INVALID" });
    t.match(await wrong("three"), { status: 400, code: "BLOB_UPLOAD_INVALID" });
    t.match(await wrong("0-2"), { status: 202, headers: { range: "0-2" } });
  });
  t.test("an upload that breaks off goes on where it was", async (t) => {
    const path = await begin("broken");
    const socket = connect(server.app.addresses.registryPort ?? 0, "127.0.0.1");
    const authorization = `Basic ${Buffer.from(`a:${server.adminToken}`).toString("base64")}`;
    socket.write(
      `PATCH ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nContent-Length: 20\r\n\r\n${content.subarray(0, 8)}`,
    );
    const files = () => readdirSync(join(server.blobs, "sessions"));
    while (!files().includes(path.split("/").at(-1) ?? "")) await new Promise((done) => setImmediate(done));
    socket.destroy();
    await once(socket, "close");
    let state = await pull(path, { token: server.adminToken });
    while (state.headers["range"] !== "0-7") state = await pull(path, { token: server.adminToken });
    const rest = { body: content.subarray(8), headers: { "content-range": "8-19" } };
    let answer = await push("PATCH", path, rest);
    while (answer.status === 416) answer = await push("PATCH", path, rest);
    t.match(answer, { status: 202, headers: { range: "0-19" } });
    t.equal((await push("PUT", `${path}?digest=${blob.digest}`)).status, 201);
  });
  t.test("more than the disk has room for is refused before it comes", async (t) => {
    const authorization = `Basic ${Buffer.from(`a:${server.adminToken}`).toString("base64")}`;
    const ask = async (line: string) => {
      const socket = connect(server.app.addresses.registryPort ?? 0, "127.0.0.1");
      socket.write(
        `${line} HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nContent-Length: 100000000000000\r\nExpect: 100-continue\r\n\r\n`,
      );
      const [answer] = (await once(socket, "data")) as [Buffer];
      socket.destroy();
      return String(answer);
    };
    const path = await begin("full");
    const refused = /^HTTP\/1.1 507 [^]*"code":"DENIED","message":"the disk under/;
    t.match(await ask(`POST /v2/full/blobs/uploads/?digest=${blob.digest}`), refused);
    t.match(await ask(`PATCH ${path}`), refused);
    t.match(await ask(`PUT ${path}?digest=${blob.digest}`), refused);
    t.equal((await pull(path, { token: server.adminToken })).status, 204, "the upload is still there");
  });
  t.test("one writer at a time", async (t) => {
    const path = await begin("writers");
    let next = () => {};
    const held = new Promise<void>((resolve) => (next = resolve));
    let began = () => {};
    const isBegun = new Promise<void>((resolve) => (began = resolve));
    async function* slowly() {
      yield content.subarray(0, 10);
      began();
      await held;
      yield content.subarray(10);
    }
    const first = push("PATCH", path, { body: slowly() });
    await isBegun;
    let second = await push("PATCH", path, { body: "x" });
    // The first one may not have arrived yet: then the second one was alone.
    t.match(second, { status: 416, headers: { range: /^0-/ } });
    const end = push("PUT", `${path}?digest=${blob.digest}`);
    next();
    t.equal((await first).status, 202);
    t.equal((await end).status, 201, "the end waits for what is being written");
    second = await push("PATCH", path, { body: "x" });
    t.match(second, { status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
  });
  t.test("an upload that was cancelled is gone", async (t) => {
    const path = await begin("cancelled");
    await push("PATCH", path, { body: content });
    t.equal((await push("DELETE", path)).status, 204);
    t.match(await push("PATCH", path, { body: content }), { status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    t.match(await push("DELETE", path), { status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    t.notOk(readdirSync(join(server.blobs, "sessions")).includes(path.split("/").at(-1) ?? ""));
  });
  t.test("an upload belongs to its repository", async (t) => {
    const path = await begin("mine");
    t.equal((await push("PATCH", path.replace("/mine/", "/theirs/"), { body: "x" })).status, 404);
  });
  t.test("another content than its digest says is refused, and nothing of it is kept", async (t) => {
    const path = await begin("wrong");
    const answer = await push("PUT", `${path}?digest=${blob.digest}`, { body: "something else" });
    t.match(answer, {
      status: 400,
      code: "DIGEST_INVALID",
      json: { errors: [{ detail: { digest: blob.digest } }] },
    });
    const atOnce = await push("POST", `/v2/wrong/blobs/uploads/?digest=${blob.digest}`, {
      body: "something else",
    });
    t.match(atOnce, { status: 400, code: "DIGEST_INVALID" });
    t.equal(await there("wrong"), 404);
  });
  t.test("a digest that is none is refused", async (t) => {
    for (const digest of [
      "",
      "sha256:abc",
      `md5:${"a".repeat(32)}`,
      `sha256:${"A".repeat(64)}`,
      `sha512:${"a".repeat(64)}`,
    ]) {
      const path = await begin("digests");
      t.match(
        await push("PUT", `${path}?digest=${digest}`, { body: "x" }),
        { status: 400, code: "DIGEST_INVALID" },
        digest,
      );
    }
    t.match(await push("PUT", await begin("digests"), { body: "x" }), {
      status: 400,
      code: "DIGEST_INVALID",
    });
    t.match(await push("POST", "/v2/digests/blobs/uploads/?digest-algorithm=md5"), {
      status: 400,
      code: "DIGEST_INVALID",
    });
  });
  t.test("sha512, announced or not", async (t) => {
    const long = blobOf(content, "sha512");
    for (const query of ["?digest-algorithm=sha512", ""]) {
      const path = await begin(`long${query.length}`, query);
      await push("PATCH", path, { body: content });
      t.equal((await push("PUT", `${path}?digest=${long.digest}`)).status, 201);
      t.equal((await pull(`/v2/long${query.length}/blobs/${long.digest}`)).text, String(content));
    }
    const posted = await push("POST", `/v2/long/blobs/uploads/?digest=${long.digest}`, { body: content });
    t.equal(posted.status, 201);
  });
  t.test("no octets at all", async (t) => {
    const empty = blobOf("");
    const path = await begin("empty");
    t.equal((await push("PUT", `${path}?digest=${empty.digest}`)).status, 201);
    t.match(await pull(`/v2/empty/blobs/${empty.digest}`), {
      status: 200,
      text: "",
      headers: { "content-length": "0" },
    });
  });
  t.test("a blob of another repository is mounted without sending it", async (t) => {
    await push("POST", `/v2/source/blobs/uploads/?digest=${blob.digest}`, { body: content });
    const mount = (to: string, from: string, digest = blob.digest) =>
      push("POST", `/v2/${to}/blobs/uploads/?mount=${digest}${from}`);
    t.match(await mount("target", "&from=source"), {
      status: 201,
      headers: { location: `/v2/target/blobs/${blob.digest}`, "docker-content-digest": blob.digest },
    });
    t.equal(await there("target"), 200);
    t.equal((await mount("anonymous", "")).status, 201, "wherever it is");
    t.match(
      await mount("third", "&from=has/it/not"),
      { status: 202, headers: { location: /\/v2\/third\/blobs\/uploads\// } },
      "not there: an upload",
    );
    t.equal((await mount("third", "", digestOf("nobody has it"))).status, 202);
    t.equal(await there("third"), 404);
    t.match(await mount("third", "&from=NOT_A_NAME"), { status: 400, code: "NAME_INVALID" });
    t.match(await mount("third", "", "nonsense"), { status: 400, code: "DIGEST_INVALID" });
  });
  t.test("a blob is seen in its repository alone", async (t) => {
    await push("POST", `/v2/own/blobs/uploads/?digest=${blob.digest}`, { body: content });
    t.equal(await there("other"), 404);
  });
});

t.test("manifests", async (t) => {
  const { push, pull, image, blob: putBlob, manifest: put } = await registryLab(t);
  const config = blobOf('{"os":"linux"}');
  const layer = blobOf("a layer");

  t.test("are kept octet for octet, by tag and by digest", async (t) => {
    await putBlob("plain", config);
    const spaced = blobOf(`${manifestOf(config, []).content}\n \n`);
    const answer = await put("plain", "1.0", spaced);
    t.match(answer, {
      status: 201,
      headers: { location: `/v2/plain/manifests/${spaced.digest}`, "docker-content-digest": spaced.digest },
    });
    for (const reference of ["1.0", spaced.digest])
      t.same((await pull(`/v2/plain/manifests/${reference}`)).bytes, spaced.content);
    t.equal((await put("plain", spaced.digest, spaced)).status, 201);
  });
  t.test("that reference what is not there are refused: blobs and children of an index", async (t) => {
    const lacking = manifestOf(config, [layer]);
    await putBlob("lacking", config);
    t.match(await put("lacking", "1", lacking), {
      status: 400,
      code: "MANIFEST_BLOB_UNKNOWN",
      json: { errors: [{ detail: { digests: [layer.digest] } }] },
    });
    t.match(await put("lacking", "1", indexOf([lacking]), ociIndex), {
      status: 400,
      code: "MANIFEST_BLOB_UNKNOWN",
    });
    t.equal((await pull("/v2/lacking/manifests/1")).status, 404);
    await putBlob("elsewhere", layer);
    t.equal((await put("lacking", "1", lacking)).status, 400, "another repository has it");
    await putBlob("lacking", layer);
    t.equal((await put("lacking", "1", lacking)).status, 201);
    t.equal((await put("lacking", "all", indexOf([lacking]), ociIndex)).status, 201);
    t.equal((await put("lacking", "none", indexOf([]), ociIndex)).status, 201, "an index of nothing");
  });
  t.test("may have layers that are fetched elsewhere, and none at all", async (t) => {
    await putBlob("foreign", config);
    const far = {
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      digest: digestOf("far away"),
      size: 5,
      urls: ["https://example.com/layer"],
    };
    t.equal((await put("foreign", "1", manifestOf(config, [], { layers: [far] }))).status, 201);
    t.equal((await put("foreign", "2", manifestOf(config, []))).status, 201);
  });
  t.test("by digest get their tags from the query", async (t) => {
    await putBlob("tags", config);
    for (const algorithm of ["sha256", "sha512"]) {
      const manifest = blobOf(manifestOf(config, []).content, algorithm);
      const answer = await put("tags", `${manifest.digest}?tag=${algorithm}&tag=latest`, manifest);
      t.match(answer, {
        status: 201,
        headers: { "oci-tag": `${algorithm}, latest`, "docker-content-digest": manifest.digest },
      });
      t.match(await pull("/v2/tags/manifests/latest"), {
        headers: { "docker-content-digest": manifest.digest },
      });
    }
    const many = Array.from({ length: 101 }, (_, number) => `tag=t${number}`).join("&");
    const manifest = manifestOf(config, []);
    t.equal((await put("tags", `${manifest.digest}?${many}`, manifest)).status, 414);
    t.match(await put("tags", `${manifest.digest}?tag=.bad`, manifest), {
      status: 400,
      code: "MANIFEST_INVALID",
    });
  });
  t.test("with a subject answer with it, though it is not there", async (t) => {
    await putBlob("subject", config);
    const subject = manifestOf(config, [layer]);
    const about = manifestOf(config, [], { subject: descriptorOf(subject, ociManifest) });
    t.match(await put("subject", about.digest, about), {
      status: 201,
      headers: { "oci-subject": subject.digest },
    });
  });
  t.test("that are none are refused", async (t) => {
    await putBlob("bad", config);
    const good = manifestOf(config, []);
    const fields = JSON.parse(String(good.content)) as object;
    const bad = async (text: string, name: string, type = ociManifest) =>
      t.match(await put("bad", "1", blobOf(text), type), { status: 400, code: "MANIFEST_INVALID" }, name);
    await bad("not json", "no JSON");
    await bad("[]", "no object");
    await bad(JSON.stringify({ ...fields, schemaVersion: 1 }), "schema 1");
    await bad(JSON.stringify({ ...fields, config: undefined }), "no config");
    await bad(JSON.stringify({ ...fields, layers: [{}] }), "a layer without a digest");
    await bad(JSON.stringify({ ...fields, layers: {} }), "layers that are no list");
    await bad(JSON.stringify({ ...fields, manifests: [] }), "image and index at once");
    await bad(JSON.stringify({ ...fields, subject: "x" }), "a subject that is no descriptor");
    await bad(JSON.stringify({ ...fields, annotations: { a: 1 } }), "annotations that are no texts");
    await bad(String(good.content), "another type than it says", ociIndex);
    await bad(JSON.stringify({ ...fields, mediaType: "text/plain" }), "no manifest's type", "text/plain");
    t.match(
      await put("bad", digestOf("else"), good),
      { status: 400, code: "DIGEST_INVALID" },
      "another digest",
    );
    t.match(await put("bad", "sha256:abc", good), { status: 400, code: "DIGEST_INVALID" }, "no digest");
    t.match(
      await put("bad", "a".repeat(129), good),
      { status: 400, code: "MANIFEST_INVALID" },
      "a tag too long",
    );
    t.equal((await pull("/v2/bad/tags/list")).json["tags"]?.toString(), "", "nothing of it is there");
  });
  t.test("up to 4 MiB are taken, longer ones are not", async (t) => {
    await putBlob("large", config);
    const of = (length: number) => manifestOf(config, [], { annotations: { filling: "x".repeat(length) } });
    t.equal((await put("large", "1", of(4_000_000))).status, 201);
    t.match(await put("large", "2", of(4_300_000)), { status: 413, code: "SIZE_INVALID" });
    async function* streamed() {
      yield of(4_300_000).content;
    }
    const unknown = await push("PUT", "/v2/large/manifests/2", { body: streamed() });
    t.match(unknown, { status: 413, code: "SIZE_INVALID" }, "of a length that nobody told");
  });
  t.test("a tag goes over to what was pushed last", async (t) => {
    const first = await image("moving", "latest", "one");
    const second = await image("moving", "latest", "two");
    t.match(await pull("/v2/moving/manifests/latest"), {
      headers: { "docker-content-digest": second.manifest.digest },
    });
    t.equal((await pull(`/v2/moving/manifests/${first.manifest.digest}`)).status, 200);
  });
});

t.test("what is deleted", async (t) => {
  const { push, pull, image, manifest: put, blob: putBlob } = await registryLab(t);
  t.test("a tag: the manifest stays", async (t) => {
    const { manifest } = await image("a", "1");
    t.equal((await push("DELETE", "/v2/a/manifests/1")).status, 202);
    t.match(await pull("/v2/a/manifests/1"), { status: 404, code: "MANIFEST_UNKNOWN" });
    t.equal((await pull(`/v2/a/manifests/${manifest.digest}`)).status, 200);
    t.match(await push("DELETE", "/v2/a/manifests/1"), { status: 404, code: "MANIFEST_UNKNOWN" });
  });
  t.test("a manifest: its tags go with it, and its blobs may go then", async (t) => {
    const { manifest, config, layers } = await image("b", "1");
    const layer = `/v2/b/blobs/${layers[0]?.digest}`;
    t.match(await push("DELETE", layer), { status: 405, code: "DENIED" }, "a manifest needs it");
    t.equal((await push("DELETE", `/v2/b/manifests/${manifest.digest}`)).status, 202);
    t.match(await push("DELETE", `/v2/b/manifests/${manifest.digest}`), {
      status: 404,
      code: "MANIFEST_UNKNOWN",
    });
    t.equal((await pull("/v2/b/manifests/1")).status, 404);
    t.same((await pull("/v2/b/tags/list")).json["tags"], []);
    t.equal((await push("DELETE", layer)).status, 202);
    t.match(await push("DELETE", layer), { status: 404, code: "BLOB_UNKNOWN" });
    t.match(await pull(layer), { status: 404, code: "BLOB_UNKNOWN" });
    t.equal((await pull(`/v2/b/blobs/${config.digest}`)).status, 200);
  });
  t.test("what an index names stays until the index goes", async (t) => {
    const { manifest } = await image("c", "1");
    const index = indexOf([manifest]);
    await put("c", "all", index, ociIndex);
    t.match(await push("DELETE", `/v2/c/manifests/${manifest.digest}`), { status: 405, code: "DENIED" });
    t.equal((await push("DELETE", `/v2/c/manifests/${index.digest}`)).status, 202);
    t.equal((await push("DELETE", `/v2/c/manifests/${manifest.digest}`)).status, 202);
  });
  t.test("a blob of one repository stays in the others, and can be pushed again", async (t) => {
    const blob = await putBlob("d", blobOf("shared"));
    await putBlob("e", blob);
    t.equal((await push("DELETE", `/v2/d/blobs/${blob.digest}`)).status, 202);
    t.equal((await pull(`/v2/e/blobs/${blob.digest}`)).text, "shared");
    await putBlob("d", blob);
    t.equal((await pull(`/v2/d/blobs/${blob.digest}`)).text, "shared");
  });
});

import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import {
  createSignatureRoutes,
  parseSignaturePath,
  signatureSupport,
} from "../../server/http/v2/signature-routes.ts";
import { systemClock } from "../../server/platform/clock.ts";
import {
  policyJson,
  registriesConf,
  registriesDirectoryFile,
} from "../../server/signatures/policy/client-files.ts";
import { openSignatureStore } from "../support/signature-store.ts";
import { createClients, createGpg, digestOf, makeImage } from "../support/signing-lab.ts";

const run = promisify(execFile);

t.test("skopeo signs from afar by the signature extension, and a client takes the image", async (t) => {
  const gpg = createGpg(t);
  await gpg.makeKey("anna", "rsa3072");
  await gpg.makeKey("stranger", "ed25519");

  // The least of a registry that takes a push; signatures are the real thing.
  const contents = new Map<string, Buffer>();
  const types = new Map<string, string>();
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const { method = "", url = "" } = request;
      const place = parseSignaturePath(url);
      if (place?.kind === "extension") {
        const exchange = { request, response, expectsContinue: false, needsLogin: false, ...place };
        return method === "PUT"
          ? await routes.putExtension(exchange, "imagemaker")
          : routes.getExtension(exchange);
      }
      if (url === "/v2/") return void response.writeHead(200, signatureSupport).end("{}");
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const [, repository = "", reference = ""] =
        /^\/v2\/(.+)\/(?:blobs|manifests)\/([^/?]+)$/.exec(url) ?? [];
      if (method === "POST") {
        const location = `${url.replace(/\?.*/, "").replace(/\/$/, "")}/session-${contents.size}`;
        return void response.writeHead(202, { location }).end();
      }
      if (url.includes("/uploads/")) {
        if (body.length > 0) contents.set(digestOf(body), body);
        return void response
          .writeHead(method === "PUT" ? 201 : 202, { location: url.replace(/\?.*/, "") })
          .end();
      }
      if (method === "PUT") {
        const digest = digestOf(body);
        for (const key of [reference, digest]) contents.set(key, body);
        types.set(digest, request.headers["content-type"] ?? "");
        if (opened.signatures.stateOf(repository, digest) === undefined)
          opened.addManifest(repository, digest);
        return void response.writeHead(201, { "docker-content-digest": digest }).end();
      }
      const content = contents.get(reference);
      if (!content) return void response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
      response
        .writeHead(200, {
          "content-type": types.get(digestOf(content)) ?? "application/octet-stream",
          "content-length": content.length,
        })
        .end(content);
    };
    answer().catch((error: { httpStatus?: number; message?: string }) => {
      response.writeHead(error.httpStatus ?? 500).end(error.message);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const names = { host: `127.0.0.1:${port}`, aliases: [] };
  const opened = openSignatureStore(t, systemClock, names);
  const routes = createSignatureRoutes(opened.signatures);
  await opened.signers.add(
    { name: "anna", keys: await gpg.exportKey("anna"), scopes: undefined, expiresInMs: undefined },
    "admin",
  );
  const clients = createClients(t, {
    policy: policyJson(opened.signers.trust(), "inline"),
    // Nothing listens there: where the extension is, clients look nowhere else.
    registriesD: registriesDirectoryFile("http://127.0.0.1:9/sigstore/"),
    registriesConf: registriesConf({ names, port, authorityPem: undefined }),
  });

  const image = makeImage("remote");
  const layout = join(clients.home, "image");
  mkdirSync(layout);
  writeFileSync(join(layout, "version"), "Directory Transport Version: 1.1\n");
  writeFileSync(join(layout, "manifest.json"), image.manifest);
  for (const [digest, content] of image.blobs) writeFileSync(join(layout, digest.slice(7)), content);
  const push = (key: string, tag: string) =>
    run(
      "skopeo",
      [
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--sign-by",
        `${key}@lab.test`,
        `dir:${layout}`,
        `docker://${names.host}/p10/remote:${tag}`,
      ],
      { env: { PATH: process.env["PATH"], HOME: clients.home, GNUPGHOME: gpg.home, TMPDIR: clients.home } },
    );

  await push("anna", "1.0");
  t.match(opened.signatures.list("p10/remote", image.digest), [
    { position: 1, reference: `${names.host}/p10/remote:1.0` },
  ]);
  t.equal(opened.signatures.stateOf("p10/remote", image.digest, "1.0")?.state, "signed");
  const pulled = await clients.skopeo(`${names.host}/p10/remote:1.0`);
  t.ok(pulled.accepted, pulled.said);

  await t.rejects(push("stranger", "2.0"), /no signer's/, "the refusal reaches whoever pushes");
  const other = await clients.skopeo(`${names.host}/p10/remote:2.0`);
  t.notOk(other.accepted);
  t.equal(opened.signatures.stateOf("p10/remote", image.digest, "2.0")?.state, "refused");
});

import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import type { RollcallError } from "../../server/domain/errors.ts";
import { createLookasideServer } from "../../server/http/v2/lookaside-server.ts";
import { createSignatureRoutes, parseSignaturePath } from "../../server/http/v2/signature-routes.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { createKeyFiles } from "../../server/signatures/key-files.ts";
import { createGpg, digestOf, payloadFor } from "../support/signing-lab.ts";
import { openSignatureStore } from "../support/signature-store.ts";

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** A request whose path is sent as it stands here. */
const ask = (port: number, path: string, { method = "GET", body = "" as string | Uint8Array } = {}) =>
  new Promise<Answer>((resolve, reject) => {
    const sent = httpRequest({ port, host: "127.0.0.1", path, method, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });

async function lab(t: Test) {
  const gpg = createGpg(t);
  const anna = await gpg.makeKey("anna", "ed25519");
  const nora = await gpg.makeKey("nora", "ed25519");
  const opened = openSignatureStore(t, systemClock);
  const digest = digestOf("one");
  opened.addManifest("p10/pause", digest);
  const addSigner = async (name: string, scopes: string[]) =>
    opened.signers.add({ name, keys: await gpg.exportKey(name), scopes, expiresInMs: undefined }, "admin");
  await addSigner("anna", ["registry.local"]);
  const sign = (tag: string) => gpg.sign(anna, payloadFor(digest, `registry.local/p10/pause:${tag}`));
  return { ...opened, gpg, anna, nora, digest, addSigner, sign, hex: digest.slice("sha256:".length) };
}

t.test("the lookaside store", async (t) => {
  const { signers, signatures, sign, digest, hex, addSigner } = await lab(t);
  const server = createLookasideServer({
    clock: systemClock,
    signatures,
    keys: createKeyFiles(signers.trust, 0),
    host: "127.0.0.1",
    port: 0,
  });
  const port = await server.start();
  t.teardown(() => server.stop());
  const first = await sign("1");
  await signatures.add({ repository: "p10/pause", digest, octets: first }, "x");
  await signatures.add({ repository: "p10/pause", digest, octets: await sign("2") }, "x");

  t.test("gives a signature, however its path is written", async (t) => {
    for (const path of [
      `/sigstore/p10/pause@sha256=${hex}/signature-1`,
      `/sigstore//p10/pause@sha256=${hex}/signature-1`,
      `//sigstore/p10//pause@sha256=${hex}//signature-1`,
      `/sigstore/p10/pause%40sha256%3D${hex}/signature-1`,
      `/sigstore/p10%2Fpause%40sha256%3d${hex}/signature-1?x=1`,
    ]) {
      const { status, body, headers } = await ask(port, path);
      t.equal(status, 200, path);
      t.same(body, first);
      t.equal(headers["content-type"], "application/octet-stream");
    }
    const head = await ask(port, `/sigstore/p10/pause@sha256=${hex}/signature-1`, { method: "HEAD" });
    t.same([head.status, head.headers["content-length"], head.body.length], [200, String(first.length), 0]);
  });

  t.test("says 404 to everything else", async (t) => {
    const path = `/sigstore/p10/pause@sha256=${hex}`;
    for (const other of [
      `${path}/signature-3`,
      `${path}/signature-0`,
      `${path}/signature-01`,
      `${path}/signature--1`,
      `${path}/signature-1/`,
      `${path}/signature-99999999999999999999`,
      `${path}/`,
      path,
      `/sigstore/p10/other@sha256=${hex}/signature-1`,
      `/sigstore/p10/pause@sha256=${"0".repeat(64)}/signature-1`,
      `/sigstore/p10/pause@sha512=${"0".repeat(128)}/signature-1`,
      `/sigstore/P10/pause@sha256=${hex}/signature-1`,
      `/sigstore/../etc/passwd`,
      `/sigstore/%2e%2e/%2e%2e/etc/passwd`,
      `/sigstore/%zz`,
      `/sigstore/%00@sha256=${hex}/signature-1`,
      "/sigstore",
      "/sigstore/",
      "/",
      "/index.html",
      "/v2/",
      "/keys/x.pgp",
      "/keys/../keys/policy.json",
      "/keys/__proto__",
      "*",
    ])
      t.equal((await ask(port, other)).status, 404, other);
    for (const method of ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"])
      t.equal((await ask(port, `${path}/signature-1`, { method, body: "x" })).status, 404, method);
  });

  t.test("lists keys and policy as nginx does, and podsec's client reads them", async (t) => {
    const moved = await ask(port, "/keys");
    t.same([moved.status, moved.headers["location"]], [301, "/keys/"]);
    const { body, headers } = await ask(port, "/keys/");
    t.equal(headers["content-type"], "application/json");
    t.match(
      body.toString(),
      /^\[\r\n\{ "name":"anna\.pgp", "type":"file", "mtime":"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", "size":\d+ \},\r\n\{ "name":"policy\.json", .*\}\r\n\]$/,
    );
    const listed = JSON.parse(body.toString()) as { name: string; size: number }[];
    for (const { name, size } of listed) t.equal((await ask(port, `/keys/${name}`)).body.length, size, name);
    t.same(JSON.parse((await ask(port, "/keys/policy.json")).body.toString()), {
      default: [{ type: "reject" }],
      transports: {
        docker: {
          "registry.local": [
            { type: "signedBy", keyType: "GPGKeys", keyPath: "/var/sigstore/keys/anna.pgp" },
          ],
          "10.0.0.1": [
            {
              type: "signedBy",
              keyType: "GPGKeys",
              keyPath: "/var/sigstore/keys/anna.pgp",
              signedIdentity: {
                type: "remapIdentity",
                prefix: "10.0.0.1",
                signedPrefix: "registry.local",
              },
            },
          ],
        },
      },
    });

    await addSigner("nora", ["registry.local"]);
    const two = JSON.parse((await ask(port, "/keys/policy.json")).body.toString()) as Json;
    t.same(two.transports.docker["registry.local"]?.[0]?.keyPaths, [
      "/var/sigstore/keys/anna.pgp",
      "/var/sigstore/keys/nora.pgp",
    ]);
    await signers.revoke("nora", "x");
    await signers.revoke("anna", "x");
    const none = JSON.parse((await ask(port, "/keys/policy.json")).body.toString()) as Json;
    t.same(none.transports.docker["registry.local"], [{ type: "reject" }], "nobody is left");
    t.equal((await ask(port, "/keys/anna.pgp")).status, 404);
  });
});

interface Json {
  readonly transports: { readonly docker: Readonly<Record<string, { keyPaths?: string[] }[]>> };
}

t.test("the signature extension, and PUT of a lookaside path", async (t) => {
  const { signatures, sign, digest, hex } = await lab(t);
  const routes = createSignatureRoutes(signatures);
  const server = createServer((request, response) => {
    const place = parseSignaturePath(request.url ?? "");
    if (!place) return void response.writeHead(404).end();
    const exchange = { request, response, expectsContinue: false, needsLogin: false, ...place };
    const done =
      place.kind === "lookaside"
        ? routes.putLookaside(exchange, place.position, "imagemaker")
        : request.method === "PUT"
          ? routes.putExtension(exchange, "imagemaker")
          : Promise.resolve(routes.getExtension(exchange));
    done.catch((error: unknown) => {
      const { httpStatus, code } = error as RollcallError;
      response.writeHead(httpStatus).end(code);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const path = `/extensions/v2/p10/pause/signatures/${digest}`;
  const [one, two] = [await sign("1"), await sign("2")];
  const put = async (octets: Uint8Array, more: object = {}) => {
    const body = {
      schemaVersion: 2,
      name: `${digest}@${"a".repeat(32)}`,
      type: "atomic",
      content: Buffer.from(octets).toString("base64"),
      ...more,
    };
    const { status, body: said } = await ask(port, path, { method: "PUT", body: JSON.stringify(body) });
    return said.length === 0 ? status : said.toString();
  };
  const list = async () =>
    (
      JSON.parse((await ask(port, path)).body.toString()) as {
        signatures: { content: string; name: string }[];
      }
    ).signatures;

  t.same(await list(), [], "none yet");
  t.equal(await put(one), 201);
  t.equal(await put(one), 201, "again");
  t.equal((await list()).length, 1);
  t.equal((await list())[0]?.content, one.toString("base64"));
  t.match((await list())[0]?.name, new RegExp(`^${digest}@[0-9a-f]{32}$`));
  t.equal(await put(Buffer.from("hello")), "SIGNATURE_MALFORMED");
  t.equal(await put(two, { type: "other" }), "SIGNATURE_MALFORMED");
  t.equal(await put(two, { schemaVersion: 1 }), "SIGNATURE_MALFORMED");
  t.equal(await put(two, { name: "x" }), "SIGNATURE_MALFORMED");
  t.equal(await put(two, { content: "-" }), "SIGNATURE_MALFORMED");
  for (const body of ["", "null", "[]", "{", "x".repeat(200_000)])
    t.equal((await ask(port, path, { method: "PUT", body })).body.toString(), "SIGNATURE_MALFORMED");

  const place = `/sigstore//p10/pause@sha256=${hex}/signature-`;
  const answer = await ask(port, `${place}2`, { method: "PUT", body: two });
  t.same([answer.status, answer.headers["location"]], [201, `/sigstore/p10/pause@sha256=${hex}/signature-2`]);
  t.equal((await ask(port, `${place}5`, { method: "PUT", body: await sign("3") })).status, 409, "a gap");
  t.equal((await list()).length, 2);
  const nobody = `/extensions/v2/p10/pause/signatures/${digestOf("nobody")}`;
  t.same(JSON.parse((await ask(port, nobody)).body.toString()), { signatures: [] });
});

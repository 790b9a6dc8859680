import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import { promisify } from "node:util";
import t from "tap";
import { parseScopes } from "../../server/http/v2/access-tokens.ts";
import { matchesPattern } from "../../server/registry/repository-name.ts";
import { loopbackOf } from "../support/http-fixture.ts";
import { blobOf } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

const run = promisify(execFile);
const { digest, content } = blobOf("a blob");

t.test("who may push", async (t) => {
  const { server, push, pull, url } = await registryLab(t);
  const make = async (name: string, body: object) => {
    const answer = await server.api("POST", "/tokens", { name, ...body });
    return String(answer.json["token"] as unknown as string);
  };
  const post = (repository: string, token: string | undefined, headers = {}) =>
    pull(`/v2/${repository}/blobs/uploads/?digest=${digest}`, {
      method: "POST",
      body: content,
      token,
      headers,
    });

  t.test("nobody without a token, and not by an empty password", async (t) => {
    const challenge = { "www-authenticate": 'Basic realm="rollcall"' };
    t.match(await post("a", undefined), { status: 401, code: "UNAUTHORIZED", headers: challenge });
    t.match(await post("a", undefined, { authorization: "Basic Og==" }), {
      status: 401,
      code: "UNAUTHORIZED",
    });
    t.equal(
      (await pull("/v2/", { headers: { authorization: "Basic Og==" } })).status,
      200,
      "who pulls with it is nobody",
    );
    for (const method of ["PUT", "DELETE"] as const)
      t.equal((await pull("/v2/a/manifests/1", { method })).status, 401, method);
  });
  t.test("imagemakers and admins, and no other scope", async (t) => {
    t.equal((await post("a", await make("maker", { scope: "imagemaker" }))).status, 201);
    for (const scope of ["viewer", "operator"])
      t.match(await post("a", await make(scope, { scope })), { status: 403, code: "DENIED" }, scope);
    t.equal(
      (await post("a", undefined, { authorization: `Bearer ${server.adminToken}` })).status,
      201,
      "as Bearer",
    );
  });
  t.test("a wrong or revoked token is refused, when pulling too", async (t) => {
    const token = await make("soon-gone", { scope: "imagemaker" });
    t.equal((await post("a", token)).status, 201);
    await server.api("DELETE", "/tokens/soon-gone");
    t.match(await post("a", token), { status: 401, code: "UNAUTHORIZED" });
    t.equal((await pull("/v2/a/tags/list", { token: "wrong" })).status, 401);
  });
  t.test("a token with patterns pushes to what they match", async (t) => {
    const token = await make("narrow", { scope: "imagemaker", repositories: ["p10/*", "one"] });
    t.equal((await post("p10/sub/name", token)).status, 201);
    t.equal((await post("one", token)).status, 201);
    t.match(await post("p11/name", token), { status: 403, code: "DENIED" });
    t.equal(
      (await server.api("POST", "/tokens", { name: "x", scope: "viewer", repositories: ["a"] })).status,
      400,
    );
    t.ok(matchesPattern("*", "a/b") && matchesPattern("a/*/c", "a/b/c") && matchesPattern("*-dev", "x-dev"));
    t.notOk(matchesPattern("a*a", "a") || matchesPattern("p10/*", "p10") || matchesPattern("a", "ab"));
  });
  t.test("a token for some repositories may not touch what machines boot, nor clean up", async (t) => {
    const token = await make("bound", { scope: "imagemaker", repositories: ["p10/*"] });
    const ask = async (method: string, path: string) => {
      const answer = await fetch(`${server.url}/api/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(method === "GET" ? {} : { body: "{}" }),
      });
      return { status: answer.status, ...((await answer.json()) as { code?: string; message?: string }) };
    };
    t.equal((await ask("GET", "/images")).status, 200);
    for (const path of ["/images/import", "/registry/collect", "/registry/check", "/assets/gc"])
      t.match(await ask("POST", path), { status: 403, code: "SCOPE_MISSING" }, path);
    t.match(await ask("PUT", `/contents/${"0".repeat(64)}`), { status: 403, code: "SCOPE_MISSING" });
  });
  t.test("a connection may not have thousands of answers under way", async (t) => {
    const socket = createConnection(Number(new URL(url).port), "127.0.0.1");
    await once(socket, "connect");
    socket.pause();
    socket.on("error", () => undefined);
    socket.write("GET /v2/p10/none/blobs/uploads/x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200));
    socket.resume();
    await once(socket, "close");
    t.equal((await pull("/v2/")).status, 200, "others do not notice");
  });
  t.test("over plain HTTP only from this machine", async (t) => {
    const { stdout } = await run("ip", ["-4", "-o", "addr", "show", "scope", "global"]);
    const address = /inet ([0-9.]+)/.exec(stdout)?.[1];
    if (address === undefined) {
      t.pass("this machine has one address only");
      return;
    }
    const port = new URL(url).port;
    const words = [
      "-s",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      "-u",
      `a:${server.adminToken}`,
      "-X",
      "POST",
    ];
    const from = async (source: string, to: string) =>
      (await run("curl", [...words, "--interface", source, `http://${to}:${port}/v2/a/blobs/uploads/`]))
        .stdout;
    t.equal(await from(address, address), "202", "our own address is this machine too");
    t.equal(await from(loopbackOf(9), "127.0.0.1"), "202");
    t.equal(await from(address, "127.0.0.1"), "403", "an address that is neither: as from another machine");
    t.equal((await push("GET", "/v2/")).status, 200);
  });
});

t.test("TLS", async (t) => {
  const { server } = await registryLab(t);
  const port = server.app.addresses.registryTlsPort ?? 0;
  const directory = temporaryDirectory(t);
  const authority = join(directory, "ca.crt");
  writeFileSync(authority, server.app.registryAuthorityPem ?? "");
  const curl = async (...words: string[]) =>
    (
      await run("curl", [
        "-s",
        "-i",
        "--http1.1",
        "--cacert",
        authority,
        "--connect-to",
        `registry.local:443:127.0.0.1:${port}`,
        ...words,
      ])
    ).stdout;

  t.test("the certificate is of this server's authority, for its names and addresses", async (t) => {
    const socket = connect({
      port,
      host: "127.0.0.1",
      ca: server.app.registryAuthorityPem,
      servername: "registry.local",
    });
    await new Promise<void>((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    const certificate = new X509Certificate(socket.getPeerCertificate().raw);
    socket.destroy();
    for (const name of ["registry.local", "sigstore.local", "localhost"])
      t.ok(certificate.checkHost(name), name);
    t.ok(certificate.checkIP("127.0.0.1"));
  });
  t.test(
    "without credentials the base is a 401 with the token protocol's challenge, and pulls need none",
    async (t) => {
      t.match(
        await curl("https://registry.local/v2/"),
        /401 Unauthorized[^]*www-authenticate: Bearer realm="https:\/\/registry.local\/v2\/token",service="rollcall"\r\n/,
      );
      t.match(await curl("https://registry.local/v2/_catalog"), /200 OK/);
    },
  );
  const tokenFor = async (scope: string, ...words: string[]) => {
    const text = await curl(...words, `https://registry.local/v2/token?service=rollcall&scope=${scope}`);
    return String((JSON.parse(text.slice(text.indexOf("\r\n\r\n"))) as { token?: string }).token);
  };
  const upload = (token: string, repository = "a") =>
    curl(
      "-X",
      "POST",
      "-H",
      `Authorization: Bearer ${token}`,
      `https://registry.local/v2/${repository}/blobs/uploads/`,
    );
  t.test("an anonymous token pulls and pushes nothing", async (t) => {
    const token = await tokenFor("repository:a:pull,push");
    t.match(await curl("-H", `Authorization: Bearer ${token}`, "https://registry.local/v2/"), /200 OK/);
    t.match(await upload(token), /401[^]*scope="repository:a:pull,push"/);
  });
  t.test("a token that was made with an API token pushes where it is for", async (t) => {
    const login = ["-u", `anybody:${server.adminToken}`];
    const token = await tokenFor("repository:a:pull,push", ...login);
    t.match(await upload(token), /202 Accepted/);
    t.match(await upload(token, "b"), /401[^]*scope="repository:b:pull,push"/, "in no other repository");
    t.match(await upload(await tokenFor("repository:a:pull", ...login)), /401/, "not without the action");
    t.match(await upload(`${token.slice(0, -2)}AA`), /401/, "not when it was changed");
    t.match(await curl("-u", "anybody:wrong", "https://registry.local/v2/token"), /401/);
    const form = [
      "-d",
      `grant_type=password&username=a&password=${server.adminToken}&scope=repository:a:push`,
    ];
    t.match(await curl(...form, "https://registry.local/v2/token"), /"access_token":"/, "as OAuth 2 has it");
    t.match(
      await curl("-d", `password=${"x".repeat(20_000)}`, "https://registry.local/v2/token"),
      /413[^]*SIZE_INVALID/,
      "a form has its limit",
    );
    t.match(
      await curl(...login, "-X", "POST", "https://registry.local/v2/a/blobs/uploads/"),
      /202/,
      "Basic will do too",
    );
  });
  t.test("scopes are read as the protocol has them", (t) => {
    t.same(parseScopes(["repository:a/b:pull,push repository:c:*", "registry:catalog:*", "nonsense"]), [
      { repository: "a/b", actions: ["pull", "push"] },
      { repository: "c", actions: ["pull", "push", "delete"] },
    ]);
    t.end();
  });
});

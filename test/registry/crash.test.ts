import { Readable } from "node:stream";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { Agent, request } from "undici";
import { blobOf, manifestOf, ociManifest, digestOf } from "../support/oci-image.ts";
import { askRegistry, registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

const program = resolve(import.meta.dirname, "../../server/cli/main.ts");

/** `boot serve` as a process that can be killed, again and again on the same data. */
async function serve(t: Test, directory: string) {
  const dataDir = join(directory, "data");
  mkdirSync(dataDir, { recursive: true });
  const config = join(directory, "rollcall.yaml");
  writeFileSync(
    config,
    "interfaces: [lo]\ndhcp: { mode: off }\ntftp: { port: 0 }\nhttp: { port: 0 }\nregistry: { port: 0, tlsPort: 0 }\nlog: { level: info }\n",
  );
  const child = spawn(process.execPath, [program, "serve", "--config", config, "--data", dataDir]);
  const exited = once(child, "exit");
  let output = "";
  const port = await new Promise<number>((found, failed) => {
    const hear = (chunk: Buffer) => {
      output += String(chunk);
      const port = /"registryPort":(\d+)/.exec(output)?.[1];
      if (port !== undefined && output.includes("Try:")) found(Number(port));
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    void exited.then(() => failed(new Error(`the server ended:\n${output}`)));
  });
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  t.teardown(kill);
  return {
    dataDir,
    url: `http://127.0.0.1:${port}`,
    token: /shown this once: (\S+)/.exec(output)?.[1],
    kill,
  };
}

t.test("a server that is killed in the middle of pushes", async (t) => {
  const directory = temporaryDirectory(t);
  let server = await serve(t, directory);
  const token = server.token;
  const push = (method: "POST" | "PUT" | "PATCH", path: string, body?: Buffer | AsyncIterable<Uint8Array>) =>
    askRegistry(server.url, path, {
      method,
      token,
      ...(body && { body, headers: { "content-type": ociManifest } }),
    });

  const acknowledged: string[] = [];
  const config = blobOf('{"os":"linux"}');
  t.equal((await push("POST", `/v2/a/blobs/uploads/?digest=${config.digest}`, config.content)).status, 201);

  const content = Buffer.alloc(3 * 1024 * 1024, "some octets of a layer. ");
  const path = (await push("POST", "/v2/a/blobs/uploads/")).headers["location"] ?? "";
  let isHalf = () => {};
  const half = new Promise<void>((resolve) => (isHalf = resolve));
  async function* endless() {
    yield content.subarray(0, 2 * 1024 * 1024);
    isHalf();
    await new Promise(() => {});
  }
  const agent = new Agent();
  t.teardown(() => agent.destroy());
  const authorization = `Bearer ${token}`;
  const broken = request(`${server.url}${path}`, {
    method: "PATCH",
    body: Readable.from(endless()),
    headers: { authorization },
    dispatcher: agent,
  }).catch(() => undefined);
  await half;
  // Pushes of tags go on until the server is killed: what was acknowledged is counted.
  let isKilled = false;
  const pushing = (async () => {
    for (let number = 0; !isKilled; number++) {
      const manifest = manifestOf(config, [], { annotations: { number: String(number) } });
      const answer = await push("PUT", `/v2/a/manifests/t${number}`, manifest.content).catch(() => undefined);
      if (answer?.status === 201) acknowledged.push(`t${number}=${manifest.digest}`);
    }
  })();
  while (acknowledged.length < 5) await new Promise((done) => setImmediate(done));
  const session = join(server.dataDir, "blobs/sessions", path.split("/").at(-1) ?? "");
  while (readFileSync(session).length === 0) await new Promise((done) => setImmediate(done));
  isKilled = true;
  await server.kill();
  await Promise.all([pushing, broken]);

  server = await serve(t, directory);
  t.equal(server.token, undefined, "the same data");
  const pull = (path: string) => askRegistry(server.url, path, { token });
  for (const pushed of acknowledged) {
    const [tag, digest] = pushed.split("=");
    const answer = await pull(`/v2/a/manifests/${tag}`);
    t.equal(digestOf(answer.bytes), digest, `${tag} is there`);
  }
  const { tags } = (await pull("/v2/a/tags/list")).json as { tags: string[] };
  for (const tag of tags) {
    const answer = await pull(`/v2/a/manifests/${tag}`);
    t.equal(digestOf(answer.bytes), answer.headers["docker-content-digest"], `${tag} is whole`);
  }
  for (const prefix of readdirSync(join(server.dataDir, "blobs/sha256")))
    for (const name of readdirSync(join(server.dataDir, "blobs/sha256", prefix))) {
      const file = readFileSync(join(server.dataDir, "blobs/sha256", prefix, name));
      t.equal(digestOf(file), `sha256:${name}`, "what has a digest's name has its octets");
    }

  const state = await pull(path);
  t.equal(state.status, 204, "the upload is known");
  const [, last = "0"] = /^0-(\d+)$/.exec(state.headers["range"] ?? "") ?? [];
  t.ok(Number(last) > 0, `it goes on after ${last}`);
  const rest = await askRegistry(server.url, path, {
    method: "PATCH",
    token,
    body: content.subarray(Number(last) + 1),
    headers: { "content-range": `${Number(last) + 1}-${content.length - 1}` },
  });
  t.equal(rest.status, 202);
  t.equal((await push("PUT", `${path}?digest=${digestOf(content)}`)).status, 201);
  t.ok((await pull(`/v2/a/blobs/${digestOf(content)}`)).bytes.equals(content));
});

t.test("the collector of boot assets neither counts nor removes what the registry keeps", async (t) => {
  const { server, image, pull } = await registryLab(t);
  const { manifest, layers } = await image("a", "1", "a layer");
  const { kernel } = await server.addImage();
  const old = new Date(Date.now() - 7_200_000);
  const base = join(server.blobs, "sha256");
  const files = () => readdirSync(base).flatMap((prefix) => readdirSync(join(base, prefix)));
  const orphan = createHash("sha256").update("nobody names this").digest("hex");
  mkdirSync(join(base, orphan.slice(0, 2)), { recursive: true });
  writeFileSync(join(base, orphan.slice(0, 2), orphan), "nobody names this");
  for (const name of files()) utimesSync(join(base, name.slice(0, 2), name), old, old);
  const { json } = await server.api("POST", "/assets/gc", {});
  t.notOk(files().includes(orphan), "what nobody names is collected");
  t.ok(Number(json["keptBytes"]) < manifest.content.length, "the small files of the image are counted alone");
  t.ok(files().includes(kernel));
  t.equal((await pull("/v2/a/manifests/1")).headers["docker-content-digest"], manifest.digest);
  t.equal((await pull(`/v2/a/blobs/${layers[0]?.digest}`)).status, 200);
});

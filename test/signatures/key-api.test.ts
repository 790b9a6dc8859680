import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { startServer } from "../support/http-fixture.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { createGpg } from "../support/signing-lab.ts";

const launcher = resolve(import.meta.dirname, "../../server/launch.mjs");
const run = promisify(execFile);

t.test("who may sign images is told and changed by the API and the command", async (t) => {
  const gpg = createGpg(t);
  const fingerprint = await gpg.makeKey("anna", "ed25519");
  const armored = (await gpg.gpg("--export", "--armor", "anna")).stdout.toString();
  const server = await startServer(t, { settings: { "registry.aliases": ["10.0.0.1"] } });
  const file = join(temporaryDirectory(t), "anna.asc");
  writeFileSync(file, armored);
  const boot = async (...words: string[]) => {
    const { stdout } = await run(process.execPath, [launcher, "--data", server.dataDir, ...words], {
      env: { PATH: process.env["PATH"] },
    });
    return stdout;
  };

  t.match(await boot("key", "list"), /Nobody may sign images/);
  t.match(
    await boot("key", "add", "anna", "--file", file, "--scope", "registry.local/p10"),
    new RegExp(`anna may sign registry\\.local/p10, with ${fingerprint.toLowerCase()}`),
  );
  t.match(await boot("key", "list"), /anna +registry\.local\/p10 +ed25519 [0-9a-f]{40} +valid/);
  const binary = (await gpg.exportKey("anna")).toString("base64");
  const again = await server.api("POST", "/keys", {
    name: "anna",
    publicKey: binary,
    scopes: ["registry.local/p11"],
  });
  t.equal(again.status, 201, again.text);
  t.match(again.json, { scopes: ["registry.local/p10", "registry.local/p11"], revokedAt: null });
  t.equal(again.json["keys"]?.["length"], 1, "the same key, in binary");
  const refused = async (body: object) => (await server.api("POST", "/keys", body)).json["code"];
  t.equal(await refused({ name: "x", publicKey: "hello" }), "KEY_INVALID");
  t.equal(await refused({ name: "x", publicKey: binary }), "KEY_TAKEN");
  t.equal(await refused({ name: "anna", publicKey: binary, scopes: ["10.0.0.1/p10"] }), "SCOPE_INVALID");
  t.equal(
    await refused({ name: "anna", publicKey: binary, scopes: ["p10"] }),
    "SCOPE_INVALID",
    "a registry called p10",
  );
  t.equal(await refused({ name: "anna" }), "INVALID_REQUEST");

  t.match(await boot("key", "revoke", "anna"), /Revoked anna/);
  t.match(await boot("key", "list"), /anna .* revoked 20/);
  t.match(await boot("key", "remove", "anna"), /Removed anna/);
  t.same((await server.api("GET", "/keys")).items, []);
  await t.rejects(boot("key", "remove", "anna"), /SIGNER_NOT_FOUND|no signer anna/);
  await t.rejects(boot("key", "add", "x", "--file", `${file}.none`), /can't be read/);
});

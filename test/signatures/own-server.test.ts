import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import {
  policyJson,
  registriesConf,
  registriesDirectoryFile,
} from "../../server/signatures/policy/client-files.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { freePort } from "../support/free-port.ts";
import { sampleImage, writeLayout } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { createClients, createGpg, payloadFor } from "../support/signing-lab.ts";

const run = promisify(execFile);

/** A server whose TLS port is the registry's name, and podman with gpg keys as on another machine. */
async function lab(t: Test) {
  const gpg = createGpg(t);
  await gpg.makeKey("anna", "rsa3072");
  for (const name of ["bert", "stranger"]) await gpg.makeKey(name, "ed25519");
  const tlsPort = await freePort();
  const host = `127.0.0.1:${tlsPort}`;
  const registry = await registryLab(t, {
    settings: {
      "registry.host": host,
      "registry.tlsPort": tlsPort,
      "registry.repositories": [{ pattern: "*", mode: "warn" }],
    },
  });
  for (const name of ["anna", "bert"]) {
    const publicKey = (await gpg.exportKey(name)).toString("base64");
    const added = await registry.server.api("POST", "/keys", { name, publicKey });
    t.equal(added.status, 201, added.text);
  }
  const directory = temporaryDirectory(t);
  const certificates = join(directory, "certs");
  mkdirSync(certificates);
  writeFileSync(join(certificates, "ca.crt"), registry.server.app.registryAuthorityPem ?? "");
  const policy = join(directory, "policy.json");
  writeFileSync(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  const layout = join(directory, "layout");
  const image = sampleImage(directory, "hello");
  writeLayout(layout, { "1.0": image });
  const env = { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory, GNUPGHOME: gpg.home };
  const place = ["--root", join(directory, "root"), "--runroot", join(directory, "run")];
  const podman = (...words: string[]) =>
    run("podman", [...place, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", ...words], {
      env,
      cwd: directory,
    });
  const { stdout } = await podman("pull", "--quiet", "--signature-policy", policy, "oci:layout:1.0");
  const podmanPush = (reference: string, ...more: string[]) =>
    podman(
      "push",
      "--quiet",
      "--signature-policy",
      policy,
      "--cert-dir",
      certificates,
      "--creds",
      `any:${registry.server.adminToken}`,
      ...more,
      stdout.trim(),
      `docker://${host}/${reference}`,
    );
  /** With the policy that this server makes now. */
  const client = () => {
    const names = { host, aliases: [] };
    const { lookasidePort } = registry.server.app.addresses;
    return createClients(t, {
      policy: policyJson(trustOf(registry.server.store.signers.all(), names, Date.now()), "inline"),
      registriesD: registriesDirectoryFile(`http://127.0.0.1:${lookasidePort}/sigstore/`),
      registriesConf: registriesConf({
        names,
        port: Number(names.host.split(":")[1]),
        authorityPem: undefined,
      }),
    });
  };
  return { ...registry, host, gpg, podmanPush, client };
}

t.test("podman pushes and signs from afar, and clients and the server agree on what is signed", async (t) => {
  const registry = await lab(t);
  const { host, gpg, podmanPush: push, server } = registry;
  const by = (name: string) => ["--sign-by", `${name}@lab.test`];
  await push("p10/good:1.0", ...by("anna"));
  await push("p10/unsigned:1.0");
  await t.rejects(push("p10/stranger:1.0", ...by("stranger")), /no signer's|signature/i);
  await push("p10/former:1.0", ...by("bert"));
  await push("p10/both:1.0", ...by("bert"));
  await push("p10/both:1.0", ...by("anna"));
  await server.api("POST", "/keys/bert/revoke", {});
  const head = await registry.pull("/v2/p10/good/manifests/1.0", { method: "HEAD" });
  const digest = head.headers["docker-content-digest"] ?? "";
  await push("p10/good:2.0");
  const other = await gpg.sign("anna", payloadFor(digest, `${host}/p10/good:1.0`));
  const foreign = await registry.push(
    "PUT",
    `/sigstore/p10/unsigned@${digest.replace(":", "=")}/signature-1`,
    {
      body: other,
    },
  );
  t.match(foreign, { status: /^4/, text: /SIGNATURE_OTHER_REPOSITORY/ }, "a signature of another repository");

  const rows: Readonly<Record<string, boolean>> = {
    "p10/good:1.0": true,
    [`p10/good@${digest}`]: true,
    "p10/good:2.0": false,
    "p10/unsigned:1.0": false,
    "p10/stranger:1.0": false,
    "p10/former:1.0": false,
    "p10/both:1.0": true,
  };
  const client = registry.client();
  for (const [name, isSigned] of Object.entries(rows)) {
    const [, repository, , reference] = /^(.+?)(@|:)(.+)$/.exec(name) ?? [];
    const { status, headers } = await registry.pull(`/v2/${repository}/manifests/${reference}`);
    const { accepted, said } = await client.skopeo(`${host}/${name}`);
    t.same(
      { status, server: headers["warning"] === undefined, skopeo: accepted },
      { status: 200, server: isSigned, skopeo: isSigned },
      name,
      { said },
    );
  }
  const pulled = await client.podman(`${host}/p10/good:1.0`);
  t.ok(pulled.accepted, "podman takes it too", { said: pulled.said });
});

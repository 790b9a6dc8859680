import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { attachmentTag } from "../../server/domain/signature.ts";
import {
  attachmentPlaces,
  policyJson,
  registriesConf,
  registriesDirectoryFile,
} from "../../server/signatures/policy/client-files.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { freePort } from "../support/free-port.ts";
import { registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { createClients, type LabImage, makeImage, serveImages } from "../support/signing-lab.ts";
import { attachmentOf, makeSigstoreKey, signedLayer, sigstorePayload } from "../support/sigstore-lab.ts";

const run = promisify(execFile);

t.test(
  "skopeo brings an image with its cosign signature, and the registry shows what is signed",
  async (t) => {
    const port = await freePort();
    const host = `127.0.0.1:${port}`;
    const registry = await registryLab(t, {
      settings: {
        "registry.host": host,
        "registry.port": port,
        "registry.repositories": [{ pattern: "*", mode: "require-signed" }],
      },
    });
    const { api, adminToken } = registry.server;
    const [cora, stranger] = [makeSigstoreKey(), makeSigstoreKey()];
    t.equal((await api("POST", "/keys", { name: "cora", publicKey: cora.publicPem })).status, 201);
    const image = makeImage("signed");
    const tag = attachmentTag(image.digest);
    const tags: Record<string, LabImage> = { "1.0": image };
    const source = await serveImages(t, tags);

    const directory = temporaryDirectory(t);
    const config = join(directory, ".config/containers");
    mkdirSync(join(config, "registries.d"), { recursive: true });
    writeFileSync(
      join(config, "registries.d/default.yaml"),
      "default-docker:\n  use-sigstore-attachments: true\n",
    );
    const bring = async (repository: string, key: typeof cora) => {
      const payload = sigstorePayload(image.digest, `${host}/${repository}`);
      tags[tag] = attachmentOf([signedLayer(key, payload)]);
      const options = [
        "--dest-creds",
        `any:${adminToken}`,
        "--dest-tls-verify=false",
        "--src-tls-verify=false",
      ];
      const images = [`127.0.0.1:${source.port}`, host].map((from) => `docker://${from}/${repository}:1.0`);
      await run("skopeo", ["--insecure-policy", "copy", "--quiet", ...options, ...images], {
        env: { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory },
      });
    };
    await bring("p10/good", cora);
    await bring("p10/strange", stranger);

    const see = async (repository: string) => {
      const answers = [];
      for (const reference of ["1.0", image.digest, tag])
        answers.push((await registry.pull(`/v2/${repository}/manifests/${reference}`)).status);
      return answers;
    };
    t.same(await see("p10/good"), [200, 200, 200]);
    t.same(await see("p10/strange"), [404, 404, 404]);
    const { items } = await api("GET", "/images/p10/good/signatures?tag=1.0");
    t.match(items[0], {
      state: "signed",
      signers: ["cora"],
      signatures: [{ reference: `${host}/p10/good` }],
    });

    const names = { host, aliases: [] };
    const trust = trustOf(registry.server.store.signers.all(), names, Date.now());
    const place = { names, port, authorityPem: undefined, trust };
    const clients = createClients(t, {
      policy: policyJson(trust, "inline"),
      registriesD: registriesDirectoryFile("http://127.0.0.1:9/sigstore/", attachmentPlaces(place)),
      registriesConf: registriesConf(place),
    });
    const { accepted, said } = await clients.skopeo(`${host}/p10/good:1.0`);
    // Debian 12 builds skopeo without sigstore: it finds the signature, and verifies none.
    t.ok(accepted || said.includes("sigstore disabled"), "clients find it by the policy that they get", {
      said,
    });
    t.notOk((await clients.skopeo(`${host}/p10/strange:1.0`)).accepted);
  },
);

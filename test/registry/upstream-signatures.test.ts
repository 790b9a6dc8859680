import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { startDockerRegistry } from "../support/docker-registry.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { curl, startServer } from "../support/http-fixture.ts";
import { sampleImage, writeLayout } from "../support/oci-image.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { createClients, createGpg, payloadFor } from "../support/signing-lab.ts";

const run = promisify(execFile);

/** A registry that calls itself docker.io, with a lookaside of its own, behind a server of ours; and its vendor's key. */
async function lab(t: Test) {
  const directory = temporaryDirectory(t);
  const gpg = createGpg(t);
  await gpg.makeKey("vendor", "ed25519");
  const keyPath = join(directory, "vendor.gpg");
  writeFileSync(keyPath, await gpg.exportKey("vendor"));
  const upstream = await startDockerRegistry(t, join(directory, "upstream"));
  const files = new Map<string, Buffer>();
  const lookaside = await startFakeUpstream(t);
  lookaside.twist((request, response) => {
    const file = files.get(request.url ?? "");
    response.writeHead(file ? 200 : 404).end(file);
    return true;
  });
  const server = await startServer(t, {
    settings: {
      "registry.upstreams": [
        { prefix: "docker.io/", url: `http://${upstream.address}`, lookaside: `${lookaside.url}/sigstore` },
      ],
    },
  });
  const policy = join(directory, "anything.json");
  writeFileSync(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  const push = async (tag: string) => {
    const image = sampleImage(directory, tag);
    const layout = join(directory, `layout-${tag}`);
    writeLayout(layout, { it: image });
    const to = `docker://${upstream.address}/library/alpine:${tag}`;
    await run("skopeo", ["--policy", policy, "copy", "--dest-tls-verify=false", `oci:${layout}:it`, to]);
    return image.manifest.digest;
  };
  const signed = await push("3.20");
  await push("3.21");
  const octets = await gpg.sign("vendor", payloadFor(signed, "docker.io/library/alpine:3.20"));
  const place = `library/alpine@${signed.replace(":", "=")}/signature-1`;
  files.set(`/sigstore/${place}`, octets);
  const { registryPort, lookasidePort } = server.app.addresses;
  return {
    server,
    upstream,
    lookaside,
    keyPath,
    octets,
    place,
    ours: `127.0.0.1:${registryPort}`,
    lookasidePort,
  };
}

const policyOf = (scope: string, keyPath: string, more: object = {}) =>
  JSON.stringify({
    default: [{ type: "reject" }],
    transports: { docker: { [scope]: [{ type: "signedBy", keyType: "GPGKeys", keyPath, ...more }] } },
  });
const mirrorConf = (mirror: string) =>
  `[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "${mirror}"\ninsecure = true\n`;

t.test(
  "a client that has us as a mirror accepts what the vendor signed, by its own policy, and nothing else",
  async (t) => {
    const { ours, keyPath } = await lab(t);
    const clients = createClients(t, {
      policy: policyOf("docker.io/library/alpine", keyPath),
      registriesD: "",
      registriesConf: mirrorConf(`${ours}/docker.io`),
    });
    t.match(await clients.skopeo("docker.io/library/alpine:3.20"), { accepted: true });
    t.match(await clients.skopeo("docker.io/library/alpine:3.21"), {
      accepted: false,
      said: /signature was required, but no signature exists/,
    });
  },
);

t.test("a client that asks us by our name accepts it with remapIdentity, and not without", async (t) => {
  const { ours, keyPath } = await lab(t);
  const scope = `${ours}/docker.io`;
  const registriesConf = `[[registry]]\nlocation = "${ours}"\ninsecure = true\n`;
  const remap = { signedIdentity: { type: "remapIdentity", prefix: scope, signedPrefix: "docker.io" } };
  const name = `${scope}/library/alpine:3.20`;
  const pull = (more: object) =>
    createClients(t, { policy: policyOf(scope, keyPath, more), registriesD: "", registriesConf }).skopeo(
      name,
    );
  t.match(await pull(remap), { accepted: true });
  t.match(await pull({}), { accepted: false, said: /Signature for identity/ });
});

t.test("a client that takes images elsewhere finds their signatures in our lookaside", async (t) => {
  const { upstream, keyPath, lookasidePort } = await lab(t);
  const pull = (registry: string) =>
    createClients(t, {
      policy: policyOf("docker.io/library/alpine", keyPath),
      registriesD: `docker:\n  "${registry}":\n    lookaside: http://127.0.0.1:${lookasidePort}/sigstore/docker.io\n`,
      registriesConf: mirrorConf(upstream.address),
    }).skopeo("docker.io/library/alpine:3.20");
  t.match(await pull(upstream.address), { accepted: true }, "the mirror that is asked counts");
  t.match(await pull("docker.io"), { accepted: false }, "and not the name in the image");
});

t.test("the lookaside and the extension have the upstream's signatures behind our own", async (t) => {
  const { server, octets, place, lookaside, ours, lookasidePort } = await lab(t);
  const [, digest = ""] = /@sha256=([0-9a-f]{64})/.exec(place) ?? [];
  const at = (path: string) => fetch(`http://127.0.0.1:${lookasidePort}/sigstore/docker.io/${path}`);
  const first = await at(place);
  t.same([first.status, Buffer.from(await first.arrayBuffer())], [200, octets]);
  t.equal((await at(place.replace("signature-1", "signature-2"))).status, 404);
  const before = lookaside.asked.length;
  // As it is written, for fetch takes the dots away.
  const outside = await curl(
    "--path-as-is",
    "--output",
    "/dev/null",
    "--write-out",
    "%{http_code}",
    `http://127.0.0.1:${lookasidePort}/sigstore/docker.io/../../secret@sha256=${digest}/signature-1`,
  );
  t.equal(outside, "404", "no path leads out of the upstream's own");
  t.equal(lookaside.asked.length, before);
  const asked = lookaside.asked.length;
  const extension = `http://${ours}/extensions/v2/docker.io/library/alpine/signatures/sha256:${digest}`;
  t.match(await (await fetch(extension)).json(), {
    signatures: [
      {
        type: "atomic",
        content: octets.toString("base64"),
        name: new RegExp(`^sha256:${digest}@[0-9a-f]{32}$`),
      },
    ],
  });
  t.equal(lookaside.asked.length, asked, "one question to the upstream is enough");

  const { signatures } = server.app.store;
  const own = {
    repository: "docker.io/library/alpine",
    digest: `sha256:${digest}`,
    fingerprint: "f".repeat(40),
    reference: "registry.local/docker.io/library/alpine:3.20",
    signedAt: 0,
    expiresAt: undefined,
    id: "0".repeat(64),
    addedAt: 0,
    addedBy: "test",
  };
  await fetch(`http://${ours}/v2/docker.io/library/alpine/manifests/3.20`);
  await signatures.add(own, Buffer.from("ours"), undefined);
  t.equal(await (await at(place)).text(), "ours");
  const second = await at(place.replace("signature-1", "signature-2"));
  t.same(Buffer.from(await second.arrayBuffer()), octets);
});

t.test(
  "a lookaside of an upstream that fails is no signature, and the image can be had without",
  async (t) => {
    const { lookaside, ours, lookasidePort, place } = await lab(t);
    lookaside.twist((_request, response) => Boolean(response.writeHead(503).end()));
    const answer = await fetch(`http://127.0.0.1:${lookasidePort}/sigstore/docker.io/${place}`);
    t.equal(answer.status, 404);
    const clients = createClients(t, {
      policy: JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }),
      registriesD: "",
      registriesConf: mirrorConf(`${ours}/docker.io`),
    });
    t.match(await clients.skopeo("docker.io/library/alpine:3.20"), { accepted: true });
  },
);

t.test(
  "signatures of an upstream that has the extension come by it, and nobody asks one that has not",
  async (t) => {
    const fake = await startFakeUpstream(t);
    const digest = `sha256:${"a".repeat(64)}`;
    const content = Buffer.from("signed").toString("base64");
    let isThere = true;
    fake.twist((request, response) => {
      if (request.url === "/v2/")
        return Boolean(
          response.writeHead(200, isThere ? { "x-registry-supports-signatures": "1" } : {}).end(),
        );
      return Boolean(response.end(JSON.stringify({ signatures: [{ type: "atomic", content }] })));
    });
    const ask = async () => {
      const server = await startServer(t, {
        settings: { "registry.upstreams": [{ prefix: "far/", url: fake.url }] },
      });
      const path = `/extensions/v2/far/app/signatures/${digest}`;
      const answer = await fetch(`http://127.0.0.1:${server.app.addresses.registryPort}${path}`);
      return (await answer.json()) as { signatures: object[] };
    };
    t.match(await ask(), { signatures: [{ content }] });
    t.same(fake.asked, ["GET /v2/", `GET /extensions/v2/app/signatures/${digest}`]);
    isThere = false;
    t.same(await ask(), { signatures: [] });
    t.equal(fake.asked.length, 3);
  },
);

import t from "tap";
import type { Signer } from "../../server/domain/signature.ts";
import type { Family } from "../../server/node/families.ts";
import type { NodeFactsInput } from "../../server/node/node-facts.ts";
import { nodeTree } from "../../server/node/node-tree.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { readSigstoreKey } from "../../server/signatures/sigstore.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { sampleFacts, sampleImages, sampleSigner } from "../support/node-samples.ts";
import { makeSigstoreKey } from "../support/sigstore-lab.ts";

type Images = NodeFactsInput["images"];

/** Text of a file of a node that was told this about the registry; undefined: there is none. */
function filesOf(changes: Partial<Images>, family: Family = "debian") {
  const spec = rootlessNode("worker", family, sampleFacts({ images: { ...sampleImages, ...changes } }));
  const { files } = nodeTree(spec);
  return (path: string): string | undefined => files.find((file) => file.path === path)?.text;
}
interface Policy {
  readonly default: readonly object[];
  readonly transports: { readonly docker: Readonly<Record<string, readonly { keyData?: string }[]>> };
}
const policyOf = (changes: Partial<Images>): Policy =>
  JSON.parse(filesOf(changes)("/etc/containers/policy.json") ?? "") as Policy;
const signedBy = (signers: readonly Signer[], names = sampleImages.names) => ({
  names,
  trust: trustOf(signers, names, 10),
});
const signer = (name: string, octet: number, more: Partial<Signer> = {}): Signer => ({
  ...sampleSigner,
  name,
  keys: sampleSigner.keys.map((key) => ({ ...key, octets: Uint8Array.of(0x98, octet) })),
  ...more,
});
const anything = [{ type: "insecureAcceptAnything" }];
const nothing = [{ type: "reject" }];

t.test("as long as nobody may sign, a node takes every image, unless the config says which", (t) => {
  const nobody = signedBy([]);
  t.same(policyOf(nobody), { default: anything, transports: { docker: {} } });
  t.same(policyOf({ ...nobody, unsignedImages: [] }), { default: nothing, transports: { docker: {} } });
  t.same(policyOf({ ...nobody, unsignedImages: ["registry.k8s.io", "docker.io/flannel"] }), {
    default: nothing,
    transports: { docker: { "docker.io/flannel": anything, "registry.k8s.io": anything } },
  });
  t.end();
});

t.test("from the first signer on every other image is refused", (t) => {
  const policy = policyOf(signedBy([signer("anna", 1)]));
  t.same(policy.default, nothing);
  t.same(Object.keys(policy.transports.docker), ["registry.local"]);
  const gone = policyOf(signedBy([signer("anna", 1, { revokedAt: 5 })]));
  t.same(gone.default, nothing, "also when that one was revoked since");
  t.end();
});

t.test("a scope has all its signers, and is closed when none of them counts any more", (t) => {
  const { docker } = policyOf(
    signedBy([
      signer("anna", 1),
      signer("bella", 2, { scopes: ["registry.local", "registry.local/p10"] }),
      signer("old", 3, { scopes: ["registry.local/old"], expiresAt: 10 }),
      signer("lost", 4, { scopes: ["registry.local/lost", "registry.local"], revokedAt: 5 }),
    ]),
  ).transports;
  const keys = (...octets: number[]) =>
    Buffer.from(octets.flatMap((octet) => [0x98, octet])).toString("base64");
  t.match(docker["registry.local"], [{ type: "signedBy", keyType: "GPGKeys", keyData: keys(1, 2) }]);
  t.match(docker["registry.local/p10"], [{ type: "signedBy", keyData: keys(2) }]);
  t.same(docker["registry.local/old"], nothing);
  t.same(docker["registry.local/lost"], nothing);
  t.end();
});

t.test("a signer's scope stays the signer's, whatever the config lets through", (t) => {
  const { docker } = policyOf({
    ...signedBy([signer("anna", 1)]),
    unsignedImages: ["registry.local", "registry.local/open"],
  }).transports;
  t.match(docker["registry.local"], [{ type: "signedBy" }]);
  t.same(docker["registry.local/open"], anything);
  t.end();
});

t.test("the registry is asked over TLS with our authority, at its port, by whatever name", (t) => {
  const names = { host: "registry.local", aliases: ["10.0.0.2", "cache.lab:5000"] };
  const file = filesOf({ ...signedBy([signer("anna", 1)], names), port: 8443 });
  const place = "registry.local:8443";
  t.equal(
    file("/etc/containers/registries.conf"),
    `unqualified-search-registries = ["registry.local"]\n${[names.host, ...names.aliases]
      .map((name) => `\n[[registry]]\nprefix = "${name}"\nlocation = "${place}"\n`)
      .join("")}`,
  );
  t.equal(file(`/etc/containers/certs.d/${place}/ca.crt`), sampleImages.authorityPem);
  for (const name of [names.host, ...names.aliases])
    t.equal(
      file(`/etc/rollcall/u7s/certs.d/${name}/hosts.toml`),
      `server = "https://${place}"\ncapabilities = ["pull", "resolve"]\nca = "/etc/containers/certs.d/${place}/ca.crt"\n\n[host]\n`,
      name,
    );
  const { docker } = policyOf(signedBy([signer("anna", 1)], names)).transports;
  t.match(docker["10.0.0.2"], [
    { signedIdentity: { type: "remapIdentity", prefix: "10.0.0.2", signedPrefix: "registry.local" } },
  ]);
  t.end();
});

t.test("only a registry without TLS is asked without it", (t) => {
  t.notMatch(filesOf({})("/etc/containers/registries.conf"), /insecure/);
  const file = filesOf({ authorityPem: undefined, port: 80 });
  t.match(file("/etc/containers/registries.conf"), /location = "registry\.local"\ninsecure = true\n/);
  t.match(
    file("/etc/rollcall/u7s/certs.d/registry.local/hosts.toml"),
    /^server = "http:\/\/registry\.local"\n/,
  );
  t.equal(file("/etc/containers/certs.d/registry.local/ca.crt"), undefined);
  t.end();
});

t.test("signatures are looked for by the old key of registries.d and by the new one", (t) => {
  const url = "http://sigstore.local:8081/sigstore/";
  t.equal(
    filesOf({ lookasidePort: 8081 })("/etc/containers/registries.d/default.yaml"),
    `default-docker:\n  lookaside: ${url}\n  sigstore: ${url}\n`,
  );
  t.end();
});

t.test(
  "a key of cosign's stands in the policy, and images with its signatures are looked for there alone",
  (t) => {
    const names = { host: "registry.local", aliases: ["10.0.0.2"] };
    const { publicPem } = makeSigstoreKey();
    const cora = {
      ...sampleSigner,
      name: "cora",
      scopes: ["registry.local/p10"],
      keys: [readSigstoreKey(publicPem)],
    };
    const elsewhere = {
      ...sampleSigner,
      name: "elsa",
      scopes: ["registry.example/apps"],
      keys: [readSigstoreKey(makeSigstoreKey("ed25519").publicPem)],
    };
    const images = {
      ...signedBy([cora, elsewhere, signer("anna", 1)], names),
      port: 8443,
      lookasidePort: 81,
    };
    const { docker } = policyOf(images).transports;
    const keyData = Buffer.from(publicPem).toString("base64");
    t.same(docker["registry.local/p10"], [
      { type: "sigstoreSigned", keyData, signedIdentity: { type: "matchRepository" } },
    ]);
    t.same(docker["10.0.0.2/p10"], [
      {
        type: "sigstoreSigned",
        keyData,
        signedIdentity: { type: "remapIdentity", prefix: "10.0.0.2", signedPrefix: "registry.local" },
      },
    ]);
    t.match(docker["registry.local"], [{ type: "signedBy" }], "the scope above is gpg's");
    const url = "http://sigstore.local:81/sigstore/";
    const section = (place: string) =>
      `  "${place}":\n    lookaside: ${url}\n    sigstore: ${url}\n    use-sigstore-attachments: true\n`;
    t.equal(
      filesOf(images)("/etc/containers/registries.d/default.yaml"),
      `default-docker:\n  lookaside: ${url}\n  sigstore: ${url}\ndocker:\n${section("registry.example/apps")}${section("registry.local:8443/p10")}`,
    );
    t.same(
      policyOf({ ...images, ...signedBy([{ ...cora, revokedAt: 5 }]) }).transports.docker[
        "registry.local/p10"
      ],
      nothing,
    );
    t.end();
  },
);

t.test("the services have their names in /etc/hosts, the registry's own among them", (t) => {
  t.match(filesOf({})("/etc/hosts"), /^10\.0\.0\.2 registry\.local sigstore\.local$/m);
  t.match(
    filesOf(signedBy([], { host: "images.lab:5000", aliases: [] }))("/etc/hosts"),
    /^10\.0\.0\.2 registry\.local sigstore\.local images\.lab$/m,
  );
  t.match(filesOf({}, "alt")("/etc/hosts"), /^10\.0\.0\.2 registry\.local sigstore\.local trivy\.local$/m);
  t.end();
});

t.test("CRI-O is told to verify, by the system's files and no user's", (t) => {
  for (const family of ["alt", "fedora-coreos"] as const) {
    const file = filesOf({}, family);
    const [configuration, programs] =
      family === "alt"
        ? ["/etc/podsec/u7s/config", "/usr/libexec/podsec/u7s/bin"]
        : ["/etc/rollcall/u7s", "/var/usrlocal/libexec/u7s"];
    t.match(
      file(`${configuration}/crio.conf`),
      /^\[crio\.image\]\nsignature_policy = "\/etc\/containers\/policy\.json"$/m,
    );
    t.notMatch(file(`${configuration}/crio.conf`), /insecure_registries/);
    t.match(file(`${programs}/crio.sh`), / --registries-conf \/etc\/containers\/registries\.conf$/m);
    t.equal(file(`${configuration}/certs.d/registry.local/hosts.toml`), undefined);
  }
  t.end();
});

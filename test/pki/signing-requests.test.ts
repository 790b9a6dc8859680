import "reflect-metadata";
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtensionsAttribute,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
} from "@peculiar/x509";
import fc from "fast-check";
import t, { type Test } from "tap";
import { CertificateRequestInvalid } from "../../server/domain/error-catalogue.ts";
import { judgeSigningRequest, kubeletClientSigner } from "../../server/kubeadm/signing-request-policy.ts";
import { issueAgentCertificate } from "../../server/pki/agent-certificates.ts";
import { readSigningRequest } from "../../server/pki/signing-requests.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** A request as openssl makes it, which is what an agent uses; a kubelet's differs in nothing that matters here. */
function request(
  t: Test,
  subject: string,
  { key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], extensions = [] as string[] } = {},
): string {
  const directory = temporaryDirectory(t);
  const keyFile = join(directory, "key.pem");
  execFileSync("openssl", ["genpkey", "-algorithm", ...key, "-out", keyFile], { stdio: "ignore" });
  return execFileSync(
    "openssl",
    ["req", "-new", "-key", keyFile, "-subj", subject, ...extensions.flatMap((text) => ["-addext", text])],
    { encoding: "utf8" },
  );
}
const kubelet = "/O=system:nodes/CN=system:node:s5";

t.test("a request says what openssl wrote into it", async (t) => {
  const plain = await readSigningRequest(request(t, kubelet));
  t.match(plain, {
    commonNames: ["system:node:s5"],
    organizations: ["system:nodes"],
    otherAttributes: [],
    alternativeNames: [],
    otherExtensions: [],
  });
  t.match(await readSigningRequest(request(t, `/OU=lab/C=DE${kubelet}/CN=two`)), {
    commonNames: ["system:node:s5", "two"],
    otherAttributes: ["OU=lab", "C=DE"],
  });
  const extended = await readSigningRequest(
    request(t, kubelet, {
      extensions: [
        "subjectAltName=DNS:api.lab,IP:10.0.0.1,email:a@b.c,URI:spiffe://x",
        "basicConstraints=critical,CA:TRUE",
      ],
    }),
  );
  t.same(extended.alternativeNames, ["dns:api.lab", "ip:10.0.0.1", "email:a@b.c", "url:spiffe://x"]);
  t.same(extended.otherExtensions, ["2.5.29.19"]);
  const joined = await readSigningRequest(request(t, "/O=system:nodes+CN=system:node:s5"));
  t.match(
    joined,
    { commonNames: ["system:node:s5"], organizations: ["system:nodes"] },
    "of several values in one part",
  );
});

t.test("what openssl wrote is judged as it should be", async (t) => {
  const joins = [{ tokenId: "bbbbbb", machine: "s5" }];
  const judge = async (text: string) =>
    judgeSigningRequest(
      {
        name: "csr-1",
        username: "system:bootstrap:bbbbbb",
        signerName: kubeletClientSigner,
        usages: ["digital signature", "client auth"],
        requested: await readSigningRequest(text).catch(() => undefined),
      },
      joins,
    );
  t.same(await judge(request(t, kubelet)), { verdict: "approve" });
  t.match(await judge(request(t, "/O=system:nodes/CN=system:node:s4")), { reason: "wrong-name" });
  t.match(await judge(request(t, "/O=system:masters/CN=system:node:s5")), { reason: "wrong-organization" });
  t.match(await judge(request(t, `${kubelet}/OU=x`)), { reason: "extra-subject" });
  const withName = request(t, kubelet, { extensions: ["subjectAltName=DNS:api.lab"] });
  t.match(await judge(withName), { reason: "extra-names" });
  const otherName = request(t, kubelet, { extensions: ["subjectAltName=otherName:1.2.3.4;UTF8:root"] });
  t.match(await judge(otherName), { verdict: "deny" }, "also a name of a kind that is rare");
  t.match(await judge("nothing"), { reason: "unreadable" });
});

t.test(
  "what stands beside the list of extensions is told too, so that nobody signs what was not read",
  async (t) => {
    const directory = temporaryDirectory(t);
    const config = join(directory, "req.cnf");
    writeFileSync(
      config,
      "[req]\nprompt=no\ndistinguished_name=dn\nattributes=more\n[dn]\nO=system:nodes\nCN=system:node:s5\n[more]\nchallengePassword=secret\n",
    );
    const withAttribute = execFileSync(
      "openssl",
      [
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        join(directory, "key.pem"),
        "-config",
        config,
      ],
      { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    );
    t.same((await readSigningRequest(withAttribute)).otherExtensions, ["1.2.840.113549.1.9.7"]);

    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const secondList = await Pkcs10CertificateRequestGenerator.create({
      name: "O=system:nodes, CN=system:node:s5",
      keys,
      signingAlgorithm: algorithm,
      extensions: [new KeyUsagesExtension(KeyUsageFlags.digitalSignature)],
      attributes: [new ExtensionsAttribute([new BasicConstraintsExtension(true)])],
    });
    const { otherExtensions } = await readSigningRequest(secondList.toString("pem"));
    t.ok(otherExtensions.includes("1.2.840.113549.1.9.14"), otherExtensions.join(" "));
  },
);

t.test("keys that are too weak, or of another kind, are refused", async (t) => {
  for (const key of [
    ["rsa", "-pkeyopt", "rsa_keygen_bits:1024"],
    ["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    ["ed25519"],
  ])
    await t.rejects(
      readSigningRequest(request(t, kubelet, { key })),
      { code: CertificateRequestInvalid.code },
      key.join(" "),
    );
  for (const key of [
    ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
    ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
  ])
    await t.resolves(readSigningRequest(request(t, kubelet, { key })), key.join(" "));
});

t.test("a request that somebody else signed, changed or joined with another is refused", async (t) => {
  const right = request(t, kubelet);
  const octets = Buffer.from(right.split("\n").slice(1, -2).join(""), "base64");
  const pem = (der: Uint8Array) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
  await t.resolves(readSigningRequest(pem(octets)));
  const renamed = Buffer.from(octets);
  renamed.write("s4", renamed.indexOf("node:s5") + 5);
  await t.rejects(readSigningRequest(pem(renamed)), {
    code: CertificateRequestInvalid.code,
    message: /signature/,
  });
  await t.rejects(readSigningRequest(pem(Buffer.concat([octets, Buffer.from([0])]))), {
    message: /one value of ASN/,
  });
  await t.rejects(readSigningRequest(right + right), { message: /one request/ });
  await t.rejects(readSigningRequest(`${"\n".repeat(20_000)}${right}`), { message: /more than/ });
  for (const text of [
    "",
    "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
    right.slice(100),
  ])
    await t.rejects(readSigningRequest(text), { code: CertificateRequestInvalid.code });
});

t.test("whatever octets stand in a request, it is read or refused with a reason", async (t) => {
  const right = Buffer.from(request(t, kubelet).split("\n").slice(1, -2).join(""), "base64");
  const refused = { count: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(right.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.nat(right.length),
      async (changes, length) => {
        const octets = Buffer.from(right);
        for (const [at, value] of changes) octets[at] = value;
        const der = length % 3 === 0 ? octets.subarray(0, length) : octets;
        const text = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
        try {
          await readSigningRequest(text);
        } catch (error) {
          if (!CertificateRequestInvalid.is(error)) throw error;
          refused.count++;
        }
      },
    ),
    { numRuns: 300 },
  );
  t.ok(refused.count > 250, `${refused.count} refused`);
});

t.test(
  "an agent's certificate is signed by the agents' authority and has the names that the server gives it",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const directory = temporaryDirectory(t);
    const now = Date.now();
    const text = request(t, "/O=system:masters/CN=kubernetes-admin", {
      extensions: ["subjectAltName=DNS:api.lab"],
    });
    const issued = await issueAgentCertificate(authorities, text, { machineId: "m_1", attempt: "b_1" }, now);
    const path = (name: string, content: string) => {
      writeFileSync(join(directory, name), content);
      return join(directory, name);
    };
    const certificate = path("agent.crt", issued);
    const described = execFileSync(
      "openssl",
      [
        "x509",
        "-in",
        certificate,
        "-noout",
        "-subject",
        "-nameopt",
        "RFC2253",
        "-ext",
        "subjectAltName,extendedKeyUsage",
      ],
      { encoding: "utf8" },
    );
    t.match(described, /^subject=CN=b_1,O=m_1$/m);
    t.notMatch(described, /api\.lab|masters/);
    t.match(described, /TLS Web Client Authentication/);
    const verify = (authority: string) =>
      spawnSync("openssl", ["verify", "-CAfile", path("ca.crt", authority), certificate]).status;
    t.equal(verify(authorities.agent.certificatePem), 0);
    t.not(verify(authorities.cluster.certificatePem), 0, "and gives no way into the cluster");
    const ends = (seconds: number) =>
      spawnSync("openssl", ["x509", "-in", certificate, "-noout", "-checkend", String(seconds)]).status;
    t.equal(ends(364 * 86_400), 0, "a machine may stay on for weeks");
    t.equal(ends(365 * 86_400 + 60), 1, "it ends within a year");
  },
);

import t from "tap";
import {
  type ExpectedJoin,
  judgeSigningRequest,
  kubeletClientSigner,
  type RequestedCertificate,
  type SigningRequest,
} from "../../server/kubeadm/signing-request-policy.ts";

const joins: readonly ExpectedJoin[] = [
  { tokenId: "aaaaaa", machine: "s4" },
  { tokenId: "bbbbbb", machine: "s5" },
];
const requested: RequestedCertificate = {
  commonNames: ["system:node:s5"],
  organizations: ["system:nodes"],
  otherAttributes: [],
  alternativeNames: [],
  otherExtensions: [],
};
const right: SigningRequest = {
  name: "csr-1",
  username: "system:bootstrap:bbbbbb",
  signerName: kubeletClientSigner,
  usages: ["digital signature", "key encipherment", "client auth"],
  requested,
};

const judge = (change: Partial<SigningRequest>, certificate: Partial<RequestedCertificate> = {}) =>
  judgeSigningRequest({ ...right, requested: { ...requested, ...certificate }, ...change }, joins);

t.test("the expected request of the expected machine is approved", (t) => {
  t.same(judge({}), { verdict: "approve" });
  t.same(judge({ usages: ["client auth", "digital signature"] }), { verdict: "approve" }, "as of an EC key");
  t.end();
});

const denials: readonly [
  rule: string,
  reason: string,
  Partial<SigningRequest>,
  Partial<RequestedCertificate>?,
][] = [
  ["another machine's name", "wrong-name", {}, { commonNames: ["system:node:s4"] }],
  ["an administrator's name", "wrong-name", {}, { commonNames: ["kubernetes-admin"] }],
  ["no name", "wrong-name", {}, { commonNames: [] }],
  ["two names, the right one first", "wrong-name", {}, { commonNames: ["system:node:s5", "system:node:s4"] }],
  ["the name in capitals", "wrong-name", {}, { commonNames: ["system:node:S5"] }],
  ["another organization", "wrong-organization", {}, { organizations: ["system:masters"] }],
  ["an organization more", "wrong-organization", {}, { organizations: ["system:nodes", "system:masters"] }],
  ["no organization", "wrong-organization", {}, { organizations: [] }],
  ["another attribute of the subject", "extra-subject", {}, { otherAttributes: ["OU=x"] }],
  ["a DNS name", "extra-names", {}, { alternativeNames: ["dns:api.lab"] }],
  ["an address", "extra-names", {}, { alternativeNames: ["ip:10.0.0.1"] }],
  ["an extension", "extra-extensions", {}, { otherExtensions: ["2.5.29.19"] }],
  ["usages of a server", "wrong-usages", { usages: ["digital signature", "client auth", "server auth"] }],
  ["usages of an authority", "wrong-usages", { usages: ["digital signature", "client auth", "cert sign"] }],
  ["no usage of a client", "wrong-usages", { usages: ["digital signature", "key encipherment"] }],
  ["no usage", "wrong-usages", { usages: [] }],
  ["the signer for servers", "wrong-signer", { signerName: "kubernetes.io/kubelet-serving" }],
  ["the signer for any client", "wrong-signer", { signerName: "kubernetes.io/kube-apiserver-client" }],
  ["a signer that nobody checks", "wrong-signer", { signerName: "kubernetes.io/legacy-unknown" }],
  ["a token of another join", "wrong-name", { username: "system:bootstrap:aaaaaa" }],
  ["a token of no join", "unknown-token", { username: "system:bootstrap:cccccc" }],
  ["a user who is no machine", "wrong-user", { username: "eve" }],
  ["a service account", "wrong-user", { username: "system:serviceaccount:default:eve" }],
  ["what can't be read", "unreadable", { requested: undefined }],
];
for (const [rule, reason, change, certificate] of denials)
  t.test(`denied: ${rule}`, (t) => {
    const verdict = judge(change, certificate);
    t.match(verdict, { verdict: "deny", reason });
    t.ok(verdict.verdict === "deny" && verdict.message.length > 10);
    t.end();
  });

t.test("one join gets one certificate: the same request again is approved, another is denied", (t) => {
  const approved = [{ tokenId: "bbbbbb", machine: "s5", approved: "csr-1" }];
  t.same(judgeSigningRequest(right, approved), { verdict: "approve" });
  t.match(judgeSigningRequest({ ...right, name: "csr-2" }, approved), {
    verdict: "deny",
    reason: "already-approved",
  });
  t.end();
});

t.test("what is not about joining is left to others", (t) => {
  for (const change of [
    { username: "system:node:s5" },
    { username: "system:node:s5", signerName: "kubernetes.io/kubelet-serving" },
    { username: "olga", signerName: "kubernetes.io/kube-apiserver-client" },
  ])
    t.same(judge(change), { verdict: "leave" });
  t.end();
});

t.test("no text of a machine reaches a person as it is, or without end", (t) => {
  const verdict = judge(
    {},
    { commonNames: [`evil\n\u001b[2J${"x".repeat(10_000)}`, ...Array(100).fill("y")] },
  );
  t.ok(verdict.verdict === "deny" && /^[\x20-\x7e]+$/.test(verdict.message) && verdict.message.length < 1000);
  t.end();
});

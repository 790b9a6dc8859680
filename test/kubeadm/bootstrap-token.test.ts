import fc from "fast-check";
import t from "tap";
import {
  bootstrapTokenLifeMs,
  bootstrapTokenSecret,
  formatBootstrapToken,
  parseBootstrapToken,
} from "../../server/kubeadm/bootstrap-token.ts";

const letters = "abcdefghijklmnopqrstuvwxyz0123456789".split("");
const textOf = (length: number) =>
  fc.array(fc.constantFrom(...letters), { minLength: length, maxLength: length }).map((all) => all.join(""));

t.test("every token is read as it was written, and no other text is one", (t) => {
  fc.assert(
    fc.property(textOf(6), textOf(16), (id, secret) => {
      const text = formatBootstrapToken({ id, secret });
      t.same(parseBootstrapToken(text), { id, secret });
    }),
    { numRuns: 200 },
  );
  const isToken = /^[a-z0-9]{6}\.[a-z0-9]{16}$/;
  fc.assert(
    fc.property(
      fc.string(),
      (text) => (parseBootstrapToken(text) !== undefined) === (isToken.test(text) && !text.endsWith("\n")),
    ),
  );
  const right = "abcdef.0123456789abcdef";
  for (const text of [
    "",
    "abcdef",
    "ABCDEF.0123456789abcdef",
    `${right}\n`,
    ` ${right}`,
    "abcdef.0123456789abcde",
    "abcdef.0123456789abcdef0",
    "abcdef-0123456789abcdef",
    `${right}\n${right}`,
  ])
    t.equal(parseBootstrapToken(text), undefined, JSON.stringify(text));
  t.end();
});

t.test("the Secret of a token is what kubeadm 1.20.2 makes of the same token", (t) => {
  const secret = bootstrapTokenSecret(
    { id: "abcdef", secret: "0123456789abcdef" },
    { machine: "s1", attempt: "b_1", expiresAt: Date.UTC(2026, 10, 21, 11, 34, 24, 567) },
  );
  // Printed by `kubeadm init --dry-run` with our configuration.
  t.same(secret, {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "bootstrap-token-abcdef", namespace: "kube-system" },
    type: "bootstrap.kubernetes.io/token",
    data: {
      "auth-extra-groups":
        "c3lzdGVtOmJvb3RzdHJhcHBlcnM6a3ViZWFkbTpkZWZhdWx0LW5vZGUtdG9rZW4sc3lzdGVtOmJvb3RzdHJhcHBlcnM6cm9sbGNhbGw=",
      description: "bS9zMS9iXzE=",
      expiration: "MjAyNi0xMS0yMVQxMTozNDoyNFo=",
      "token-id": "YWJjZGVm",
      "token-secret": "MDEyMzQ1Njc4OWFiY2RlZg==",
      "usage-bootstrap-authentication": "dHJ1ZQ==",
      "usage-bootstrap-signing": "dHJ1ZQ==",
    },
  });
  t.end();
});

t.test("a token lives for 15 minutes", (t) => {
  t.equal(bootstrapTokenLifeMs, 900_000);
  t.end();
});

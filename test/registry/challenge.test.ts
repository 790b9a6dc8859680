import t from "tap";
import { parseChallenge, parseToken, tokenAddress } from "../../server/registry/challenge.ts";

const bearer = (realm: string, service?: string) => ({
  scheme: "bearer",
  realm: new URL(realm),
  service,
});

t.test("a challenge is read as RFC 9110 writes it, Bearer before Basic", async (t) => {
  const hub = "https://auth.docker.io/token";
  const rows: Readonly<Record<string, unknown>> = {
    [`Bearer realm="${hub}",service="registry.docker.io"`]: bearer(hub, "registry.docker.io"),
    [`bearer service=x , realm = "${hub}"`]: bearer(hub, "x"),
    [`Basic realm="x", Bearer realm="${hub}"`]: bearer(hub),
    [`Bearer realm="${hub}",scope="a,b", Basic realm="x"`]: bearer(hub),
    [`Bearer realm="${hub}",service="a \\"b\\" Basic"`]: bearer(hub, 'a "b" Basic'),
    'Basic realm="Bearer realm=https://evil.test"': { scheme: "basic" },
    Basic: { scheme: "basic" },
    'Bearer realm="/token", Basic': { scheme: "basic" },
    'Bearer realm="file:///etc/passwd"': undefined,
    "Negotiate abc==": undefined,
    'Digest realm="basic"': undefined,
    "": undefined,
  };
  for (const [header, expected] of Object.entries(rows)) t.same(parseChallenge(header), expected, header);
});

t.test("a header that never ends a string costs no more than a look at its beginning", async (t) => {
  t.equal(parseChallenge('a="'.repeat(1_000_000)), undefined);
});

t.test("a token is what a header can have", async (t) => {
  const read = (answer: unknown) => parseToken(Buffer.from(JSON.stringify(answer)));
  t.same(read({ token: "a.b", expires_in: 300 }), { token: "a.b", lifeS: 300 });
  t.same(read({ access_token: "a" }), { token: "a", lifeS: undefined });
  for (const answer of [{}, null, { token: 1 }, { token: "a\r\nb: c" }, { token: "" }])
    t.equal(read(answer), undefined);
  t.equal(parseToken(Buffer.from("<html>")), undefined);
});

t.test("the address of a token server keeps what its realm asks for", async (t) => {
  const realm = new URL("https://auth.test/token?account=x");
  const address = tokenAddress({ scheme: "bearer", realm, service: "s" }, "repository:a/b:pull");
  t.equal(address.href, "https://auth.test/token?account=x&service=s&scope=repository%3Aa%2Fb%3Apull");
  t.equal(realm.searchParams.get("scope"), null, "the challenge stays as it was");
});

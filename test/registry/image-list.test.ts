import t from "tap";
import { boot } from "../support/boot-command.ts";
import { indexOf, ociIndex } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";
import { createGpg, payloadFor } from "../support/signing-lab.ts";

t.test("images of the registry are listed with their size and who signed them", async (t) => {
  const gpg = createGpg(t);
  const registry = await registryLab(t);
  const { api, url, adminToken } = registry.server;
  for (const name of ["anna", "bert", "carl"]) {
    await gpg.makeKey(name, "ed25519");
    const publicKey = (await gpg.exportKey(name)).toString("base64");
    t.equal((await api("POST", "/keys", { name, publicKey })).status, 201);
  }
  const sign = async (who: string, repository: string, tag: string, digest: string) => {
    const octets = await gpg.sign(who, payloadFor(digest, `registry.local/${repository}:${tag}`));
    const known = (await api("GET", `/images/${repository}/signatures?digest=${digest}`)).items[0]?.[
      "signatures"
    ];
    const position = (known as unknown as unknown[]).length + 1;
    const path = `/sigstore/${repository}@${digest.replace(":", "=")}/signature-${position}`;
    const { status, text } = await registry.push("PUT", path, { body: octets });
    t.equal(status, 201, text);
  };
  const pause = await registry.image("p10/k8s/pause", "3.9", "a pause");
  const etcd = await registry.image("p10/etcd", "3.5", "etcd");
  const tool = await registry.image("p10/tool", "1", "a tool");
  await registry.manifest("p10/tool", "latest", tool.manifest);
  const index = indexOf([tool.manifest]);
  await registry.manifest("p10/tool", "index", index, ociIndex);
  for (const who of ["anna", "bert"]) await sign(who, "p10/k8s/pause", "3.9", pause.manifest.digest);
  await sign("anna", "p10/tool", "1", tool.manifest.digest);
  await sign("carl", "p10/etcd", "3.5", etcd.manifest.digest);
  await api("POST", "/keys/carl/revoke", {});

  const sizeOf = ({ config, layers, manifest }: typeof pause) =>
    [config, manifest, ...layers].reduce((sum, { content }) => sum + content.length, 0);
  const listed = await boot(["--server", url, "--token", adminToken, "--output", "json", "image", "list"]);
  t.match(listed, { code: 0, err: "" });
  t.match(JSON.parse(listed.out), [
    { kind: "container", repository: "p10/etcd", tag: "3.5", state: "revoked", signers: [] },
    {
      repository: "p10/k8s/pause",
      tag: "3.9",
      digest: pause.manifest.digest,
      sizeBytes: sizeOf(pause),
      state: "signed",
      signers: ["anna", "bert"],
    },
    { repository: "p10/tool", tag: "1", state: "signed", signers: ["anna"] },
    {
      repository: "p10/tool",
      tag: "index",
      sizeBytes: sizeOf(tool) + index.content.length,
      state: "refused",
    },
    { repository: "p10/tool", tag: "latest", state: "refused" },
  ]);
  const table = await boot(["--server", url, "--token", adminToken, "image", "list"]);
  t.match(
    table.out,
    /no image to boot yet[\s\S]*REPOSITORY +TAG +DIGEST +SIZE +SIGNATURES\np10\/etcd +3\.5 +sha256:/,
  );
  t.match(table.out, /p10\/k8s\/pause +3\.9 +sha256:[0-9a-f]{12} +\d+ B +signed by anna, bert\n/);

  const pages: unknown[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const { json, items } = await api("GET", `/registry/images?limit=2&cursor=${encodeURIComponent(cursor)}`);
    pages.push(items.map((item) => item["tag"]));
    cursor = json["next"] as unknown as string | null;
  }
  t.same(pages, [["3.5", "3.9"], ["1", "index"], ["latest"]], "in pages");

  const signatures = await api("GET", "/images/p10/k8s/pause/signatures");
  t.match(signatures.json, {
    items: [
      {
        tag: "3.9",
        digest: pause.manifest.digest,
        state: "signed",
        signatures: [
          { position: 1, signer: "anna", accepted: true, reference: "registry.local/p10/k8s/pause:3.9" },
          { position: 2, signer: "bert", accepted: true },
        ],
      },
    ],
    next: null,
  });
  const escaped = await api("GET", "/images/p10%2Fk8s%2Fpause/signatures?tag=3.9");
  t.same(escaped.json, signatures.json);
  t.match((await api("GET", "/images/p10/tool/signatures?tag=latest")).items, [
    { state: "refused", signatures: [{ accepted: false, refusal: "other-tag" }] },
  ]);
  t.match(await api("GET", "/images/p10/none/signatures"), {
    status: 404,
    json: { code: "REPOSITORY_NOT_FOUND" },
  });
  t.match(await api("GET", "/images/p10/tool/signatures?tag=2"), {
    status: 404,
    json: { code: "CONTAINER_IMAGE_NOT_FOUND" },
  });
  t.match(await api("GET", "/images/p10/tool"), { status: 404, json: { code: "NOT_FOUND" } });
});

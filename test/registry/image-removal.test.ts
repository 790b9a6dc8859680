import t from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { boot } from "../support/boot-command.ts";
import { indexOf, ociIndex } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("boot image remove takes tags and manifests of the registry", async (t) => {
  let aheadMs = 0;
  const lab = await registryLab(t, {
    clock: { ...systemClock, now: () => systemClock.now() + aheadMs },
    settings: { "registry.pins": ["p10/pinned:*"], "registry.aliases": ["hall.lab:5000"] },
  });
  const { server, image, manifest, pull, push } = lab;
  const remove = (name: string, more: Record<string, string> = {}) =>
    server.api("DELETE", `/registry/images?${new URLSearchParams({ image: name, ...more }).toString()}`);
  const dry = { dryRun: "true" };
  const command = (...words: string[]) => boot(["--data", server.dataDir, "image", "remove", ...words]);
  const bytesOf = (...blobs: { content: Buffer }[]) =>
    blobs.reduce((sum, { content }) => sum + content.length, 0);

  await t.test("the dry run tells what goes and how much becomes free, and removes nothing", async (t) => {
    const made = await image("p10/hello", "1.0", "hello ".repeat(1000));
    const bytes = bytesOf(made.config, made.manifest, ...made.layers);
    t.match((await remove("p10/hello:1.0", dry)).json, {
      repository: "p10/hello",
      images: [{ reference: "1.0", digest: made.manifest.digest, otherTags: [] }],
      freedBytes: bytes,
      graceSeconds: 3600,
    });
    t.equal((await pull("/v2/p10/hello/manifests/1.0")).status, 200);
    t.match(await command("registry.local/p10/hello:1.0"), {
      code: 0,
      out: /^Removed p10\/hello:1\.0, which is sha256:[0-9a-f]{64}\.\n12 kB become free: .*60 minutes after its last use/,
    });
    t.equal((await pull("/v2/p10/hello/manifests/1.0")).status, 404);
    aheadMs += 2 * 3_600_000;
    t.match(
      (await server.api("POST", "/registry/collect", {})).json,
      { freedBytes: bytes },
      "it was told right",
    );
  });

  await t.test("what another image or tag has too does not become free", async (t) => {
    const made = await image("p10/shared", "1", "a layer of two");
    t.equal((await manifest("p10/shared", "2", made.manifest)).status, 201);
    t.match((await remove("p10/shared:1", dry)).json, {
      images: [{ otherTags: ["2"] }],
      freedBytes: 0,
    });
    const both = (await remove("p10/shared", dry)).json;
    t.match(both, { images: [{ reference: "1" }, { reference: "2" }] }, "a repository is all its tags");
    const copy = await image("elsewhere/shared", "1", "a layer of two");
    t.equal(copy.manifest.digest, made.manifest.digest);
    t.match((await remove("p10/shared")).json, { freedBytes: 0 });
    t.equal((await pull("/v2/elsewhere/shared/manifests/1")).status, 200);
    t.match((await remove("elsewhere/shared:1", dry)).json, {
      freedBytes: both["freedBytes"],
    });
  });

  await t.test("by its digest an image goes with its tags, but not out of an index", async (t) => {
    const made = await image("p10/child", "amd64", "for amd64");
    const index = indexOf([made.manifest]);
    t.equal((await manifest("p10/child", "1", index, ociIndex)).status, 201);
    t.match(await remove(`p10/child@${made.manifest.digest}`), {
      status: 409,
      json: { code: "CONTAINER_IMAGE_REFERENCED", detail: new RegExp(index.digest) },
    });
    t.match(await remove(`p10/child@${index.digest}`), { status: 200 });
    t.equal((await pull("/v2/p10/child/manifests/1")).status, 404);
    t.match(await remove(`hall.lab:5000/p10/child@${made.manifest.digest}`), { status: 200 });
    t.equal((await pull("/v2/p10/child/manifests/amd64")).status, 404);
  });

  await t.test("what is pinned goes by force alone", async (t) => {
    await image("p10/pinned", "1", "pinned");
    for (const more of [{}, dry])
      t.match((await remove("p10/pinned:1", more)).json, {
        code: "CONTAINER_IMAGE_PINNED",
        detail: /^p10\/pinned:1 .*registry\.pins$/,
        advice: /--force/,
      });
    t.equal((await push("DELETE", "/v2/p10/pinned/manifests/1")).status, 409, "clients can't force it");
    t.match(await command("p10/pinned:1", "--force"), { code: 0 });
    t.equal((await pull("/v2/p10/pinned/manifests/1")).status, 404);
  });

  await t.test("a name without a slash is an image that machines boot first", async (t) => {
    await server.addImage("1", "kiosk");
    await image("kiosk", "1", "of the same name");
    await image("alone", "1", "has no slash");
    t.match(await command("kiosk", "1", "--dry-run"), {
      code: 0,
      out: /^Would remove kiosk 1, \d+ B\.\n$/,
    });
    t.match(await command("kiosk"), { code: 0, out: "Removed kiosk.\n" });
    t.match(await command("alone", "1"), { code: 0, out: /^Removed alone:1, / });
  });

  await t.test("what is not there is told as such", async (t) => {
    t.match(await command("nosuch"), {
      code: 1,
      err: /^IMAGE_NOT_FOUND: .*\n.*neither .* nor one of the registry/,
    });
    for (const [name, code] of [
      ["p10/nosuch:1", "REPOSITORY_NOT_FOUND"],
      ["p10/shared:9", "CONTAINER_IMAGE_NOT_FOUND"],
      ["p10/hello@sha256:12", "INVALID_REQUEST"],
      ["p10/Shared:9", "INVALID_REQUEST"],
    ] as const)
      t.match((await remove(name)).json, { code }, name);
  });
});

t.test(
  "the authority of the registry's certificate is to be had without a token, and by a command",
  async (t) => {
    const { server } = await registryLab(t);
    const answer = await server.ask("/registry-ca.crt");
    t.match(answer, { status: 200, text: /^-----BEGIN CERTIFICATE-----\n/ });
    t.equal(answer.text, server.app.registryAuthorityPem);
    t.match(await boot(["--data", server.dataDir, "registry", "authority"]), { code: 0, out: answer.text });
  },
);

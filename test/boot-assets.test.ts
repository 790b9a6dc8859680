import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { fillBootAssets } from "../server/cli/commands/asset.ts";
import { parseDebianSource } from "../server/cli/debian-packages.ts";
import { loadBootAssets, readManifest } from "../server/content/boot-assets.ts";

const digestOf = (content: string) => createHash("sha256").update(content).digest("hex");
const entry = (name: string, content: string, more: Record<string, unknown> = {}) => ({
  name,
  arch: "uefi-arm64",
  version: "1",
  sha256: digestOf(content),
  source: "somebody's own",
  ...more,
});
const folder = (t: Test, assets: readonly object[], files: Record<string, string> = {}) =>
  t.testdir({ target: { "manifest.json": JSON.stringify({ assets }) }, source: files });

async function fill(t: Test, top: string, options: { trust?: boolean; quiet?: boolean } = {}) {
  t.capture(process.stdout, "write", () => true);
  await fillBootAssets({ directory: join(top, "target"), from: join(top, "source"), ...options });
}

t.test("a file that only some machines need may be missing: nobody is troubled", async (t) => {
  const top = folder(t, [entry("pc.efi", "P"), entry("arm.efi", "A", { optional: true })], { "pc.efi": "P" });
  await fill(t, top);
  const { assets, problems } = loadBootAssets(join(top, "target"));
  t.same([...assets.keys()], ["pc.efi"]);
  t.same(problems, []);
});

t.test("a manifest that is missing or names nothing is told, and nothing is filled from it", async (t) => {
  t.capture(process.stdout, "write", () => true);
  const options = { directory: t.testdir({}), quiet: true };
  await t.rejects(fillBootAssets(options), { name: "BOOT_MANIFEST_INVALID" });
  writeFileSync(join(options.directory, "manifest.json"), JSON.stringify({ assets: [] }));
  await t.rejects(fillBootAssets(options), { name: "BOOT_MANIFEST_INVALID" });
});

t.test("an optional file of another content is not taken, and a needed one is refused aloud", async (t) => {
  const files = { "pc.efi": "P", "arm.efi": "of a stranger" };
  const optional = folder(t, [entry("pc.efi", "P"), entry("arm.efi", "A", { optional: true })], files);
  await fill(t, optional);
  t.same([...loadBootAssets(join(optional, "target")).assets.keys()], ["pc.efi"]);
  const needed = folder(t, [entry("pc.efi", "P"), entry("arm.efi", "A")], files);
  await t.rejects(fill(t, needed), { name: "BOOT_ASSET_DIGEST_MISMATCH" });
});

t.test(
  "what the administrator trusts is taken, recorded once, and replaces what was trusted before",
  async (t) => {
    const top = folder(t, [entry("pc.efi", "P")], { "pc.efi": "mine" });
    await fill(t, top, { trust: true });
    const directory = join(top, "target");
    t.equal(readFileSync(join(directory, "pc.efi"), "utf8"), "mine");
    t.equal(loadBootAssets(directory).assets.get("pc.efi")?.entry.sha256, digestOf("mine"));
    await fill(t, top, { trust: true });
    t.equal(readManifest(directory).length, 2);
  },
);

t.test("where a file of Debian comes from", (t) => {
  t.same(parseDebianSource("debian:ipxe:/usr/lib/ipxe/ipxe.efi"), {
    kind: "package",
    name: "ipxe",
    path: "/usr/lib/ipxe/ipxe.efi",
  });
  t.same(parseDebianSource("debian-pool:main/i/ipxe/ipxe_1.21.1+git2.d+dfsg-1~deb13u1_all.deb:/usr/lib/x"), {
    kind: "pool",
    file: "main/i/ipxe/ipxe_1.21.1+git2.d+dfsg-1~deb13u1_all.deb",
    path: "/usr/lib/x",
  });
  for (const source of [
    "",
    "/home/me/ipxe.efi",
    "debian:ipxe",
    "debian:../ipxe:/usr/lib/x",
    "debian:main/ipxe:/usr/lib/x",
    "debian:-o:/usr/lib/x",
    "debian:ipxe:/usr/../../etc/shadow",
    "debian-pool:main/i/ipxe/ipxe.tar:/usr/lib/x",
    "debian-pool:../../evil.deb:/usr/lib/x",
    "debian-pool:main/i/ipxe.deb:usr/lib/x",
    "http://example/ipxe.deb:/usr/lib/x",
  ])
    t.equal(parseDebianSource(source), undefined, source);
  t.end();
});

t.test("the shipped manifest: every file has a source that can be fetched, and arm64 is optional", (t) => {
  for (const one of readManifest(resolve(import.meta.dirname, "../boot-assets"))) {
    if (one.version === "trusted by the administrator") continue;
    const source = parseDebianSource(one.source);
    t.ok(source, `${one.name}: ${one.source}`);
    t.equal(source?.kind === "pool", one.packageSha256 !== undefined, `${one.name}: its package is pinned`);
    if (/arm|riscv/.test(one.arch)) t.ok(one.optional, `${one.name}: who has only PCs starts without it`);
  }
  t.end();
});

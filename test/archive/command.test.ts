import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { boot } from "../support/boot-command.ts";
import { makePodsecArchive, startDockerRegistry, startProxy } from "../support/container-registry.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { makeSigningKey } from "../support/signing-key.ts";

t.test("boot image import, boot sign and boot image export, from the command line", async (t) => {
  const registry = await startDockerRegistry(t);
  const authorizations: (string | undefined)[] = [];
  const proxy = await startProxy(t, registry.origin, {
    signatures: true,
    spoil: (incoming) => {
      authorizations.push(incoming.headers.authorization);
      return false;
    },
  });
  const images = [{ name: "c10f/pause:3.9", content: "a pause" }];
  const amd64 = await makePodsecArchive(t, "amd64", images);
  const arm64 = await makePodsecArchive(t, "arm64", images);
  const to = ["--registry", proxy.host];
  const imported = await boot(["image", "import", amd64.archive, arm64.archive, ...to], {
    ROLLCALL_TOKEN: "ours",
  });
  t.match(imported, {
    code: 0,
    err: "",
    out: /^IMAGE +PLATFORMS +SENT +WAS THERE +DIGEST\nc10f\/pause:3\.9 +linux\/amd64, linux\/arm64 +[\d.]+ kB +\d+ B +sha256:[0-9a-f]{64}\n$/,
  });
  t.same([...new Set(authorizations)], [undefined], "our token goes to no other registry by itself");
  const again = await boot(["--output", "json", "image", "import", amd64.archive, ...to]);
  t.match(JSON.parse(again.out), [{ name: "c10f/pause:3.9", sentBytes: 0 }]);

  const { file: key, home } = makeSigningKey(t, "maker@lab.example", "ed25519", "a word");
  const passphrase = join(home, "passphrase");
  writeFileSync(passphrase, "a word\n");
  const signed = await boot(["sign", "c10f/pause", "--key", key, "--passphrase-file", passphrase, ...to]);
  t.match(
    signed,
    { code: 0, err: "", out: /c10f\/pause:3\.9 +3 +0 +sha256:/ },
    "a name without a tag is all its tags",
  );
  t.equal(proxy.signatures.size, 3);
  t.match(await boot(["sign", "c10f/pause:3.9", ...to]), {
    code: 1,
    err: /^SIGN_KEY_INVALID: no key is named[\s\S]*--key FILE/,
  });
  t.match(
    await boot([
      "sign",
      "c10f/pause:3.9",
      "--key",
      key,
      "--passphrase-file",
      passphrase,
      "--registry",
      registry.host,
    ]),
    {
      code: 1,
      err: /^SIGN_UNSUPPORTED: [\s\S]*--to DIR/,
    },
  );

  t.match(
    await boot(["sign", "c10f/pause:3.9", "--key", key, "--identity", "other.local", ...to]),
    { code: 1, err: /could not be unlocked[\s\S]*--passphrase-file/ },
    "where nobody can type the passphrase nothing waits for it",
  );

  const target = join(temporaryDirectory(t), "arm64.tar.xz");
  const exported = await boot(["image", "export", "c10f/pause:3.9", "--to", target, ...to]);
  t.match(exported, { code: 0, out: /c10f\/pause:3\.9 [\s\S]*In .*arm64\.tar\.xz, for arm64\.\n$/ });
  const digest = (layout: string) =>
    (JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as { manifests: { digest: string }[] })
      .manifests[0]?.digest;
  t.ok(exported.out.includes(digest(arm64.layout) ?? "-"), "the architecture is that of the file's name");
});

t.test("a source that is neither images for containers nor one that machines boot is told so", async (t) => {
  const registry = await startDockerRegistry(t);
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "empty"));
  const text = join(directory, "notes.txt");
  writeFileSync(text, "no archive\n");
  const to = ["--registry", registry.host];
  const { archive } = await makePodsecArchive(t, "amd64", [{ name: "c10f/pause:3.9", content: "a pause" }]);
  const cases: [string, string[], RegExp][] = [
    ["a file of another kind", [text, ...to], /^ARCHIVE_UNKNOWN: .*notes\.txt is neither a tar archive/],
    [
      "a directory with neither",
      [join(directory, "empty"), ...to],
      /^ARCHIVE_UNKNOWN: .*neither index\.json/,
    ],
    [
      "an archive that is not there",
      [join(directory, "amd64.tar.xz"), ...to],
      /^ARCHIVE_NOT_READABLE: .*it is not there/,
    ],
    ["archives and images together", [archive, "flatcar", ...to], /^ARCHIVE_UNKNOWN: .*several sources/],
    ["no registry", [archive, "--registry", "a b"], /^TRANSFER_ADDRESS_UNKNOWN: "a b"/],
    [
      "a registry that does not run",
      [archive, "--registry", "http://127.0.0.1:1"],
      /^TRANSFER_UNREACHABLE: .*ECONNREFUSED/,
    ],
    ["a known image's name is none of a file", ["nosuchimage"], /^IMAGE_UNKNOWN: nosuchimage/],
  ];
  for (const [what, words, err] of cases)
    t.match(await boot(["image", "import", ...words]), { code: 1, err }, what);
});

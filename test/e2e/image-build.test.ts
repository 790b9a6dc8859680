import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join, normalize } from "node:path";
import t, { type Test } from "tap";
import { buildImage } from "../../server/image/build-image.ts";
import { root } from "../../server/platform/checkout.ts";
import { writeFiles } from "../support/boot-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

const recipe = (uri: string) => `name: own
suite: bookworm
sourceDateEpoch: 1735689600
packages: [linux-image-amd64, initramfs-tools, busybox, zstd, systemd-sysv, rollcall-hello]
aptSources:
  - { uri: "${uri}", suite: lab, components: [main], key: lab.asc }
files:
  - { path: /etc/motd, content: "Of the recipe\\n" }
  - { path: /usr/local/bin/greet, content: "#!/bin/sh\\necho hello\\n", executable: true }
  - path: /etc/systemd/system/greet.service
    content: |
      [Service]
      ExecStart=/usr/local/bin/greet
      [Install]
      WantedBy=multi-user.target
dropPaths: [/usr/share/doc/*, /usr/share/man/*, /usr/share/locale/*, /boot/System.map-*]
dropModules: [sound, drivers/gpu, drivers/media, drivers/net/wireless, drivers/infiniband, drivers/staging, drivers/scsi, fs/ocfs2, net/bluetooth]
units: { enable: [greet.service], mask: [fstrim.timer] }
squashfs: { level: 3 }
`;

t.test(
  "a recipe with packages of an archive of its own, files, units and an overlay builds the same image twice",
  async (t) => {
    const archive = await serveArchive(t);
    const recipeDir = temporaryDirectory(t);
    writeFiles(recipeDir, {
      "recipe.yaml": recipe(archive.url),
      "lab.asc": archive.key,
      "overlay/etc/motd": "of the overlay",
      "overlay/etc/overlay-was-here": "yes\n",
    });
    cpSync(join(root, "server/image/recipes/debian-node/initramfs"), join(recipeDir, "initramfs"), {
      recursive: true,
    });
    const build = async (name: string) => {
      const outputDir = join(temporaryDirectory(t), name);
      const manifest = await buildImage({
        recipeDir,
        outputDir,
        onProgress: ({ step }) => t.comment(`${name}: ${step}`),
      });
      return { outputDir, manifest };
    };
    const first = await build("first");
    // Time goes by between two builds: what depends on it would differ.
    const second = await build("second");
    t.same(second.manifest.files, first.manifest.files, "the same input has the same digests");
    t.equal(second.manifest.version, first.manifest.version);

    const tree = join(temporaryDirectory(t), "tree");
    execFileSync("unsquashfs", ["-q", "-d", tree, join(first.outputDir, "root.squashfs")], {
      stdio: "ignore",
    });
    const read = (path: string) => readFileSync(join(tree, path), "utf8");
    t.equal(read("etc/motd"), "Of the recipe\n", "files go before the overlay");
    t.equal(read("etc/overlay-was-here"), "yes\n");
    t.equal(read("usr/share/rollcall-hello"), "packaged\n", "the package of the own archive is installed");
    t.equal(spawnSync(join(tree, "usr/local/bin/greet")).stdout.toString(), "hello\n");
    t.ok(existsSync(join(tree, "etc/systemd/system/multi-user.target.wants")), "the unit is switched on");

    writeFileSync(join(recipeDir, "lab.asc"), archive.strangersKey);
    await t.rejects(
      build("third"),
      { code: "IMAGE_BUILD_FAILED" },
      "an archive that another key signs is refused",
    );
  },
);

/** A Debian archive with one package, signed by a key of its own. */
async function serveArchive(t: Test): Promise<{ url: string; key: string; strangersKey: string }> {
  const home = temporaryDirectory(t);
  t.teardown(() => void spawnSync("gpgconf", ["--homedir", home, "--kill", "all"]));
  const gpg = (...words: string[]) =>
    execFileSync("gpg", ["--homedir", home, "--batch", "--yes", "--passphrase", "", ...words], {
      stdio: ["ignore", "pipe", "ignore"],
    }).toString();
  for (const who of ["lab", "stranger"])
    gpg("--quick-generate-key", `${who}@example.org`, "rsa2048", "sign", "never");
  const site = temporaryDirectory(t);
  const tree = join(temporaryDirectory(t), "hello");
  writeFiles(tree, {
    "usr/share/rollcall-hello": "packaged\n",
    "DEBIAN/control":
      "Package: rollcall-hello\nVersion: 1\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nDescription: a test\n",
  });
  const file = "pool/rollcall-hello_1_all.deb";
  mkdirSync(join(site, dirname(file)));
  execFileSync("dpkg-deb", ["--root-owner-group", "-b", tree, join(site, file)], { stdio: "ignore" });
  const digest = (path: string) =>
    createHash("sha256")
      .update(readFileSync(join(site, path)))
      .digest("hex");
  const sizeOf = (path: string) => readFileSync(join(site, path)).length;
  const control = readFileSync(join(tree, "DEBIAN/control"), "utf8").trimEnd();
  const packages = "main/binary-amd64/Packages";
  writeFiles(join(site, "dists/lab"), {
    [packages]: `${control}\nFilename: ${file}\nSize: ${sizeOf(file)}\nSHA256: ${digest(file)}\n`,
  });
  writeFiles(join(site, "dists/lab"), {
    Release: `Origin: Lab\nSuite: lab\nCodename: lab\nArchitectures: amd64\nComponents: main\nDate: ${new Date().toUTCString()}\nSHA256:\n ${digest(`dists/lab/${packages}`)} ${sizeOf(`dists/lab/${packages}`)} ${packages}\n`,
  });
  const release = join(site, "dists/lab/Release");
  gpg(
    "--local-user",
    "lab@example.org",
    "--output",
    join(site, "dists/lab/InRelease"),
    "--clearsign",
    release,
  );
  const server = createServer((request, response) => {
    const path = join(site, normalize(join("/", request.url ?? "")));
    if (!existsSync(path)) return void response.writeHead(404).end();
    response.end(readFileSync(path));
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: gpg("--armor", "--export", "lab@example.org"),
    strangersKey: gpg("--armor", "--export", "stranger@example.org"),
  };
}

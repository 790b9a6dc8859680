import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import t from "tap";
import { type CatalogueEntry, readCatalogue } from "../../server/image/import/catalogue.ts";
import { findDigest, readDigest, readDigestList } from "../../server/image/import/digest-list.ts";
import { defaultDownload, download, type DownloadOptions } from "../../server/image/import/download.ts";
import { entryByHand, fetchImage, type FetchImageOptions } from "../../server/image/import/fetch-image.ts";
import { readImageJson, verifyImage } from "../../server/cli/image-directory.ts";
import { until } from "../support/dhcp-lab.ts";
import { unpackMember } from "../../server/image/import/unpack.ts";
import { smallDisk, temporaryDirectory } from "../support/samples.ts";
import { type Manner, startPublisher } from "../support/publisher.ts";

const boot = join(import.meta.dirname, "../../server/cli/main.ts");
const sha256 = (content: Buffer | string) => createHash("sha256").update(content).digest("hex");
const sha512 = (content: Buffer | string) => createHash("sha512").update(content).digest("hex");
/** No test waits: a pause is over at once, and silence is short. */
const quick: DownloadOptions = {
  ...defaultDownload,
  stallMs: 300,
  maximumFailures: 3,
  pause: async () => undefined,
};

t.test("a download", async (t) => {
  const publisher = await startPublisher(t);
  const content = randomBytes(300_000);
  const load = async (as: readonly Manner[], etag?: string, options: Partial<DownloadOptions> = {}) => {
    const path = `/${randomBytes(4).toString("hex")}`;
    publisher.put(path, content, { as, ...(etag === undefined ? {} : { etag }) });
    const file = join(temporaryDirectory(t), "file");
    const ended: unknown = await download(`${publisher.url}${path}`, file, { ...quick, ...options }).catch(
      (error: unknown) => error,
    );
    return { ended, file, asked: publisher.asked(path), url: `${publisher.url}${path}`, path };
  };

  /** Cuts each connection once so many octets are written: what is still on its way when a connection ends may be lost. */
  const cutAt = (...marks: readonly number[]): Partial<DownloadOptions> => {
    const waiting = [...marks];
    return {
      stallMs: 60_000,
      onProgress: (done) => {
        if (done !== waiting[0]) return;
        waiting.shift();
        publisher.cut();
      },
    };
  };

  t.test("that is cut goes on where it ended, with Range and If-Range", async (t) => {
    const manners: Manner[] = [{ stallAfter: 100_000 }, { stallAfter: 50_000 }, "fair"];
    const { ended, file, asked, path } = await load(manners, '"v1"', cutAt(100_000, 150_000));
    t.equal(ended, undefined);
    t.ok(readFileSync(file).equals(content));
    t.same(asked, [
      { path, range: undefined, ifRange: undefined },
      { path, range: "bytes=100000-", ifRange: '"v1"' },
      { path, range: "bytes=150000-", ifRange: '"v1"' },
    ]);
  });
  t.test("of which another file took the place begins anew, and the two are not joined", async (t) => {
    const { url, path, file } = await load([{ cutAfter: 100_000 }, { status: 403 }], '"v1"');
    const other = randomBytes(200_000);
    publisher.put(path, other, { etag: '"v2"' });
    await download(url, file, quick);
    t.ok(readFileSync(file).equals(other));
  });
  t.test("from a server that knows no Range begins anew", async (t) => {
    const { ended, file } = await load([{ cutAfter: 100_000 }, "no-range"]);
    t.equal(ended, undefined);
    t.ok(readFileSync(file).equals(content));
  });
  t.test(
    "from a server that answers with another range than was asked for is not joined in the wrong place",
    async (t) => {
      const { ended, file } = await load([{ cutAfter: 100_000 }, "wrong-range", "fair"]);
      t.equal(ended, undefined);
      t.ok(readFileSync(file).equals(content));
    },
  );
  t.test("that goes silent is ended and gone on with", async (t) => {
    const { ended, file, asked } = await load([{ stallAfter: 100_000 }, "fair"]);
    t.equal(ended, undefined);
    t.ok(readFileSync(file).equals(content));
    t.equal(asked.length, 2);
  });
  t.test("goes on in a later call, and one that is whole is not loaded again", async (t) => {
    const { ended, url, path, file } = await load([{ cutAfter: 0 }]);
    t.match(ended, { code: "IMAGE_DOWNLOAD_CUT" });
    publisher.put(path, content, { as: [{ stallAfter: 150_000 }, { status: 503 }] });
    await t.rejects(download(url, file, { ...quick, ...cutAt(150_000) }), {
      code: "IMAGE_DOWNLOAD_CUT",
      advice: /same command again/,
    });
    publisher.put(path, content);
    await download(url, file, quick);
    t.equal(publisher.asked(path).at(-1)?.range, "bytes=150000-");
    await download(url, file, quick);
    t.equal(publisher.asked(path).at(-1)?.range, `bytes=${content.length}-`);
    t.ok(readFileSync(file).equals(content));
  });
  t.test("that fails says why, each time with the same code", async (t) => {
    const cases: [string, Manner, string, RegExp][] = [
      ["not there", { status: 404 }, "IMAGE_SOURCE_NOT_FOUND", /there is nothing at http.* \(404\)/],
      ["gone", { status: 410 }, "IMAGE_SOURCE_NOT_FOUND", /410/],
      ["a password", { status: 401 }, "IMAGE_SOURCE_REFUSED", /401/],
      ["always busy", { status: 503 }, "IMAGE_DOWNLOAD_CUT", /503/],
      ["always cut", { cutAfter: 0 }, "IMAGE_DOWNLOAD_CUT", /breaks off again and again/],
      ["always silent", { stallAfter: 0 }, "IMAGE_DOWNLOAD_CUT", /it went silent/],
    ];
    for (const [what, manner, code, message] of cases)
      t.match((await load([manner])).ended, { code, message }, what);
    const file = join(temporaryDirectory(t), "file");
    const unused = await unusedPort();
    await t.rejects(download(`http://127.0.0.1:${unused}/x`, file, quick), {
      code: "IMAGE_SOURCE_UNREACHABLE",
      message: /ECONNREFUSED/,
    });
  });
  t.test("that would never end is ended, and nothing of it is kept", async (t) => {
    const { ended, file } = await load(["fair"], undefined, { maximumBytes: 1000 });
    t.match(ended, { code: "IMAGE_SOURCE_TOO_LARGE" });
    t.notOk(existsSync(file));
  });
  t.test("that does not fit on the disk is refused before it fills it", async (t) => {
    const file = join(smallDisk(t, 70), "file");
    publisher.put("/large", Buffer.alloc(20_000_000));
    await t.rejects(download(`${publisher.url}/large`, file, quick), {
      code: "IMAGE_DISK_TOO_SMALL",
      message: /20 MiB/,
    });
    t.notOk(existsSync(file));
  });
  t.test("that is given up by its user is kept", async (t) => {
    const abort = new AbortController();
    const { ended, file } = await load([{ stallAfter: 100_000 }], undefined, {
      stallMs: 60_000,
      signal: abort.signal,
      onProgress: (done) => done >= 100_000 && abort.abort(),
    });
    t.match(ended, { code: "IMAGE_IMPORT_CANCELLED" });
    t.equal(readFileSync(file).length, 100_000);
  });
});

t.test("lists of digests are read in the forms that publishers use", (t) => {
  const one = sha256("one");
  const two = sha512("two");
  const other = "f".repeat(128);
  const cases: [string, string, string, string | undefined][] = [
    ["sha256sum", `${one}  ./netboot/linux\n${sha256("x")}  ./gtk/linux\n`, "netboot/linux", one],
    ["sha256sum -b", `${one} *ubuntu.iso\r\n`, "ubuntu.iso", one],
    ["BSD", `SHA512 (disk.iso) = ${two.toUpperCase()}\n`, "disk.iso", two],
    [
      "headings",
      `# MD5 HASH\n${"a".repeat(32)}  f\n# SHA512 HASH\n${two}  f\n# WHIRLPOOL HASH\n${other}  f\n`,
      "f",
      two,
    ],
    [
      "clear-signed",
      `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${one}  a/f\n-----BEGIN PGP SIGNATURE-----\n`,
      "f",
      one,
    ],
    ["a digest alone", `${one}\n`, "whatever", one],
    ["both algorithms", `${one}  f\n${two}  f\n`, "f", two],
    ["another file", `${one}  g\n`, "f", undefined],
    ["two that contradict each other", `${one}  a/f\n${sha256("x")}  b/f\n`, "f", undefined],
    ["MD5 alone", `${"a".repeat(32)}  f\n`, "f", undefined],
    ["a page in place of a list", "<html><body>404</body></html>", "f", undefined],
  ];
  for (const [what, text, name, hex] of cases)
    t.equal(findDigest(readDigestList(text), name)?.hex, hex, what);
  for (const text of ["", "abc", "g".repeat(64), `${one}0`])
    t.equal(readDigest(text), undefined, JSON.stringify(text));
  t.end();
});

t.test("the shipped catalogue is whole, and a slip in one is told by its key", (t) => {
  const names = [...readCatalogue().keys()];
  for (const name of [
    "flatcar",
    "fedora-coreos",
    "ubuntu-live",
    "memtest",
    "debian-netboot",
    "alt-workstation",
  ])
    t.ok(names.includes(name), name);
  for (const entry of readCatalogue().values())
    if (entry.base?.startsWith("http:"))
      t.notOk(entry.keyring, `${entry.name}: plain http, so its digest has to be given`);
  const file = join(temporaryDirectory(t), "catalogue.yaml");
  const cases: [string, RegExp][] = [
    ["x: {description: d, arch: a, files: {}}", /x\.files\.kernel is missing/],
    [
      "x: {description: d, arch: a, files: {kernel: {url: u, colour: b}}}",
      /x\.files\.kernel: unknown key colour/,
    ],
    [
      "x: {description: d, arch: a, files: {kernel: {url: u, path: p}}}",
      /must have one of url, listed, path/,
    ],
    ["x: {description: d, arch: a, files: {kernel: {listed: u}}}", /listed needs digests/],
    ["x: {description: d, arch: a, files: {kernel: {of: y, member: m}}}", /no archive or file y/],
    ["x: {description: d, arch: a, files: {kernel: {url: u}, disk: {url: u}}}", /unknown key disk/],
    ["X!: {description: d, arch: a, files: {kernel: {url: u}}}", /no name of an image/],
    ["x: [", /line 1/],
  ];
  for (const [text, message] of cases) {
    writeFileSync(file, text);
    t.throws(() => readCatalogue(file), { code: "IMAGE_CATALOGUE_INVALID", message }, text);
  }
  t.end();
});

t.test("known images are fetched from where the catalogue says, by a publisher like theirs", async (t) => {
  const publisher = await startPublisher(t);
  const directory = temporaryDirectory(t);
  const kernel = randomBytes(50_000);
  const initrd = randomBytes(80_000);
  const root = randomBytes(120_000);
  const fetch = async (name: string, more: Partial<FetchImageOptions> = {}) => {
    const notes: string[] = [];
    const entry = readCatalogue().get(name);
    if (!entry) throw new Error(name);
    const into = join(directory, `${name}-${randomBytes(3).toString("hex")}`);
    const options: FetchImageOptions = {
      entry,
      directory: into,
      name,
      mirror: `${publisher.url}/${name}`,
      download: quick,
      onProgress: () => undefined,
      onNote: (text) => void notes.push(text),
      ...more,
    };
    await fetchImage(options);
    const image = readImageJson(into);
    await verifyImage(into, image, () => undefined);
    return { image, into, notes };
  };
  const gentoo = (name: string, content: Buffer) =>
    `# MD5 HASH\n${"0".repeat(32)}  ${name}\n# SHA512 HASH\n${sha512(content)}  ${name}\n`;

  t.test("flatcar: the version of current/version.txt, a list of digests beside each file", async (t) => {
    publisher.put("/flatcar/current/version.txt", "FLATCAR_BUILD=4081\nFLATCAR_VERSION=4081.2.0\n");
    for (const [name, content] of [
      ["flatcar_production_pxe.vmlinuz", kernel],
      ["flatcar_production_pxe_image.cpio.gz", initrd],
    ] as const) {
      publisher.put(`/flatcar/4081.2.0/${name}`, content);
      publisher.put(`/flatcar/4081.2.0/${name}.DIGESTS`, gentoo(name, content));
    }
    const { image, notes } = await fetch("flatcar");
    t.match(image, {
      version: "4081.2.0",
      arch: "x86_64",
      files: { kernel: { sha256: sha256(kernel), sizeBytes: 50_000 }, initrd: { sha256: sha256(initrd) } },
    });
    t.match(notes, [/its signature was not checked/, /its signature was not checked/]);
  });

  t.test("fedora-coreos: addresses and digests of the stream's JSON, below the mirror", async (t) => {
    const official = "https://builds.coreos.fedoraproject.org/prod/";
    const artifact = (name: string, content: Buffer) => {
      publisher.put(`/fedora-coreos/prod/${name}`, content);
      return { location: `${official}${name}`, signature: `${official}${name}.sig`, sha256: sha256(content) };
    };
    const pxe = {
      kernel: artifact("kernel", kernel),
      initramfs: artifact("initramfs.img", initrd),
      rootfs: artifact("rootfs.img", root),
    };
    const stream = {
      architectures: { x86_64: { artifacts: { metal: { release: "42.1.2.3", formats: { pxe } } } } },
    };
    publisher.put("/fedora-coreos/streams/stable.json", JSON.stringify(stream));
    const { image } = await fetch("fedora-coreos");
    t.match(image, {
      version: "42.1.2.3",
      files: { rootfs: { name: "rootfs-rootfs.img", sha256: sha256(root) } },
    });
    publisher.put("/fedora-coreos/streams/stable.json", JSON.stringify({ architectures: {} }));
    await t.rejects(fetch("fedora-coreos"), { code: "IMAGE_INDEX_INVALID" });
    publisher.put("/fedora-coreos/streams/stable.json", "<html>");
    await t.rejects(fetch("fedora-coreos"), { code: "IMAGE_INDEX_INVALID", message: /no JSON/ });
  });

  t.test("ubuntu-live: the newest medium of the list, kernel and initrd out of the tarball", async (t) => {
    const tree = temporaryDirectory(t);
    mkdirSync(join(tree, "amd64"));
    writeFileSync(join(tree, "amd64/linux"), kernel);
    writeFileSync(join(tree, "amd64/initrd"), initrd);
    execFileSync("tar", ["-czf", join(tree, "t.tar.gz"), "-C", tree, "./amd64"]);
    const tarball = readFileSync(join(tree, "t.tar.gz"));
    publisher.put("/ubuntu-live/ubuntu-24.04.10-netboot-amd64.tar.gz", tarball);
    publisher.put("/ubuntu-live/ubuntu-24.04.10-live-server-amd64.iso", root);
    publisher.put(
      "/ubuntu-live/SHA256SUMS",
      [
        `${sha256("old")} *ubuntu-24.04.2-live-server-amd64.iso`,
        `${sha256(root)} *ubuntu-24.04.10-live-server-amd64.iso`,
        `${sha256("desktop")} *ubuntu-24.04.10-desktop-amd64.iso`,
        `${sha256(tarball)} *ubuntu-24.04.10-netboot-amd64.tar.gz`,
      ].join("\n"),
    );
    const { image, into } = await fetch("ubuntu-live");
    t.match(image, {
      version: "24.04.10",
      files: {
        kernel: { sha256: sha256(kernel) },
        initrd: { sha256: sha256(initrd) },
        // Casper looks at the end of the address.
        rootfs: { name: "rootfs-ubuntu-24.04.10-live-server-amd64.iso", sha256: sha256(root) },
      },
    });
    t.notOk(existsSync(join(into, "netboot.part")), "and nothing else stays in the directory");
  });

  t.test("debian-netboot: a list of digests with folders in its names", async (t) => {
    const folder = "netboot/debian-installer/amd64";
    publisher.put(`/debian-netboot/${folder}/linux`, kernel);
    publisher.put(`/debian-netboot/${folder}/initrd.gz`, initrd);
    publisher.put(
      "/debian-netboot/SHA256SUMS",
      `${sha256("gtk")}  ./netboot/gtk/debian-installer/amd64/linux\n${sha256(kernel)}  ./${folder}/linux\n${sha256(initrd)}  ./${folder}/initrd.gz\n`,
    );
    const { image } = await fetch("debian-netboot");
    t.match(image.version, /^[0-9a-f]{12}$/, "its version is made of its content");
    t.equal(
      (await fetch("debian-netboot")).image.version,
      image.version,
      "the same content has the same version",
    );
    publisher.put(`/debian-netboot/${folder}/linux`, kernel, { as: ["spoilt"] });
    await t.rejects(fetch("debian-netboot"), {
      code: "IMAGE_DIGEST_MISMATCH",
      message: /linux has the sha256/,
    });
    publisher.put(`/debian-netboot/${folder}/linux`, kernel);
    publisher.put("/debian-netboot/SHA256SUMS", "<html>maintenance</html>");
    await t.rejects(fetch("debian-netboot"), { code: "IMAGE_DIGESTS_INVALID" });
  });

  t.test("alt-workstation: kernel and initrd out of the medium, whose digest has to be given", async (t) => {
    const iso = readFileSync(makeIso(t, { "boot/vmlinuz": kernel, "boot/initrd.img": initrd }));
    publisher.put("/alt-workstation/alt-workstation-11.0-x86_64.iso", iso);
    await t.rejects(fetch("alt-workstation"), { code: "IMAGE_UNVERIFIED" });
    const rootfs = readDigest(sha512(iso));
    const { image } = await fetch("alt-workstation", rootfs ? { digests: { rootfs } } : {});
    t.match(image, {
      version: "11.0",
      files: { kernel: { sha256: sha256(kernel) }, initrd: { sha256: sha256(initrd) } },
    });
  });

  t.test("memtest: out of Debian's own package, fetched by apt", async (t) => {
    const { image } = await fetch("memtest");
    t.same(Object.keys(image.files), ["kernel", "kernelEfi"]);
    t.match(image.files.kernel.name, /memtest86/);
  });
});

t.test("files named by hand", async (t) => {
  const publisher = await startPublisher(t);
  const directory = temporaryDirectory(t);
  const kernel = randomBytes(1000);
  const local = join(directory, "initrd.img");
  writeFileSync(local, "an initrd");
  const fetch = (entry: CatalogueEntry, more: Partial<FetchImageOptions> = {}) =>
    fetchImage({
      entry,
      directory: join(directory, "out"),
      name: "kiosk",
      download: quick,
      onProgress: () => undefined,
      onNote: () => undefined,
      ...more,
    });
  const byHand = (more: Partial<Parameters<typeof entryByHand>[0]> = {}) =>
    entryByHand({
      name: "kiosk",
      arch: "x86_64",
      files: { kernel: `${publisher.url}/vmlinuz`, initrd: local },
      ...more,
    });
  publisher.put("/vmlinuz", kernel);
  const digest = readDigest(sha256(kernel));
  const known = digest ? { digests: { kernel: digest } } : {};

  t.test("from the network need a digest, those of this machine none", async (t) => {
    await t.rejects(fetch(byHand()), { code: "IMAGE_UNVERIFIED", message: /vmlinuz/ });
    await fetch(byHand(), { ...known, version: "7" });
    t.match(readImageJson(join(directory, "out")), {
      name: "kiosk",
      version: "7",
      files: { initrd: { sizeBytes: 9 } },
    });
    await fetch(byHand(), { isUnverifiedAllowed: true });
    publisher.put("/SHA256SUMS", `${sha256(kernel)}  vmlinuz\n${sha256("an initrd")}  initrd.img\n`);
    await fetch(byHand({ digests: `${publisher.url}/SHA256SUMS` }));
  });
  t.test("that are not there are named", async (t) => {
    const gone = byHand({ files: { kernel: join(directory, "gone") } });
    await t.rejects(fetch(gone), {
      code: "IMAGE_SOURCE_NOT_FOUND",
      message: /gone can't be read: it is not there/,
    });
  });
  t.test("a part of another file under the same address is found out, and loaded anew once", async (t) => {
    publisher.put("/vmlinuz", randomBytes(1000), { as: [{ cutAfter: 500 }, { status: 403 }] });
    await t.rejects(fetch(byHand(), known), { code: "IMAGE_SOURCE_REFUSED" });
    publisher.put("/vmlinuz", kernel);
    await fetch(byHand(), known);
    t.match(readImageJson(join(directory, "out")).files.kernel, { sha256: sha256(kernel) });
  });
});

t.test(
  "of two imports into one directory the second is refused, and the lock ends with its process",
  async (t) => {
    const publisher = await startPublisher(t);
    const directory = join(temporaryDirectory(t), "out");
    const kernel = randomBytes(100_000);
    publisher.put("/vmlinuz", kernel, { as: [{ stallAfter: 50_000 }, "fair"] });
    const words = ["image", "import", "kiosk", "--kernel", `${publisher.url}/vmlinuz`, "--unverified"];
    const start = () => {
      const child = spawn(process.execPath, [boot, ...words, "--to", directory]);
      let said = "";
      child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
      t.teardown(() => child.kill("SIGKILL"));
      return { child, ended: once(child, "close").then(([code]) => ({ code: code as number, said })) };
    };
    const first = start();
    await until(() => publisher.asked("/vmlinuz").length === 1, "the first import's download");
    const second = await start().ended;
    t.not(second.code, 0);
    t.match(second, { said: /IMAGE_IMPORT_BUSY: another import is writing into\s/ });
    first.child.kill("SIGKILL");
    await first.ended;
    t.match(await start().ended, { code: 0 });
    t.match(readImageJson(directory).files.kernel, { sha256: sha256(kernel) });
  },
);

t.test(
  "an archive that unpacks to more than it may, or than there is room for, is given up, and nothing of it stays",
  async (t) => {
    const directory = temporaryDirectory(t);
    const archive = join(directory, "bomb.tar.gz");
    execFileSync("truncate", ["--size", "200M", join(directory, "vmlinuz")]);
    execFileSync("tar", ["-C", directory, "-Sczf", archive, "vmlinuz"]);
    t.ok(statSync(archive).size < 1000, "200 MiB in less than 1 KB");
    const disk = smallDisk(t, 70);
    const target = join(disk, "kernel.part");
    await t.rejects(unpackMember(archive, "vmlinuz", target), {
      code: "IMAGE_DISK_TOO_SMALL",
      message: new RegExp(`${disk} has [0-9]+ MiB free`),
    });
    t.notOk(existsSync(target));
    const large = join(directory, "kernel.part");
    await t.rejects(unpackMember(archive, "vmlinuz", large, 20 * 1024 ** 2), {
      code: "IMAGE_SOURCE_TOO_LARGE",
      message:
        /vmlinuz of .*bomb\.tar\.gz has [0-9]+ MiB or more, and no file of an image may have over 20 MiB/,
    });
    t.notOk(existsSync(large));
    await unpackMember(archive, "vmlinuz", large);
    t.equal(statSync(large).size, 200 * 1024 ** 2, "what has room is unpacked whole");
  },
);

t.test("a program that unpacks and is not there is named", async (t) => {
  const directory = temporaryDirectory(t);
  const archive = join(directory, "a.tar");
  execFileSync("tar", ["-C", import.meta.dirname, "-cf", archive, "import.test.ts"]);
  const { PATH } = process.env;
  t.teardown(() => void (process.env["PATH"] = PATH));
  process.env["PATH"] = directory;
  await t.rejects(unpackMember(archive, "import.test.ts", join(directory, "x")), {
    code: "IMAGE_TOOL_MISSING",
  });
});

t.test("a signature is checked by gpgv against the keyring alone", async (t) => {
  const home = temporaryDirectory(t);
  const gpg = (...words: string[]) =>
    execFileSync("gpg", ["--homedir", home, "--batch", "--yes", "--passphrase", "", ...words], {
      stdio: ["ignore", "pipe", "ignore"],
    });
  t.teardown(() => void spawnSync("gpgconf", ["--homedir", home, "--kill", "all"]));
  for (const who of ["publisher@example.org", "stranger@example.org"]) {
    gpg("--quick-generate-key", who, "ed25519", "sign", "never");
    gpg("--output", join(home, `${who}.keyring`), "--export", who);
  }
  const publisher = await startPublisher(t);
  const kernel = randomBytes(1000);
  const list = `${sha256(kernel)}  vmlinuz\n`;
  writeFileSync(join(home, "list"), list);
  gpg(
    "--local-user",
    "publisher@example.org",
    "--output",
    join(home, "list.sig"),
    "--detach-sign",
    join(home, "list"),
  );
  publisher.put("/vmlinuz", kernel);
  publisher.put("/SHA256SUMS", list);
  publisher.put("/SHA256SUMS.gpg", readFileSync(join(home, "list.sig")));
  const notes: string[] = [];
  const fetch = (keyring: string | undefined) =>
    fetchImage({
      entry: entryByHand({
        name: "kiosk",
        arch: "x86_64",
        files: { kernel: `${publisher.url}/vmlinuz` },
        digests: `${publisher.url}/SHA256SUMS`,
        signature: `${publisher.url}/SHA256SUMS.gpg`,
      }),
      directory: join(home, "out"),
      name: "kiosk",
      keyring,
      download: quick,
      onProgress: () => undefined,
      onNote: (text) => void notes.push(text),
    });
  await fetch(join(home, "publisher@example.org.keyring"));
  t.match(notes.join(), /SHA256SUMS: good signature/);
  await t.rejects(fetch(join(home, "stranger@example.org.keyring")), {
    code: "IMAGE_SIGNATURE_INVALID",
    message: /SHA256SUMS is not signed by a key of/,
  });
  publisher.put("/SHA256SUMS", `${list}\n`);
  await t.rejects(fetch(join(home, "publisher@example.org.keyring")), { code: "IMAGE_SIGNATURE_INVALID" });
  await t.rejects(fetch(join(home, "no-such.keyring")), { code: "IMAGE_SIGNATURE_INVALID" });
  await fetch(undefined);
  t.match(notes.at(-1), /its signature was not checked, for there is no keyring/);
});

/** An ISO 9660 image of these files, by bsdtar. */
function makeIso(t: { teardown(fn: () => void): unknown }, files: Readonly<Record<string, Buffer>>): string {
  const tree = temporaryDirectory(t);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(tree, "root", name, ".."), { recursive: true });
    writeFileSync(join(tree, "root", name), content);
  }
  const iso = join(tree, "medium.iso");
  execFileSync("bsdtar", ["-cf", iso, "--format=iso9660", "-C", join(tree, "root"), "."]);
  return iso;
}

/** A port of loopback on which nobody listens. */
async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  await new Promise<unknown>((closed) => server.close(closed));
  return port;
}

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { loadBootAssets, readManifest } from "../server/content/boot-assets.ts";
import { createContentStore } from "../server/content/content-store.ts";

const digestOf = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");
const nobody = "0".repeat(64);

async function* source(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

/** All files below a directory, by their path in it. */
function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** Names that lead out of a directory, or to something that is no content, in the spellings of the advisories. */
const evilNames = [
  "",
  ".",
  "..",
  "/",
  "../",
  "../../etc/passwd",
  "../../../../etc/passwd",
  "/etc/passwd",
  "//etc/passwd",
  "./x",
  "..%2f..%2fetc%2fpasswd",
  "%2e%2e/%2e%2e/etc/passwd",
  "%252e%252e%252fetc",
  "..%c0%afetc",
  "%c0%ae%c0%ae/",
  "..;/..;/etc",
  "..\\..\\etc\\passwd",
  "..\\",
  "C:\\boot.ini",
  "\\\\server\\share",
  "....//....//etc",
  "..././etc",
  "~root",
  "~/.ssh/id_rsa",
  "/dev/zero",
  "/proc/self/environ",
  "/proc/self/mem",
  "uploads",
  "../uploads",
  "sha256",
  "sha256/00",
  "con",
  "nul",
  "x\0",
  "\0",
  `${nobody}\0`,
  `${nobody}\n`,
  `${nobody}/`,
  `${nobody}/..`,
  `/${nobody}`,
  `../sha256/00/${nobody}`,
  ` ${nobody}`,
  nobody.slice(1),
  `${nobody}0`,
  nobody.replace("0", "g"),
  "A".repeat(64),
  `${"a".repeat(63)}é`,
  "０".repeat(64),
  `sha256:${nobody}`,
  "__proto__",
  "constructor",
  "toString",
  "undefined",
  "null",
  "[object Object]",
  "${uuid}",
  "$(reboot)",
  "`reboot`",
  "a b",
  "*",
  "?",
  "-rf",
  "x".repeat(5000),
  "../".repeat(1000),
];

t.test("the content store", (t) => {
  t.test("keeps content under its SHA-256, for its owner's eyes only", async (t) => {
    const root = join(t.testdir({}), "blobs");
    const store = createContentStore(root);
    const stored = await store.put(source("hello ", "", "world"));
    t.same(stored, { sha256: digestOf("hello world"), sizeBytes: 11 });
    t.same(await store.find(stored.sha256), stored);
    const path = store.pathOf(stored.sha256) ?? "";
    t.equal(path, join(root, "sha256", stored.sha256.slice(0, 2), stored.sha256));
    t.equal(statSync(path).mode & 0o777, 0o600);
    t.equal(statSync(join(root, "sha256")).mode & 0o777, 0o700);
    t.equal(statSync(join(root, "uploads")).mode & 0o777, 0o700);
    const file = await store.open(stored.sha256);
    t.equal((await file?.readFile())?.toString(), "hello world");
    await file?.close();
  });
  t.test("tells what is not there from what can't be opened now", async (t) => {
    const root = t.testdir({});
    const store = createContentStore(root);
    t.equal(await store.find(nobody), undefined);
    t.equal(await store.open(nobody), undefined);
    const path = store.pathOf(nobody) ?? "";
    mkdirSync(join(root, "sha256/00"), { recursive: true });
    // A link to itself can be opened by nobody, root neither; so it stands for every fault but absence.
    symlinkSync(path, path);
    const unavailable = { code: "CONTENT_UNAVAILABLE", httpStatus: 503, message: /ELOOP/ };
    await t.rejects(store.find(nobody), unavailable);
    await t.rejects(store.open(nobody), unavailable);
  });
  t.test("keeps what it kept when it is opened again", async (t) => {
    const root = t.testdir({});
    const { sha256 } = await createContentStore(root).put(source("a"));
    t.same(await createContentStore(root).find(sha256), { sha256, sizeBytes: 1 });
  });
  t.test("takes empty content, content twice, and twice at once", async (t) => {
    const root = t.testdir({});
    const store = createContentStore(root);
    t.same(await store.put(source()), { sha256: digestOf(""), sizeBytes: 0 });
    const once = await store.put(source("a"));
    t.same(await store.put(source("a")), once);
    const [left, right] = await Promise.all([store.put(source("b", "c")), store.put(source("bc"))]);
    t.same(left, right);
    t.equal(filesBelow(root).length, 3);
  });
  t.test(
    "content with another digest than was announced is refused, and nothing of it is kept",
    async (t) => {
      const root = t.testdir({});
      const store = createContentStore(root);
      await t.rejects(store.put(source("a"), { expected: nobody }), {
        code: "UPLOAD_REJECTED",
        message: `the upload was refused: its sha256 is ${digestOf("a")}, and ${nobody} was announced`,
      });
      t.same(filesBelow(root), []);
      t.equal((await store.put(source("a"), { expected: digestOf("a") })).sizeBytes, 1);
    },
  );
  t.test("an upload that breaks off leaves nothing, and its error goes to the caller", async (t) => {
    const root = t.testdir({});
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("half");
      throw new Error("connection lost");
    }
    await t.rejects(createContentStore(root).put(breaking()), { message: "connection lost" });
    t.same(filesBelow(root), []);
  });
  t.test("content is under its digest when it is whole, never before", async (t) => {
    const root = t.testdir({});
    const store = createContentStore(root);
    const sha256 = digestOf("two parts");
    async function* watched(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("two ");
      t.equal(await store.find(sha256), undefined, "after the first part");
      t.equal(filesBelow(root).length, 1, "it lies in uploads/");
      yield Buffer.from("parts");
      t.equal(await store.find(sha256), undefined, "before the end");
    }
    await store.put(watched(), { expected: sha256 });
    t.same(filesBelow(root), [join("sha256", sha256.slice(0, 2), sha256)]);
  });
  t.test("what is removed is gone; removing it again is no fault", async (t) => {
    const store = createContentStore(t.testdir({}));
    const { sha256 } = await store.put(source("a"));
    await store.remove(sha256);
    t.equal(await store.find(sha256), undefined);
    t.equal(await store.open(sha256), undefined);
    await store.remove(sha256);
  });
  t.test("the start sweeps what interrupted uploads left behind, and no content", async (t) => {
    const root = t.testdir({ uploads: { half: "x", folder: { deeper: "y" } } });
    const store = createContentStore(root);
    const { sha256 } = await store.put(source("a"));
    await store.sweepUploads();
    t.same(filesBelow(root), [join("sha256", sha256.slice(0, 2), sha256)]);
    t.same(readdirSync(join(root, "uploads")), []);
  });
  t.test(`no name but a lower-case SHA-256 leads anywhere: ${evilNames.length} names`, async (t) => {
    const root = join(t.testdir({ outside: "secret" }), "blobs");
    const store = createContentStore(root);
    await store.put(source("a"));
    const before = filesBelow(root);
    for (const name of evilNames) {
      const answers = [
        store.pathOf(name),
        await store.find(name),
        await store.open(name),
        await store.remove(name),
      ];
      t.same(answers, [undefined, undefined, undefined, false], JSON.stringify(name.slice(0, 80)));
    }
    t.same(filesBelow(root), before);
    t.ok(evilNames.length >= 60);
  });
  t.test("a full disk is told before it is full: the database must be able to go on", (t) => {
    const mount = t.testdir({ disk: {} });
    const script =
      'mount -t tmpfs -o size=96m rollcall "$1" && exec "$2" --disable-warning=ExperimentalWarning "$3" "$1"';
    const program = resolve(import.meta.dirname, "support/small-disk.ts");
    // In a mount namespace of its own, which takes the disk with it when it ends; without root in a user namespace too.
    const { stdout, stderr, status } = spawnSync(
      "unshare",
      [
        process.getuid?.() === 0 ? "-m" : "-rm",
        "sh",
        "-c",
        script,
        "sh",
        join(mount, "disk"),
        process.execPath,
        program,
      ],
      { encoding: "utf8" },
    );
    t.equal(stderr, "");
    t.equal(status, 0, "this test needs unshare, and root or user namespaces");
    const outcomes = JSON.parse(stdout || "{}") as Record<
      string,
      { result: string; chunksRead: number; freeMebibytes: number; leftovers: string[] }
    >;
    t.match(
      outcomes["announced"],
      { result: /^DISK_FULL: .* has 96 MiB free and 104 MiB are needed$/, chunksRead: 0 },
      "an upload that announces too much is not begun",
    );
    for (const name of ["unannounced", "understated"]) {
      t.match(outcomes[name]?.result, /^DISK_FULL: /, `${name}: its length is not believed`);
      t.ok((outcomes[name]?.chunksRead ?? 999) <= 48, `${name}: it ends before the reserve is used up`);
    }
    t.match(
      outcomes["filled"]?.result,
      /^DISK_FULL: .* has 1 MiB free and 3 MiB are needed$/,
      "somebody else filled the disk meanwhile",
    );
    t.match(outcomes["afterwards"], { result: "stored 5242880" }, "it goes on when there is space again");
    for (const [name, { leftovers }] of Object.entries(outcomes))
      t.same(leftovers, [], `${name}: nothing is left over`);
    t.end();
  });
  t.end();
});

t.test("first-stage binaries (boot-assets/)", (t) => {
  const entry = (name: string, content: string, more: Record<string, unknown> = {}) => ({
    name,
    arch: "uefi-x86_64",
    version: "1",
    sha256: digestOf(content),
    source: "test",
    ...more,
  });
  const folder = (t: Test, manifest: unknown, files: Record<string, string> = {}) =>
    t.testdir({
      ...files,
      "manifest.json": typeof manifest === "string" ? manifest : JSON.stringify(manifest),
    });
  const told = (directory: string) =>
    loadBootAssets(directory).problems.map(
      ({ name, message }) => `${name}: ${message.replaceAll(`${directory}/`, "")}`,
    );

  t.test("what is there with its digest is served", (t) => {
    const directory = folder(
      t,
      { assets: [entry("a.efi", "A"), entry("b.efi", "B")] },
      { "a.efi": "A", "b.efi": "B" },
    );
    const { assets, problems } = loadBootAssets(directory);
    t.same(problems, []);
    t.same([...assets.keys()], ["a.efi", "b.efi"]);
    t.equal(Buffer.from(assets.get("a.efi")?.content ?? []).toString(), "A");
    t.end();
  });
  t.test("one that is missing or another is told and not served, and the others go on", (t) => {
    const directory = folder(
      t,
      { assets: [entry("a.efi", "A"), entry("b.efi", "B"), entry("c.efi", "C"), entry("d.efi", "D")] },
      { "a.efi": "A", "b.efi": "changed" },
    );
    mkdirSync(join(directory, "d.efi"));
    t.same([...loadBootAssets(directory).assets.keys()], ["a.efi"]);
    t.same(told(directory), [
      `BOOT_ASSET_DIGEST_MISMATCH: boot-assets/b.efi has sha256 ${digestOf("changed")}, and the manifest knows ${digestOf("B")}`,
      "BOOT_ASSET_MISSING: the first-stage binary c.efi is not in boot-assets/",
      "BOOT_ASSET_MISSING: the first-stage binary d.efi is not in boot-assets/",
    ]);
    t.end();
  });
  t.test("a file that no manifest names is never served", (t) => {
    const directory = folder(t, { assets: [entry("a.efi", "A")] }, { "a.efi": "A", "evil.efi": "E" });
    t.equal(loadBootAssets(directory).assets.has("evil.efi"), false);
    t.end();
  });
  t.test("the administrator's own manifest adds digests and names", (t) => {
    const directory = folder(
      t,
      { assets: [entry("a.efi", "A")] },
      {
        "a.efi": "mine",
        "arm.efi": "R",
        "manifest.local.json": JSON.stringify({ assets: [entry("a.efi", "mine"), entry("arm.efi", "R")] }),
      },
    );
    const { assets, problems } = loadBootAssets(directory);
    t.same(problems, []);
    t.equal(assets.get("a.efi")?.entry.sha256, digestOf("mine"));
    t.ok(assets.has("arm.efi"));
    writeFileSync(join(directory, "a.efi"), "A");
    t.equal(
      loadBootAssets(directory).assets.get("a.efi")?.entry.sha256,
      digestOf("A"),
      "and the shipped one stays good",
    );
    writeFileSync(join(directory, "a.efi"), "other");
    t.match(
      told(directory)[0],
      `${digestOf("A")} or ${digestOf("mine")}`,
      "both are named when it is neither",
    );
    t.end();
  });
  t.test("a manifest that can't be read is told with its place and stops nothing", (t) => {
    const cases: [unknown, RegExp][] = [
      ["{", /^manifest\.json can't be read: Expected property name/],
      ["[]", /^manifest\.json can't be read: the list `assets` is missing/],
      ["null", /the list `assets` is missing/],
      [{ assets: {} }, /the list `assets` is missing/],
      [{ assets: [] }, /it is missing or names nothing/],
      [{ assets: [null] }, /assets\[0\]: name is missing/],
      [{ assets: [entry("a.efi", "A"), { name: "b" }] }, /assets\[1\]: arch is missing/],
      [{ assets: [entry("a.efi", "A", { sha256: 5 })] }, /assets\[0\]: sha256 is missing/],
      [
        { assets: [entry("a.efi", "A", { sha256: "ABC" })] },
        /assets\[0\]: sha256 is not 64 lower-case hex digits/,
      ],
    ];
    for (const [manifest, expected] of cases) {
      const directory = folder(t, manifest, { "a.efi": "A" });
      const [problem = ""] = told(directory);
      t.match(problem, /^BOOT_MANIFEST_INVALID: /);
      t.match(problem.replace("BOOT_MANIFEST_INVALID: ", ""), expected, JSON.stringify(manifest));
      t.equal(loadBootAssets(directory).assets.size, 0);
    }
    t.match(told(t.testdir({}))[0], /^BOOT_MANIFEST_INVALID: manifest.json can't be read: it is missing/);
    t.match(told("/nonexistent/boot-assets")[0], /^BOOT_MANIFEST_INVALID: /);
    t.end();
  });
  t.test("no name in a manifest leads out of the folder", (t) => {
    for (const name of evilNames.filter((name) => !/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name))) {
      const directory = folder(t, { assets: [entry(name, "A")] });
      t.equal(loadBootAssets(directory).assets.size, 0);
      t.throws(
        () => readManifest(directory),
        { code: "BOOT_MANIFEST_INVALID" },
        JSON.stringify(name.slice(0, 80)),
      );
    }
    const directory = t.testdir({
      outside: "A",
      assets: { "manifest.json": JSON.stringify({ assets: [entry("../outside", "A")] }) },
    });
    t.equal(loadBootAssets(join(directory, "assets")).assets.size, 0, "even with the right digest");
    t.end();
  });
  t.test("our own manifest names each binary with a digest and where it comes from", (t) => {
    const own = resolve(import.meta.dirname, "../boot-assets");
    const entries = readManifest(own);
    t.ok(existsSync(join(own, "manifest.json")));
    for (const name of ["undionly.kpxe", "snponly.efi", "ipxe.efi"])
      t.ok(
        entries.some((one) => one.name === name && one.source !== ""),
        name,
      );
    t.end();
  });
  t.end();
});

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import {
  bufferRoute,
  cleanFileName,
  directoryRoute,
  NotMine,
  openFirst,
  sharedBetweenBoards,
  withoutBoardFolder,
  type FileRoute,
  type TftpFile,
} from "../../server/tftp/file-routes.ts";
import type { WireOption } from "../../server/tftp/wire/packet.ts";
import { fetchFile } from "../support/tftp-client.ts";
import { startTftpLab } from "../support/tftp-lab.ts";

const base = mkdtempSync(join(tmpdir(), "tftp-routes-"));
t.teardown(() => rmSync(base, { recursive: true }));
const root = join(base, "root");
mkdirSync(join(root, "deep/er"), { recursive: true });
mkdirSync(join(base, "root-neighbour"));
const secret = "the secret of this machine";
for (const path of ["secret", "root-neighbour/secret", "root/deep/er/hidden"])
  writeFileSync(join(base, path), secret);
writeFileSync(join(root, "ipxe.efi"), "ipxe of uefi");
writeFileSync(join(root, "deep/undionly.kpxe"), "ipxe of bios");
writeFileSync(join(root, "Upper.EFI"), "case matters");
symlinkSync("../secret", join(root, "leaves"));
symlinkSync("/etc/passwd", join(root, "passwd"));
symlinkSync("/etc", join(root, "etc"));
symlinkSync("..", join(root, "up"));
symlinkSync("loop", join(root, "loop"));
symlinkSync("/dev/zero", join(root, "zero"));
symlinkSync("ipxe.efi", join(root, "stays"));
execFileSync("mkfifo", [join(root, "pipe")]);
const unixSocket = createServer().listen(join(root, "socket"));
t.teardown(() => unixSocket.close());

const ask = (file: string) => ({
  file,
  clientAddress: "192.0.2.7" as Ipv4,
  serverAddress: "192.0.2.1" as Ipv4,
});
async function open(route: FileRoute, name: string): Promise<TftpFile> {
  const file = await route.open(ask(name));
  if (file === NotMine) throw new Error(`${name} is not there`);
  return file;
}
async function text(file: TftpFile | NotMine): Promise<string> {
  if (file === NotMine) return "not mine";
  const bytes = await file.read(0, file.sizeBytes);
  await file.close();
  return Buffer.from(bytes).toString("latin1");
}

const escapes = [
  "../secret",
  "..\\secret",
  "/../secret",
  "//../secret",
  "\\..\\secret",
  "./../secret",
  "deep/../../secret",
  "deep/..\\..\\secret",
  "deep\\..\\..\\secret",
  "deep/er/../../../secret",
  "..//secret",
  "../root-neighbour/secret",
  "../../../../../../etc/passwd",
  "..\\..\\..\\..\\etc\\passwd",
  "/etc/passwd",
  "\\etc\\passwd",
  "//etc//passwd",
  "C:\\windows\\win.ini",
  "\\\\host\\share\\secret",
  "file:///etc/passwd",
  "/proc/self/environ",
  "proc/self/environ",
  "/dev/zero",
  "/dev/stdin",
  "~/secret",
  "~root/secret",
  "$HOME/secret",
  "%2e%2e/secret",
  "%2e%2e%2fsecret",
  "..%2fsecret",
  "..%5csecret",
  "%252e%252e%252fsecret",
  "..%c0%afsecret",
  "%c0%ae%c0%ae/secret",
  "\xc0\xae\xc0\xae/secret",
  "..\xc0\xafsecret",
  "..;/secret",
  "...",
  "....//secret",
  "..../secret",
  ". ./secret",
  " ../secret",
  "../secret ",
  "..",
  "../",
  "../.",
  ".",
  "./",
  "/",
  "//",
  "\\",
  "\\\\",
  "deep",
  "deep/",
  "deep/er",
  "deep/er/..",
  "deep/../../root/../secret",
  "leaves",
  "leaves/",
  "passwd",
  "etc/passwd",
  "etc/shadow",
  "up/secret",
  "up/up/etc/passwd",
  "loop",
  "zero",
  "pipe",
  "socket",
  "ipxe.efi/..",
  "ipxe.efi/../../secret",
  "ipxe.efi\x01.txt",
  "ip\nxe.efi",
  "\x1b[2J",
  "\xff",
  "\x01\x02",
  "x".repeat(256),
  `${"../".repeat(100)}secret`,
  `${"a/".repeat(150)}b`,
  "IPXE.EFI",
  "upper.efi",
  "/../root/ipxe.efi",
];

t.test(`${escapes.length} names that lead out of the root, or to no file, are ERROR 1`, async (t) => {
  t.ok(escapes.length >= 60);
  const { address } = await startTftpLab(t, [directoryRoute(root, undefined)]);
  for (const name of escapes) {
    await t.rejects(
      fetchFile(address, name),
      { message: "ERROR 1 file not found" },
      JSON.stringify(name.slice(0, 40)),
    );
  }
});

t.test("names as firmware writes them find their file", async (t) => {
  const { address } = await startTftpLab(t, [directoryRoute(root, undefined)]);
  const forms = [
    "ipxe.efi",
    "/ipxe.efi",
    "//ipxe.efi",
    "\\ipxe.efi",
    "./ipxe.efi",
    "/./ipxe.efi",
    "ipxe.efi\xff",
    "ipxe.efi\xff\xff",
    "ipxe.efi\r\n",
    "ipxe.efi\x01\xff",
    "stays",
  ];
  for (const name of forms) {
    t.equal((await fetchFile(address, name)).content.toString(), "ipxe of uefi", JSON.stringify(name));
  }
  for (const name of ["deep/undionly.kpxe", "deep\\undionly.kpxe", "\\deep\\\\undionly.kpxe"]) {
    t.equal((await fetchFile(address, name)).content.toString(), "ipxe of bios", JSON.stringify(name));
  }
});

t.test("only allowed names are served when there is a list", async (t) => {
  const route = directoryRoute(root, new Set(["ipxe.efi", "leaves", "gone"]));
  t.equal(await text(await route.open(ask("\\ipxe.efi"))), "ipxe of uefi");
  for (const name of ["deep/undionly.kpxe", "deep/er/hidden", "leaves", "gone", "Upper.EFI"]) {
    t.equal(await route.open(ask(name)), NotMine, name);
  }
});

t.test("the first route that knows a file answers, and is named", async (t) => {
  const routes = [
    bufferRoute("generated", (name, { clientAddress }) =>
      name === "autoexec.ipxe" ? Buffer.from(`#!ipxe ${clientAddress}`) : undefined,
    ),
    directoryRoute(root, undefined, { name: "boot-assets" }),
  ];
  const first = await openFirst(routes, ask("/autoexec.ipxe\xff"));
  if (first === NotMine) throw new Error("not found");
  t.equal(first.route, "generated");
  t.equal(await text(first.file), "#!ipxe 192.0.2.7");
  t.match(await openFirst(routes, ask("ipxe.efi")), { route: "boot-assets" });
  t.equal(await openFirst(routes, ask("nothing")), NotMine);
});

t.test("a name is cleaned the same way for every route", (t) => {
  t.equal(cleanFileName("\\boot\\x64//ipxe.efi\0\xff"), "boot/x64/ipxe.efi");
  t.equal(cleanFileName("a..b/..c"), "a..b/..c", "dots inside a name are a name");
  for (const bad of ["", "\xff", "/", "a/../b", "a\x07b"]) t.equal(cleanFileName(bad), undefined);
  t.end();
});

t.test("a file that changes under a transfer", async (t) => {
  const size = 5 * 2 ** 20;
  const [old, young] = [Buffer.alloc(size, "a"), Buffer.alloc(size, "b")];
  const big = join(root, "big");
  const route = directoryRoute(root, undefined);

  t.test("and is replaced goes on with its old octets", async (t) => {
    writeFileSync(big, old);
    const file = await open(route, "big");
    const first = await file.read(0, 1000);
    writeFileSync(`${big}.new`, young);
    renameSync(`${big}.new`, big);
    const last = await file.read(size - 1000, 1000);
    t.ok(Buffer.concat([first, last]).equals(old.subarray(0, 2000)));
    await file.close();
    const next = await route.open(ask("big"));
    t.ok((await text(next)).startsWith("bbb"));
  });
  t.test("and is written in place ends with an ERROR", async (t) => {
    for (const change of [() => truncateSync(big, 100), () => appendFileSync(big, "more")]) {
      writeFileSync(big, old);
      const file = await open(route, "big");
      await file.read(0, 1000);
      change();
      await t.rejects(async () => file.read(size - 1000, 1000), /changed/);
      await file.close();
    }
  });
  t.test("is never a mixture: 1000 replacements during transfers of small and large files", async (t) => {
    const { address } = await startTftpLab(t, [directoryRoute(root, undefined, { smallFileBytes: 50_000 })]);
    const options: WireOption[] = [
      ["blksize", "1468"],
      ["windowsize", "16"],
    ];
    let [swaps, whole, mixed, isOver] = [0, 0, 0, false];
    const swapping = (async () => {
      while (swaps < 1000) {
        const byte = swaps++ % 2 === 0 ? "a" : "b";
        for (const [name, length] of [
          ["little", 40_000],
          ["large", 400_000],
        ] as const) {
          writeFileSync(join(root, `${name}.new`), Buffer.alloc(length, byte));
          renameSync(join(root, `${name}.new`), join(root, name));
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      isOver = true;
    })();
    await new Promise((resolve) => setTimeout(resolve, 5));
    while (!isOver) {
      for (const name of ["little", "large"]) {
        const { content } = await fetchFile(address, name, options);
        whole++;
        if (!content.equals(Buffer.alloc(content.length, content.subarray(0, 1)))) mixed++;
      }
    }
    await swapping;
    t.equal(mixed, 0);
    t.ok(whole > 10, `${whole} transfers`);
  });
});

t.test("small files are read once for all transfers, and read again when they change", async (t) => {
  const path = join(root, "cached");
  writeFileSync(path, "first");
  const route = directoryRoute(root, undefined, { cacheBytes: 1000 });
  const bytesOf = async () => {
    const file = await open(route, "cached");
    return await file.read(0, file.sizeBytes);
  };
  const [one, two] = await Promise.all([bytesOf(), bytesOf()]);
  t.equal(one.buffer, two.buffer);
  t.equal((await bytesOf()).buffer, one.buffer);
  writeFileSync(path, "second");
  t.equal(Buffer.from(await bytesOf()).toString(), "second");
  writeFileSync(path, Buffer.alloc(2000, "x"));
  t.not((await bytesOf()).buffer, (await bytesOf()).buffer, "what is larger than the cache is not kept");
});

t.test("the folder of its own that a board asks in: serial number or MAC (firmware-quirk Q30)", (t) => {
  for (const [name, shared] of [
    ["9ffefdef/start4.elf", "start4.elf"],
    ["9FFEFDEF/start4.elf", "start4.elf"],
    ["10000000a1b2c3d4/config.txt", "config.txt"],
    ["dc-a6-32-01-36-c2/overlays/map.dtb", "overlays/map.dtb"],
    ["start4.elf", undefined],
    ["9ffefdef", undefined],
    ["9ffefdef/", undefined],
    ["9ffefde/start4.elf", undefined],
    ["9ffefdef1/start4.elf", undefined],
    ["overlays/start4.elf", undefined],
    ["dc:a6:32:01:36:c2/start4.elf", undefined],
    ["x/9ffefdef/start4.elf", undefined],
  ] as const)
    t.equal(withoutBoardFolder(name), shared, name);
  t.end();
});

t.test(
  "a board has its own files where they are there, shares the others, and learns at once what is not there",
  async (t) => {
    const folder = t.testdir({
      "start4.elf": "for all",
      "config.txt": "for all",
      "9ffefdef": { "config.txt": "of one", secret: "of one" },
    });
    const { address } = await startTftpLab(t, [sharedBetweenBoards(directoryRoute(folder, undefined))]);
    const get = (file: string) =>
      fetchFile(address, file).then(
        ({ content }) => content.toString(),
        (error: Error) => error.message,
      );
    t.equal(await get("9ffefdef/config.txt"), "of one");
    t.equal(await get("9ffefdef/start4.elf"), "for all");
    t.equal(await get("aaaaaaaa/config.txt"), "for all", "one without a folder");
    t.equal(await get("config.txt"), "for all");
    for (const name of [
      "9ffefdef/recovery.elf",
      "recovery.elf",
      "9ffefdef/../secret",
      "aaaaaaaa/bbbbbbbb/config.txt",
    ])
      t.match(await get(name), /^ERROR 1\b/, `${name}: file not found`);
  },
);

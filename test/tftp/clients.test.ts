import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { bufferRoute } from "../../server/tftp/file-routes.ts";
import { eventually, fillPattern, patternRoute, startTftpLab } from "../support/tftp-lab.ts";

/** Clients that others wrote, on loopback. Over 32 MiB a transfer at blksize 512 passes block 65535. */
const MiB = 2 ** 20;
const sizes = { small: 100_003, exact: 512 * 40, empty: 0, rollover: 34 * MiB + 5, twice: 65 * MiB + 1 };
const routes = [
  ...Object.entries(sizes).map(([name, size]) => patternRoute(name, size)),
  bufferRoute("text", (name) => (name === "text" ? Buffer.from("one\ntwo\n") : undefined)),
];
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "tftp-clients-"));
t.teardown(() => rmSync(folder, { recursive: true }));

const digests = new Map<string, string>();
function wantedDigest(name: keyof typeof sizes): string {
  const known = digests.get(name);
  if (known !== undefined) return known;
  const hash = createHash("sha1");
  const piece = new Uint8Array(MiB);
  for (let offset = 0; offset < sizes[name]; offset += MiB) {
    hash.update(fillPattern(piece.subarray(0, Math.min(MiB, sizes[name] - offset)), offset));
  }
  const digest = hash.digest("hex");
  digests.set(name, digest);
  return digest;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha1");
  for await (const piece of createReadStream(path, { highWaterMark: MiB })) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}

interface Client {
  readonly name: string;
  readonly program: string;
  readonly args: (port: string, file: string, target: string) => string[];
  readonly files: readonly (keyof typeof sizes)[];
}

const clients: readonly Client[] = [
  {
    name: "tftp-hpa",
    program: "tftp",
    args: (port, file, target) => ["-m", "octet", "127.0.0.1", port, "-c", "get", file, target],
    files: ["small", "exact", "empty"],
  },
  {
    name: "atftp, lockstep",
    program: "atftp",
    args: (port, file, target) => [
      "--option",
      "blksize 1428",
      "-g",
      "-r",
      file,
      "-l",
      target,
      "127.0.0.1",
      port,
    ],
    files: ["small", "exact"],
  },
  {
    name: "atftp, window 8, blksize 1428",
    program: "atftp",
    args: (port, file, target) => [
      "--option",
      "blksize 1428",
      "--option",
      "windowsize 8",
      "-g",
      "-r",
      file,
      "-l",
      target,
      "127.0.0.1",
      port,
    ],
    files: ["small", "exact", "empty"],
  },
  {
    name: "atftp, window 8, blksize 512",
    program: "atftp",
    args: (port, file, target) => [
      "--option",
      "blksize 512",
      "--option",
      "windowsize 8",
      "-g",
      "-r",
      file,
      "-l",
      target,
      "127.0.0.1",
      port,
    ],
    files: ["twice"],
  },
  {
    name: "busybox tftp",
    program: "busybox",
    args: (port, file, target) => ["tftp", "-g", "-b", "1468", "-r", file, "-l", target, "127.0.0.1", port],
    files: ["small", "exact"],
  },
  {
    name: "curl, blksize 1468",
    program: "curl",
    args: (port, file, target) => [
      "-sS",
      "--tftp-blksize",
      "1468",
      "-o",
      target,
      `tftp://127.0.0.1:${port}/${file}`,
    ],
    files: ["small", "exact"],
  },
  {
    name: "curl, blksize 512",
    program: "curl",
    args: (port, file, target) => ["-sS", "-o", target, `tftp://127.0.0.1:${port}/${file}`],
    files: ["small", "rollover"],
  },
];

t.test("clients of others", async (t) => {
  const { address, contacts } = await startTftpLab(t, routes);
  const port = String(address.port);
  for (const client of clients) {
    for (const file of client.files) {
      t.test(`${client.name} reads ${sizes[file]} octets`, { timeout: 20_000 }, async (t) => {
        const target = join(folder, "got");
        rmSync(target, { force: true });
        contacts.length = 0;
        await run(client.program, client.args(port, file, target));
        t.equal(statSync(target).size, sizes[file]);
        t.equal(await digestOf(target), wantedDigest(file));
        await eventually(() => contacts.length === 1);
        t.match(contacts, [{ outcome: "complete", file, sentBytes: sizes[file] }]);
      });
    }
  }
  t.test("tftp-hpa in netascii mode gets its line ends back (RFC 1350 section 1)", async (t) => {
    const target = join(folder, "text");
    await run("tftp", ["-m", "netascii", "127.0.0.1", port, "-c", "get", "text", target]);
    t.equal(await digestOf(target), createHash("sha1").update("one\ntwo\n").digest("hex"));
  });
  t.test("a missing file and a write are told in the client's words, at once", async (t) => {
    const missing = await run("curl", ["-sS", `tftp://127.0.0.1:${port}/missing`]).catch(
      (error: Error & { code: number }) => error,
    );
    t.match(missing, { code: 68 }, "curl: TFTP file not found");
    const written = await run("curl", [
      "-sS",
      "-T",
      join(folder, "text"),
      `tftp://127.0.0.1:${port}/new`,
    ]).catch((error: Error & { code: number }) => error);
    t.match(written, { code: 69 }, "curl: TFTP permission problem");
  });
  t.test(
    "tftp2 of npm, written by others from RFC 1350 alone, reads a file",
    { timeout: 5000 },
    async (t) => {
      const load = createRequire(import.meta.url);
      type Tftp2 = (
        host: string,
        port: number,
      ) => {
        read(file: string, push: (data: Buffer) => void, done: () => void): Promise<void>;
        close(): void;
      };
      const client = (load("tftp2") as Tftp2)("127.0.0.1", address.port);
      t.teardown(() => client.close());
      const parts: Buffer[] = [];
      await client.read(
        "small",
        (data) => parts.push(data),
        () => undefined,
      );
      t.equal(createHash("sha1").update(Buffer.concat(parts)).digest("hex"), wantedDigest("small"));
    },
  );
});

t.test("the clients are installed", (t) => {
  for (const program of ["tftp", "atftp", "busybox", "curl"]) {
    t.equal(spawnSync("which", [program]).status, 0, program);
  }
  t.end();
});

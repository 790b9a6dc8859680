import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { startTftpThread } from "../../server/tftp-thread.ts";
import { bufferRoute } from "../../server/tftp/file-routes.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { lossyUdp, randomFates } from "../support/lossy-udp.ts";
import { tftpPrograms } from "../support/tftp-programs.ts";
import { eventually, fillPattern, patternRoute, startTftpLab } from "../support/tftp-lab.ts";

/** Clients that others wrote, on loopback. */
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

/** Over 32 MiB a transfer at blksize 512 passes block 65535. */
const filesOf: Record<(typeof tftpPrograms)[number]["name"], readonly (keyof typeof sizes)[]> = {
  "tftp-hpa": ["small", "exact", "empty"],
  "atftp, lockstep": ["small", "exact"],
  "atftp, window 8, blksize 1428": ["small", "exact", "empty"],
  "atftp, window 8, blksize 512": ["twice"],
  "busybox tftp": ["small", "exact"],
  "curl, blksize 1468": ["small", "exact"],
  "curl, blksize 512": ["small", "rollover"],
};

/** As `boot serve` has it, and as it is where koffi is missing. */
const players = {
  "a thread of its own": async (t: Test) => {
    const thread = await startTftpThread({ udp: loopbackUdp, clock: systemClock, log: silentLog });
    if (thread === undefined) throw new Error("koffi is not installed");
    t.teardown(() => thread.stop());
    return { engine: thread.engine };
  },
  "the main thread": async () => ({}),
};
for (const [where, start] of Object.entries(players)) {
  t.test(`clients of others, transfers played by ${where}`, async (t) => {
    const { address, contacts } = await startTftpLab(t, routes, await start(t));
    const port = String(address.port);
    for (const client of tftpPrograms) {
      for (const file of filesOf[client.name]) {
        t.test(`${client.name} reads ${sizes[file]} octets`, { timeout: 20_000 }, async (t) => {
          const target = join(folder, "got");
          rmSync(target, { force: true });
          contacts.length = 0;
          await run(client.program, client.args("127.0.0.1", port, file, target));
          t.equal(statSync(target).size, sizes[file]);
          t.equal(await digestOf(target), wantedDigest(file));
          await eventually(() => contacts.length === 1);
          t.match(contacts, [{ outcome: "complete", file, sentBytes: sizes[file] }]);
        });
      }
    }
  });
}

t.test("what clients are told", async (t) => {
  const { address } = await startTftpLab(t, routes);
  const port = String(address.port);
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

t.test("a network that loses, doubles and reorders: every client gets its file whole", async (t) => {
  for (const [what, rates] of Object.entries({
    "3 % lost": { drop: 0.03 },
    "10 % doubled": { duplicate: 0.1 },
    "5 % late": { delay: 0.05 },
    "all of it": { drop: 0.01, duplicate: 0.05, delay: 0.02 },
  })) {
    const udp = lossyUdp(loopbackUdp, randomFates(11, rates));
    const { address } = await startTftpLab(t, routes, { udp });
    for (const client of tftpPrograms)
      t.test(`${what}: ${client.name}`, { timeout: 60_000 }, async (t) => {
        const target = join(folder, "got");
        rmSync(target, { force: true });
        await run(client.program, client.args("127.0.0.1", String(address.port), "small", target));
        t.equal(await digestOf(target), wantedDigest("small"));
      });
  }
});

t.test("the clients are installed", (t) => {
  for (const program of ["tftp", "atftp", "busybox", "curl"]) {
    t.equal(spawnSync("which", [program]).status, 0, program);
  }
  t.end();
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { checkServerTime, createE2eLab, type E2eLab, ensureImage, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";

const proxyPort = 9100;
const cutEveryBytes = 20_000_000;
/** What may be sent twice because a connection was cut: without Range it would be several times the size. */
const resumeLimit = 1.05;

interface ProxyOptions {
  readonly port: number;
  readonly upstream: string;
  readonly cutEveryBytes: number;
  /** This byte is flipped the first time that it passes. */
  readonly flipAt: number;
}

/** One connection through the proxy. */
interface Pass {
  readonly method: string;
  readonly range: string | null;
  readonly status: number;
  /** Octets of the file that left, from `from` on. */
  readonly from: number;
  readonly sent: number;
  readonly flipped: boolean;
}

/**
 * Stands between the machine and the server, cuts every connection after so many bytes and spoils one byte. It runs as a process of its
 * own inside the lab from this function's text, so it may use nothing from outside itself. Prints one line of JSON per connection.
 */
async function cuttingProxy({ port, upstream, cutEveryBytes, flipAt }: ProxyOptions): Promise<void> {
  const { createServer, get } = await import("node:http");
  let hasFlipped = false;
  createServer((request, response) => {
    const { range } = request.headers;
    get(upstream, { headers: range === undefined ? {} : { range } }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      const from = Number(/^bytes (\d+)-/.exec(answer.headers["content-range"] ?? "")?.[1] ?? 0);
      const pass = {
        method: request.method,
        range: range ?? null,
        status: answer.statusCode,
        from,
        sent: 0,
        flipped: false,
      };
      const end = () => {
        answer.destroy();
        process.stdout.write(`${JSON.stringify(pass)}\n`);
      };
      response.once("close", end);
      answer.on("data", (chunk: Buffer) => {
        const piece = chunk.subarray(0, cutEveryBytes - pass.sent);
        const spoilt = flipAt - from - pass.sent;
        if (!hasFlipped && spoilt >= 0 && spoilt < piece.length) {
          piece[spoilt] = (piece[spoilt] ?? 0) ^ 1;
          hasFlipped = true;
          pass.flipped = true;
        }
        pass.sent += piece.length;
        answer.pause();
        // Written out before the cut, so that what was counted as sent does arrive.
        response.write(piece, () => {
          if (pass.sent >= cutEveryBytes) response.socket?.end(() => response.socket?.destroy());
          else answer.resume();
        });
      });
      answer.on("end", () => response.end());
    }).on("error", () => response.destroy());
  }).listen(port, () => process.stdout.write("listening\n"));
}

/** @returns the passes so far, the newest last */
async function startProxy(t: Test, e2e: E2eLab, options: ProxyOptions): Promise<() => Pass[]> {
  const child = e2e.lab.spawn([
    process.execPath,
    "-e",
    `(${cuttingProxy.toString()})(${JSON.stringify(options)})`,
  ]);
  t.teardown(() => child.kill());
  let output = "";
  let complaint = "";
  child.stderr?.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes("listening")) resolve();
    });
    child.once("exit", (code) => reject(new Error(`the proxy ended with ${code}: ${complaint}`)));
  });
  return () =>
    output
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Pass);
}

/** One download of the whole file, over however many connections. */
function checkDownload(t: Test, what: string, passes: readonly Pass[], sizeBytes: number): void {
  const sent = passes.reduce((sum, pass) => sum + pass.sent, 0);
  t.comment(
    `${what}: ${passes.length} connections, ${(sent / sizeBytes).toFixed(4)} times the size; from ${passes.map(({ from }) => from).join(", ")}`,
  );
  t.ok(
    passes.length >= Math.ceil(sizeBytes / cutEveryBytes),
    `${what}: the connection was cut every ${cutEveryBytes / 1e6} MB`,
  );
  t.same([passes[0]?.from, passes[0]?.status], [0, 200], `${what}: it begins at the beginning`);
  for (const [index, pass] of passes.slice(1).entries()) {
    const before = passes[index];
    t.equal(pass.status, 206, `${what}: connection ${index + 2} asks with Range`);
    t.equal(
      pass.from,
      (before?.from ?? 0) + (before?.sent ?? 0),
      `${what}: connection ${index + 2} goes on where the last one ended`,
    );
  }
  t.ok(sent >= sizeBytes && sent < sizeBytes * resumeLimit, `${what}: nothing is loaded twice`);
}

t.test("kernel and initrd of our image are what a machine loads in a moment: less than 30 MB", async (t) => {
  const { files } = JSON.parse(readFileSync(join(await ensureImage(t), "image.json"), "utf8")) as {
    files: Record<"kernel" | "initrd", { sizeBytes: number }>;
  };
  const bytes = files.kernel.sizeBytes + files.initrd.sizeBytes;
  t.comment(`kernel ${files.kernel.sizeBytes / 1e6} MB, initrd ${files.initrd.sizeBytes / 1e6} MB`);
  t.ok(bytes < 30e6, `${(bytes / 1e6).toFixed(1)} MB`);
});

t.test(
  "the initramfs resumes a cut download, never starts a root that is not the image, and says when the RAM is too small",
  async (t) => {
    const image = await ensureImage(t);
    const { files } = JSON.parse(readFileSync(join(image, "image.json"), "utf8")) as {
      files: { rootfs: { name: string; sha256: string; sizeBytes: number } };
    };
    const { name, sha256, sizeBytes } = files.rootfs;
    // A worker whose root comes from somewhere else: of two equal words on the command line the last one counts.
    const role = `description: A worker whose line is bad.\nboot: image\nimage: debian-node\narguments: ["rollcall.root=http://10.77.0.1:${proxyPort}/${name}"]\n`;
    const rolesDir = t.testdir({ cut: { "role.yaml": role } });
    const e2e = await createE2eLab(t, {
      config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
      bridges: { br0: "10.77.0.1/24" },
    });
    const upstream = `http://10.77.0.1:8080/assets/${sha256}/${name}`;
    const passes = await startProxy(t, e2e, {
      port: proxyPort,
      upstream,
      cutEveryBytes,
      flipAt: Math.floor(sizeBytes / 2),
    });
    await prepare(e2e, image, { s1: "52:54:00:77:00:01", small: "52:54:00:77:00:02" });
    await e2e.boot("s1", "cut");
    await e2e.boot("small", "worker");
    const power = (machine: string, mac: string, memoryMiB: number) =>
      e2e.lab.powerOn({ name: machine, mac, firmware: "bios", memoryMiB });
    const machine = await power("s1", "52:54:00:77:00:01", 1536);

    const mismatch = await e2e.waitForEvent(
      "the mismatch",
      (event) => event.machine === "s1" && event.type === "machine.failed",
    );
    t.equal(
      mismatch.data["code"],
      "ROOTFS_DIGEST_MISMATCH",
      "the server is told that the root image is not the one",
    );
    t.match(
      mismatch.message,
      new RegExp(`${sha256.slice(0, 12)}.*fetching it again`),
      "and which one it should be",
    );
    const first = passes();
    t.notOk(
      (await e2e.newestBoot("s1")).steps.some(({ step }) => step === "switch-root"),
      "it does not start that root",
    );
    checkDownload(t, "spoilt download", first, sizeBytes);
    t.equal(first.filter(({ flipped }) => flipped).length, 1, "one byte of it was spoilt");
    // Beside the second download; the first one's times stay comparable.
    const small = await power("small", "52:54:00:77:00:02", 384);
    // iPXE tells the RAM by SMBIOS, so the server knows before anything is loaded.
    const refusal = await e2e.waitForEvent(
      "the refusal of the small one",
      (event) => event.machine === "small" && event.type === "script.failed",
    );
    t.match(
      refusal,
      {
        data: { code: "MACHINE_TOO_SMALL" },
        message: /small has 384 MiB of RAM, and the role worker needs 1024 MiB/,
      },
      "a machine with too little RAM is refused by the server",
    );
    await small.waitForScreen("MACHINE_TOO_SMALL");
    t.notOk(
      (await e2e.newestBoot("small")).steps.some(({ step }) => step === "kernel"),
      "before it loads a kernel",
    );
    // It asks again by itself, and may try now.
    await e2e.boot("machine", "edit", "small", "--ram-check", "ignore");

    const boot = await e2e.waitForStep("s1", "switch-root");
    const second = passes().slice(first.length);
    checkDownload(t, "second download", second, sizeBytes);
    t.notOk(
      second.some(({ flipped }) => flipped),
      "no byte of it was spoilt",
    );
    const order = boot.steps
      .map(({ step }) => step)
      .filter((step) => step === "failed" || step === "switch-root");
    t.same(order, ["failed", "switch-root"], "it starts a root once, after the good download");
    checkServerTime(t, boot);
    await machine.waitForScreen(/Welcome to .*Debian/);
    t.match(
      machine.screen,
      /connection ended at 19 of \d+ MiB .*going on from there/,
      "its screen tells of the cut",
    );
    t.match(
      machine.screen,
      /ROOTFS_DIGEST_MISMATCH[\s\S]*root image[\s\S]*starting the system/,
      "its screen tells why it takes longer",
    );
    await machine.powerOff();

    const tooSmall = await e2e.waitForEvent(
      "the failure of the small one",
      (event) => event.machine === "small" && event.type === "machine.failed",
    );
    t.equal(tooSmall.data["code"], "RAM_TOO_SMALL", "a machine with too little RAM reports it");
    await small.waitForScreen(
      /this machine has \d+ MiB of RAM free, the image needs \d+ MiB \(RAM_TOO_SMALL\)/,
    );
    await small.waitForScreen("starting over in 300 seconds");
    t.match(await e2e.boot("status"), /small .*failed .*RAM_TOO_SMALL/, "boot status says so");
    const refused = await e2e.newestBoot("small");
    t.notOk(
      refused.steps.some(({ step }) => step === "rootfs" || step === "switch-root"),
      "it did not even begin to load",
    );
    checkServerTime(t, refused);
  },
);

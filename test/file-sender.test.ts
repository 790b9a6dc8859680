import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { createServer as createWebServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { DirectWay, FileSender } from "../server/domain/capabilities.ts";
import { stream } from "../server/http/content-stream.ts";
import { openFileSender } from "../server/platform/send-file.ts";
import { sha256Of } from "./support/http-fixture.ts";

const fileBytes = 8 * 1024 * 1024;
const wholeFile = Buffer.alloc(
  fileBytes,
  (() => {
    const pattern = Buffer.alloc(65_537);
    for (let at = 0; at < pattern.length; at++) pattern[at] = (at * 31 + (at >> 8)) & 255;
    return pattern;
  })(),
);

/** A way whose sending can be looked at and changed. */
type Change = (way: DirectWay) => Partial<DirectWay>;

/** A server that streams `?from-to` of one file over each connection as often as it is asked. */
async function streamLab(t: Test, change: Change = () => ({})) {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-sender-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "file");
  writeFileSync(path, wholeFile);
  const sender = await openFileSender();
  if (!sender) throw new Error("koffi is not installed");
  const seen = { ways: 0, open: 0, byKernel: 0 };
  const watched: FileSender = {
    sentOver: sender.sentOver,
    open(socket) {
      const way = sender.open(socket);
      if (!way) return undefined;
      seen.ways++;
      seen.open++;
      const changed = { ...way, ...change(way) };
      return {
        async send(...words) {
          const sent = await changed.send(...words);
          seen.byKernel += sent;
          return sent;
        },
        close() {
          seen.open--;
          way.close();
        },
      };
    },
  };
  const results: boolean[] = [];
  const server = createWebServer((request, response) => {
    void (async () => {
      const [from = 0, to = fileBytes - 1] = request.url?.match(/[0-9]+/g)?.map(Number) ?? [];
      const file = await open(path);
      response.writeHead(200, { "content-length": to - from + 1 });
      const part = { from, to, chunk: 1024 * 1024, sender: watched };
      const isWhole = await stream(file, response, request.socket, part);
      if (isWhole) response.end();
      await file.close();
      results.push(isWhole);
      server.emit("streamed");
    })();
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const fetchPart = async (part = "") => {
    const response = await fetch(`http://127.0.0.1:${port}/?${part}`);
    return Buffer.from(await response.arrayBuffer());
  };
  /** So many answers are over, files closed and all. */
  const streamed = async (count: number) => {
    while (results.length < count) await once(server, "streamed");
  };
  return { server, port, path, seen, results, fetchPart, streamed };
}

t.test("the kernel sends a file, octet for octet, and most of it past this process", async (t) => {
  const lab = await streamLab(t);
  t.equal(sha256Of(await lab.fetchPart()), sha256Of(wholeFile));
  await lab.streamed(1);
  t.ok(lab.seen.byKernel > fileBytes / 4, `${lab.seen.byKernel} of ${fileBytes} octets by the kernel`);
  t.equal(lab.seen.open, 0, "its descriptor is closed");
});

t.test("parts at odd places, several at once, each over a connection that is used again", async (t) => {
  const lab = await streamLab(t);
  const parts = [
    [1, 70_001],
    [65_535, 131_071],
    [fileBytes - 100_001, fileBytes - 1],
    [4_095, 7_000_001],
    [0, 0],
  ] as const;
  for (let round = 0; round < 3; round++)
    for (const [from, to, part] of await Promise.all(
      parts.map(async ([from, to]) => [from, to, await lab.fetchPart(`${from}-${to}`)] as const),
    ))
      t.equal(sha256Of(part), sha256Of(wholeFile.subarray(from, to + 1)), `${from}-${to}`);
  await lab.streamed(3 * parts.length);
  t.equal(lab.seen.open, 0);
});

t.test("a small part is written by Node", async (t) => {
  const lab = await streamLab(t);
  t.equal((await lab.fetchPart("5-60000")).length, 59_996);
  t.equal(lab.seen.ways, 0);
});

t.test(
  "a socket that takes nothing more, or a file that the kernel can't send, is written by Node",
  async (t) => {
    const lab = await streamLab(t, () => ({ send: async () => 0 }));
    t.equal(sha256Of(await lab.fetchPart()), sha256Of(wholeFile));
    t.equal(lab.seen.byKernel, 0);
  },
);

t.test(
  "a client that goes in the middle: the file is closed, and nothing reaches who comes after it",
  async (t) => {
    let mayGoOn = (): void => undefined;
    const goes = new Promise<void>((resolve) => (mayGoOn = resolve));
    let sends = 0;
    const lab = await streamLab(t, (way) => ({
      async send(...words) {
        // The call that was on its way when the client went.
        if (++sends === 1) await goes;
        return way.send(...words);
      },
    }));
    const client = connect(lab.port, "127.0.0.1");
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(client, "data");
    const [socket] = await Promise.all([
      once(lab.server, "connection").then(([next]) => next as unknown),
      (async () => {
        const next = connect(lab.port, "127.0.0.1");
        t.teardown(() => next.destroy());
        await once(next, "connect");
      })(),
    ]);
    t.ok(socket);
    client.resetAndDestroy();
    await once(client, "close");
    mayGoOn();
    await lab.streamed(1);
    t.same(lab.results, [false]);
    t.equal(lab.seen.open, 0);
    t.equal(sha256Of(await lab.fetchPart()), sha256Of(wholeFile), "another client gets its own");
    await lab.streamed(2);
    t.notOk(
      readdirSync("/proc/self/fd").some((fd) => isOpenAt(fd, lab.path)),
      "no file is left open",
    );
  },
);

function isOpenAt(fd: string, path: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === path;
  } catch {
    return false;
  }
}

t.test("a file that has become shorter breaks the connection: never a short answer", async (t) => {
  let path = "";
  let isCut = false;
  const lab = await streamLab(t, (way) => ({
    send(...words) {
      if (!isCut) truncateSync(path, 3_000_000);
      isCut = true;
      return way.send(...words);
    },
  }));
  path = lab.path;
  await t.rejects(lab.fetchPart());
  await lab.streamed(1);
  t.same(lab.results, [false]);
  t.equal(lab.seen.open, 0);
});

t.test("what is no socket of the kernel has no such way", async (t) => {
  const sender = await openFileSender();
  t.equal(sender?.open({}), undefined);
  const { Socket } = await import("node:net");
  t.equal(sender?.open(new Socket()), undefined, "it is not connected");
});

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { curl, sha256Of, startServer, type TestServer } from "./support/http-fixture.ts";
import { fillUp, smallDisk, temporaryDirectory } from "./support/samples.ts";

const content = Buffer.from(Array.from({ length: 5000 }, (_, index) => index % 251));

t.test("assets", async (t) => {
  const server = await startServer(t);
  const sha256 = await server.put(content);
  const path = `/assets/${sha256}/vmlinuz`;
  const get = (headers: Record<string, string> = {}, method: "GET" | "HEAD" = "GET") =>
    server.ask(path, { method, headers });

  t.test("arrive whole, may be kept for ever, and say what they are", async (t) => {
    const { status, headers, bytes } = await get();
    t.equal(status, 200);
    t.ok(bytes.equals(content));
    t.match(headers, {
      etag: `"${sha256}"`,
      "accept-ranges": "bytes",
      "content-length": "5000",
      "cache-control": /immutable/,
      "content-type": "application/octet-stream",
    });
    for (const [name, type] of [
      ["x.efi", "application/efi"],
      ["x.iso", "application/vnd.efi-iso"],
      ["x.img", "application/vnd.efi-img"],
    ])
      t.equal((await server.ask(`/assets/${sha256}/${name}`)).headers["content-type"], type);
  });
  t.test("HEAD has the headers of GET and no body, also with Range (RFC 9110 section 14.2)", async (t) => {
    const { headers: whole } = await get();
    for (const more of [{}, { range: "bytes=0-9" }] as Record<string, string>[]) {
      const { status, headers, bytes } = await get(more, "HEAD");
      t.equal(status, 200);
      for (const name of ["etag", "accept-ranges", "content-length", "cache-control", "content-type"])
        t.equal(headers[name], whole[name], name);
      t.equal(headers["content-range"], undefined);
      t.equal(bytes.length, 0);
    }
  });
  t.test("one range is answered with 206 and those octets (RFC 9110 section 14)", async (t) => {
    const ranges: [string, number, number][] = [
      ["bytes=0-0", 0, 0],
      ["bytes=10-19", 10, 19],
      ["bytes=4990-", 4990, 4999],
      ["bytes=-10", 4990, 4999],
      ["bytes=4999-9999999999", 4999, 4999],
      ["bytes=-999999", 0, 4999],
    ];
    for (const [range, from, to] of ranges) {
      const { status, headers, bytes } = await get({ range });
      t.equal(status, 206, range);
      t.equal(headers["content-range"], `bytes ${from}-${to}/5000`);
      t.equal(headers["content-length"], String(to - from + 1));
      t.ok(bytes.equals(content.subarray(from, to + 1)), range);
    }
  });
  t.test("a range beyond the end, or that ends before it begins, is 416 and tells the length", async (t) => {
    for (const range of [
      "bytes=5000-",
      "bytes=5000-6000",
      "bytes=-0",
      "bytes=999999999999999-",
      "bytes=5-2",
    ]) {
      const { status, headers, bytes } = await get({ range });
      t.match([status, headers["content-range"], bytes.length], [416, "bytes */5000", 0], range);
    }
  });
  t.test("what is no single range is answered whole", async (t) => {
    const bomb = `bytes=${Array.from({ length: 1000 }, () => "0-").join()}`;
    for (const range of [
      "bytes=0-1,5-6",
      bomb,
      "bytes=-",
      "bytes=a-b",
      "lines=1-2",
      "bytes=1-2;q=1",
      "bytes= 0x1-2",
    ]) {
      const { status, bytes } = await get({ range });
      t.match([status, bytes.length], [200, 5000], range.slice(0, 20));
    }
  });
  t.test("If-Range with another validator makes the answer whole (RFC 9110 section 13.1.5)", async (t) => {
    const range = "bytes=0-9";
    t.equal((await get({ range, "if-range": `"${sha256}"` })).status, 206);
    for (const validator of [`W/"${sha256}"`, '"other"', "Wed, 21 Oct 2026 07:28:00 GMT"])
      t.equal((await get({ range, "if-range": validator })).status, 200, validator);
  });
  t.test(
    "If-None-Match is answered 304 where the tag is known: alone, weak, in a list, or any",
    async (t) => {
      for (const tag of [`"${sha256}"`, `W/"${sha256}"`, `"other", "${sha256}"`, "*"]) {
        const { status, headers, bytes } = await get({ "if-none-match": tag, range: "bytes=0-1" });
        t.match([status, headers["etag"], bytes.length], [304, `"${sha256}"`, 0], tag);
      }
      t.equal((await get({ "if-none-match": '"other"' })).status, 200);
    },
  );
  t.test("what is not a digest of ours is 404, however it is written, and opens nothing", async (t) => {
    const secret = join(server.dataDir, "rollcall.db");
    const upper = sha256.toUpperCase();
    const names = [
      `/assets/${"0".repeat(64)}/x`,
      `/assets/${upper}/x`,
      `/assets/${sha256}0/x`,
      `/assets/${sha256.slice(1)}/x`,
      `/assets/${sha256}%00/x`,
      `/assets/${sha256}%2e/x`,
      `/assets/..%2f..%2frollcall.db/x`,
      `/assets/%2e%2e%2f%2e%2e%2frollcall.db/x`,
      `/assets/..%5c..%5crollcall.db/x`,
      `/assets/%252e%252e%252frollcall.db/x`,
      "/assets/../rollcall.db",
      "/assets/../../rollcall.db",
      `/assets/sha256/../${sha256}`,
      "/assets/..%c0%af..%c0%afrollcall.db/x",
      "/assets//etc/passwd",
      "/assets/%2fetc%2fpasswd/x",
      "/nbp/..%2f..%2fpackage.json",
      "/nbp/%2e%2e",
      "/nbp/constructor",
      "/nbp/manifest.json",
    ];
    const head = readFileSync(secret).subarray(0, 15).toString();
    const answers = await Promise.all(
      names.map((name) => curl("--path-as-is", "--write-out", " %{http_code}", `${server.url}${name}`)),
    );
    for (const [index, answer] of answers.entries()) {
      t.match(answer, / (404|400)$/, names[index] ?? "");
      t.notOk(answer.includes(head) || answer.includes("root:"), names[index] ?? "");
    }
  });
  t.test("any name may stand behind the digest", async (t) => {
    for (const name of ["a", "%20", "..%2f..%2fetc", "%F0%9F%90%A7", "x".repeat(290)])
      t.equal((await server.ask(`/assets/${sha256}/${name}`)).status, 200, name);
  });
  t.test("several files come over one connection, as iPXE asks for them", async (t) => {
    const output = await curl(
      ...[path, "/healthz", path, `/assets/${"0".repeat(64)}/x`, path].flatMap((each) => [
        "--output",
        "/dev/null",
        server.url + each,
      ]),
      "--write-out",
      "%{num_connects} %{http_code}\n",
    );
    t.equal(output, "1 200\n0 200\n0 200\n0 404\n0 200\n");
  });
  t.test("first-stage binaries are there for UEFI HTTP boot, which asks with HEAD first", async (t) => {
    const { headers, bytes } = await server.ask("/nbp/snponly.efi");
    t.ok(bytes.equals(server.nbp));
    t.match(headers, { "content-type": "application/efi", etag: `"${sha256Of(server.nbp)}"` });
    const head = await server.ask("/nbp/snponly.efi", { method: "HEAD" });
    t.match(
      [head.status, head.headers["content-length"], head.bytes.length],
      [200, String(server.nbp.length), 0],
    );
  });
  t.test("an empty file is served as one", async (t) => {
    const empty = await server.put("");
    t.match(await server.ask(`/assets/${empty}/x`), {
      status: 200,
      text: "",
      headers: { "content-length": "0" },
    });
    t.equal((await server.ask(`/assets/${empty}/x`, { headers: { range: "bytes=0-" } })).status, 416);
  });
});

/** Files below a directory that this process has open. */
function openBelow(directory: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) ? [target] : [];
    } catch {
      return [];
    }
  });
}

/** Resolves when the condition holds; what it waits for has no event of its own. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Asks on a raw connection and reads only until something came. */
async function beginDownload(server: TestServer, path: string) {
  const socket = connect(server.port, "127.0.0.1");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.pause();
  return { socket, first };
}

t.test("large downloads", async (t) => {
  const server = await startServer(t);
  const large = randomBytes(20 * 1024 * 1024 + 7);
  const sha256 = await server.put(large);
  const path = `/assets/${sha256}/root.squashfs`;
  const file = join(server.blobs, "sha256", sha256.slice(0, 2), sha256);

  t.test("20 MB arrive equal, also in parts and by several at once", async (t) => {
    const middle = 10 * 1024 * 1024 + 3;
    const [whole, first, second] = await Promise.all([
      server.ask(path, { from: 1 }),
      server.ask(path, { from: 2, headers: { range: `bytes=0-${middle - 1}` } }),
      server.ask(path, { from: 3, headers: { range: `bytes=${middle}-` } }),
    ]);
    t.equal(sha256Of(whole.bytes), sha256);
    t.equal(sha256Of(Buffer.concat([first.bytes, second.bytes])), sha256);
  });
  t.test("curl resumes a download that broke off", async (t) => {
    const part = join(temporaryDirectory(t), "part");
    writeFileSync(part, large.subarray(0, 1_234_567));
    await curl("--continue-at", "-", "--output", part, server.url + path);
    t.equal(sha256Of(readFileSync(part)), sha256);
  });
  t.test("a client that goes away mid-way leaves no open file behind", async (t) => {
    const downloads = await Promise.all(Array.from({ length: 5 }, () => beginDownload(server, path)));
    t.equal(openBelow(server.blobs).length, 5, "while they are slow, their files are open");
    for (const { socket } of downloads) socket.destroy();
    await until(() => openBelow(server.blobs).length === 0);
    t.same(openBelow(server.blobs), []);
  });
  t.test("a file that is cut short under way breaks the connection: never a short 200", async (t) => {
    const { socket, first } = await beginDownload(server, path);
    t.match(first.toString("latin1"), /^HTTP\/1\.1 200 OK\r\n/);
    truncateSync(file, 12 * 1024 * 1024);
    let received = first.length;
    socket.on("data", (chunk: Buffer) => (received += chunk.length)).resume();
    socket.on("error", () => undefined);
    await once(socket, "close");
    t.ok(received < large.length);
    await until(() => openBelow(server.blobs).length === 0);
    writeFileSync(file, large);
  });
  t.test(
    "a disk that can't be read breaks the connection and is in the log, and the server lives on",
    async (t) => {
      const broken = "b".repeat(64);
      // A directory opens and has a size, and reading it fails: as near to a broken disk as a test can come.
      mkdirSync(join(server.blobs, "sha256/bb", broken), { recursive: true });
      await t.rejects(server.ask(`/assets/${broken}/x`));
      t.ok(server.logged.some((line) => line.includes("EISDIR")));
      await until(() => openBelow(server.blobs).length === 0);
      t.equal((await server.ask("/healthz")).status, 200);
    },
  );
});

t.test("uploads", async (t) => {
  const server = await startServer(t);
  const put = (sha256: string, body: Buffer) =>
    server.ask(`/api/v1/contents/${sha256}`, { method: "PUT", token: server.adminToken, body });
  const leftovers = () => readdirSync(join(server.blobs, "uploads"));

  t.test("with another digest than announced are refused and leave nothing", async (t) => {
    const answer = await put("0".repeat(64), content);
    t.match([answer.status, answer.json], [400, { code: "UPLOAD_REJECTED" }]);
    t.same(leftovers(), []);
    t.equal((await server.ask(`/assets/${"0".repeat(64)}/x`)).status, 404);
  });
  t.test("that break off leave nothing", async (t) => {
    const socket = connect(server.port, "127.0.0.1");
    const lines = [
      `PUT /api/v1/contents/${sha256Of(content)} HTTP/1.1`,
      "Host: localhost",
      "Content-Length: 5000",
    ];
    socket.write([...lines, `Authorization: Bearer ${server.adminToken}`, "", ""].join("\r\n"));
    socket.write(content.subarray(0, 1000));
    await until(() => leftovers().length === 1);
    socket.destroy();
    await until(() => leftovers().length === 0);
    t.equal((await server.ask(`/assets/${sha256Of(content)}/x`)).status, 404);
  });
  t.test(
    "of the same content at once are one content, and a second one is told that it is there",
    async (t) => {
      const answers = await Promise.all([1, 2, 3].map(() => put(sha256Of(content), content)));
      for (const { status } of answers) t.match(String(status), /^20[01]$/);
      t.equal((await put(sha256Of(content), content)).status, 200);
      t.same(leftovers(), []);
    },
  );
});

t.test("on a full disk", async (t) => {
  const disk = smallDisk(t, 80);
  const server = await startServer(t, { dataDir: join(disk, "data") });
  await server.addImage();
  await server.add(1, "s1");
  await server.assign("s1", "worker");
  const sha256 = await server.put(content);
  const ballast = join(disk, "ballast");
  fillUp(ballast, 64 * 1024 * 1024);

  t.test(
    "uploads are refused before anything is written (507), since the database needs its reserve",
    async (t) => {
      const big = randomBytes(1024 * 1024);
      const { status, json } = await server.ask(`/api/v1/contents/${sha256Of(big)}`, {
        method: "PUT",
        token: server.adminToken,
        body: big,
      });
      t.match([status, json], [507, { code: "DISK_FULL" }]);
      t.equal((await server.ask("/readyz")).status, 200, "the database has room left");
    },
  );
  t.test("readyz is 503, writes are refused with what to do, files are served all the same", async (t) => {
    fillUp(ballast);
    // The write-ahead log may have room inside for a few writes more.
    let ready = await server.ask("/readyz");
    while (ready.status === 200) ready = await server.ask("/readyz");
    t.match([ready.status, ready.json, ready.headers["retry-after"]], [503, { code: "STORE_FAILED" }, "2"]);
    const refused = await server.add(2, "s2");
    t.match([refused.status, refused.json], [503, { code: "STORE_FAILED", advice: /df -h/ }]);
    t.ok((await server.ask(`/assets/${sha256}/x`)).bytes.equals(content));
    t.equal((await server.ask("/healthz")).status, 200);
  });
  t.test("the machine reads it on its screen and tries again", async (t) => {
    const { status, text } = await server.script(1);
    t.equal(status, 200);
    t.match(text, /^#!ipxe\n[\s\S]*STORE_FAILED[\s\S]*\nsleep \d+ \|\|\nchain /);
  });
  t.test("with space again everything goes on, without a restart", async (t) => {
    rmSync(ballast);
    t.equal((await server.ask("/readyz")).status, 200);
    t.equal((await server.add(2, "s2")).status, 201);
    t.ok(await server.claim(1));
  });
});

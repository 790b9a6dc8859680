import { connect } from "node:net";
import t from "tap";
import { randomFrom } from "./support/dhcp-fuzz.ts";
import { startServer } from "./support/http-fixture.ts";
import { macOf } from "./support/samples.ts";

const requests = 3000;
/** A request that is cut off is ended by us. */
const patienceMs = 250;

const paths = [
  "/boot.ipxe",
  "/autoexec.ipxe",
  `/boot/${macOf(1).replaceAll(":", "-")}/boot.ipxe`,
  "/boot/claims/x/cloud-init/user-data",
  "/boot/claims/x/ignition.json",
  "/callback/x/phase",
  "/callback/x/joined",
  "/callback/x/failed",
  "/callback/x/log",
  "/callback/x/join",
  "/node/instruction?done=0&wait=0",
  "/node/report?sequence=1&result=0&phase=join",
  "/nbp/snponly.efi",
  `/assets/${"a".repeat(64)}/vmlinuz`,
  "/healthz",
];
const pieces = [
  "%00",
  "%2e%2e",
  "..",
  "//",
  "?",
  "&uuid=",
  "%",
  "%ff",
  "\xff",
  "'",
  '"',
  "<",
  "a".repeat(3000),
  "${",
  "{{",
  ";",
];
const headers = [
  "Range: bytes=0-0,2-1",
  "Range: bytes=-99999999999999999999",
  "If-Range: x",
  'If-None-Match: "',
  "Content-Length: 5",
  "Content-Length: -1",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: x",
  "Content-Type: application/json",
  "Content-Type: application/x-www-form-urlencoded",
  "Accept-Encoding: gzip",
  "Connection: close",
  "Expect: 100-continue",
  "Upgrade: websocket",
  "Host: elsewhere",
  ": empty",
  " folded",
  `X: ${"y".repeat(20_000)}`,
];
const bodies = ["", "hello", "{", "step=kernel&x=%", "5\r\nhello\r\n0\r\n\r\n", "\0\xff", "z".repeat(5000)];

t.test(
  `${requests} senseless HTTP requests at the routes of machines: no 500, no error in the log, and it goes on`,
  async (t) => {
    const server = await startServer(t);
    const random = randomFrom(20261121);
    const oneOf = <T>(all: readonly T[]): T => all[random(all.length)] as T;

    function request(): Buffer {
      let path = oneOf(paths);
      for (let change = random(2) ? 0 : random(3); change > 0; change--) {
        const at = random(path.length + 1);
        path = path.slice(0, at) + oneOf(pieces) + path.slice(random(2) ? at : at + random(4));
      }
      const method = oneOf(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]);
      const lines = [
        `${method} ${path} HTTP/1.${oneOf(["1", "1", "1", "1", "1", "1", "0", "7"])}`,
        `Host: 127.0.0.1:${server.port}`,
      ];
      for (let more = random(2) ? 0 : random(4); more > 0; more--) lines.push(oneOf(headers));
      const octets = Buffer.from(`${lines.join("\r\n")}\r\n\r\n${oneOf(bodies)}`, "latin1");
      for (let change = random(6) ? 0 : random(10); change > 0; change--)
        octets[random(octets.length)] = random(256);
      return octets.subarray(0, random(10) ? undefined : random(octets.length + 1));
    }

    /** @returns the status lines that came back */
    const ask = (octets: Buffer) =>
      new Promise<string[]>((done) => {
        const socket = connect(server.port, "127.0.0.1");
        let heard = "";
        const limit = setTimeout(() => socket.destroy(), patienceMs);
        socket.on("data", (chunk) => (heard += chunk.toString("latin1")));
        socket.on("error", () => undefined);
        socket.on("close", () => {
          clearTimeout(limit);
          done(heard.match(/^HTTP\/1\.1 \d{3}/gm) ?? []);
        });
        socket.end(octets);
      });

    const statuses = new Map<string, number>();
    for (let sent = 0; sent < requests; sent += 50)
      for (const line of (await Promise.all(Array.from({ length: 50 }, () => ask(request())))).flat())
        statuses.set(line.slice(9), (statuses.get(line.slice(9)) ?? 0) + 1);
    t.comment(JSON.stringify([...statuses]));
    t.same(
      [...statuses.keys()].filter((status) => status.startsWith("5") && status !== "503"),
      [],
      "no fault of the server's own",
    );
    for (const expected of ["200", "400", "403", "404"])
      t.ok((statuses.get(expected) ?? 0) > 0, `${expected} was among the answers`);
    t.same(
      server.logged.filter((line) => line.startsWith("error")),
      [],
    );
    t.match((await server.ask("/boot.ipxe")).text, /^#!ipxe\n/, "it goes on");
  },
);

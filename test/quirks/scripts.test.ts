/** Firmware-quirks of HTTP, iPXE scripts and what they load: one test a row, against the whole server (docs/conformance.md). */
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { root } from "../../server/platform/checkout.ts";
import { scriptFaults } from "../../server/render/script-lines.ts";
import { playScripts } from "../support/script-check.ts";
import { startServer, type TestServer } from "../support/http-fixture.ts";

interface RawAnswer {
  readonly status: number;
  readonly lines: readonly string[];
  readonly body: string;
  header(name: string): string | undefined;
}

/** Requests one after the other on one connection, as firmware writes them; nothing is interpreted. */
async function askRaw(server: TestServer, requests: readonly string[]): Promise<RawAnswer[]> {
  const socket = connect(server.port, "127.0.0.1");
  let heard = "";
  let wake = () => {};
  socket.on("data", (chunk) => {
    heard += chunk.toString("latin1");
    wake();
  });
  const ended = new Promise<"ended">((done) => socket.once("close", () => done("ended")));
  const more = () => Promise.race([new Promise<"more">((done) => (wake = () => done("more"))), ended]);
  const answers: RawAnswer[] = [];
  for (const request of requests) {
    socket.write(`${request}\r\nHost: 127.0.0.1:${server.port}\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n`);
    while (!heard.includes("\r\n\r\n"))
      if ((await more()) === "ended") throw new Error(`closed after ${request}`);
    const [head = ""] = heard.split("\r\n\r\n", 1);
    const [first = "", ...lines] = head.split("\r\n");
    const header = (name: string) =>
      lines
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim();
    const length = request.startsWith("HEAD") ? 0 : Number(header("content-length"));
    heard = heard.slice(head.length + 4);
    while (heard.length < length) if ((await more()) === "ended") throw new Error("closed within a body");
    answers.push({ status: Number(first.split(" ")[1]), lines, body: heard.slice(0, length), header });
    heard = heard.slice(length);
  }
  socket.destroy();
  return answers;
}

const bootPaths = ["/boot.ipxe", "/autoexec.ipxe", "/nbp/snponly.efi", "/boot/52-54-00-00-00-01/boot.ipxe"];

t.test(
  "Q11: no redirect, no chunks, a length always, no empty header, and the connection stays open",
  async (t) => {
    const server = await startServer(t);
    const { kernel } = await server.addImage();
    const paths = [
      ...bootPaths,
      `/assets/${kernel}/vmlinuz`,
      "/nbp/not-there.efi",
      "//nbp//snponly.efi",
      "/./boot.ipxe",
    ];
    const answers = await askRaw(
      server,
      paths.map((path) => `GET ${path} HTTP/1.1`),
    );
    for (const [index, { status, lines, header }] of answers.entries()) {
      const path = paths[index];
      t.notOk(status >= 300 && status < 400, `${path}: ${status} is no redirect`);
      t.ok(header("content-length"), `${path}: Content-Length`);
      t.equal(header("transfer-encoding"), undefined, `${path}: no chunks`);
      t.same(
        lines.filter((line) => /^[^:]+:\s*$/.test(line)),
        [],
        `${path}: no empty header`,
      );
      t.not(header("connection")?.toLowerCase(), "close", `${path}: the connection stays`);
    }
    t.equal(answers.length, paths.length, "all on one connection");
    for (const path of ["/nbp/snponly.efi", "//nbp//snponly.efi"])
      t.equal(answers[paths.indexOf(path)]?.body, server.nbp.toString(), path);
  },
);

t.test("Q11: HEAD has the length of GET for every file that firmware boots, and no body", async (t) => {
  const server = await startServer(t);
  const { kernel } = await server.addImage();
  const paths = ["/boot.ipxe", "/autoexec.ipxe", "/nbp/snponly.efi", `/assets/${kernel}/vmlinuz`];
  const answers = await askRaw(
    server,
    paths.flatMap((path) => [`HEAD ${path} HTTP/1.1`, `GET ${path} HTTP/1.1`]),
  );
  for (const [index, path] of paths.entries()) {
    const [head, get] = answers.slice(index * 2, index * 2 + 2);
    t.equal(head?.status, 200, path);
    t.equal(Number(head?.header("content-length")), get?.body.length, path);
    t.equal(head?.header("content-type"), get?.header("content-type"), path);
  }
});

/** A machine with a role, its script, and the script of its first contact. */
async function withScripts(t: Parameters<typeof startServer>[0]) {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1");
  await server.assign("s1", "worker");
  const contact = (await server.ask("/boot.ipxe", { from: 1 })).text;
  const script = (await server.script(1)).text;
  const waiting = (await server.script(2)).text;
  return { server, contact, script, waiting };
}

t.test("Q12: every URL of every script has an address in it and no name", async (t) => {
  const { contact, script, waiting } = await withScripts(t);
  for (const text of [contact, script, waiting]) {
    const urls = text.match(/https?:\/\/[^/\s]+/g) ?? [];
    t.ok(urls.length > 0);
    for (const url of urls) t.match(url, /^http:\/\/\d+\.\d+\.\d+\.\d+(:\d+)?$/);
  }
});

t.test("Q13: the script of the first contact asks again and again where it is not answered", async (t) => {
  const { contact } = await withScripts(t);
  let failures = 0;
  const { ending, effects } = playScripts(contact, {
    hasAddress: false,
    fails: ({ kind }) => (kind === "dhcp" || kind === "chain") && failures++ < 10,
    script: () => "#!ipxe\nexit 1\n",
  });
  t.match(ending, { kind: "exit", status: 1 }, "it arrived");
  t.ok(effects.filter(({ kind }) => kind === "sleep").length >= 5, "with a wait after each failure");
});

t.test(
  "Q16: autoexec.ipxe is the script of the first contact, over HTTP too, and what is not there is told at once",
  async (t) => {
    const server = await startServer(t);
    const [autoexec, contact, missing] = await askRaw(server, [
      "GET /autoexec.ipxe HTTP/1.1",
      "GET /boot.ipxe HTTP/1.1",
      "GET /nbp/none.ipxe HTTP/1.1",
    ]);
    t.match(autoexec?.body, /^#!ipxe\n/);
    t.equal(autoexec?.body, contact?.body);
    t.equal(missing?.status, 404);
  },
);

t.test(
  "Q18: scripts need no HTTPS, and the root file system's digest goes to the initramfs, which checks it",
  async (t) => {
    const { server, contact, script } = await withScripts(t);
    t.notMatch(`${contact}${script}`, /https:/);
    const { files } = ((await server.api("GET", "/images")).items[0] ?? {}) as unknown as {
      files: { rootfs: { sha256: string } };
    };
    t.match(script, `rollcall.sha256=${files.rootfs.sha256}`);
    const initramfs = readFileSync(
      join(root, "server/image/recipes/debian-node/initramfs/scripts/rollcall.d/download"),
      "utf8",
    );
    t.match(initramfs, /\[ "\$digest" = "\$rollcall_sha256" \]/);
  },
);

t.test(
  "Q39: firmware loads kernel and a small initrd; the root file system is the initramfs's to load",
  async (t) => {
    const { script } = await withScripts(t);
    const loaded = [...script.matchAll(/^(kernel|initrd)\b.*?(http:\S+)/gm)].map(([, word, url]) => [
      word,
      url?.split("/").at(-1),
    ]);
    t.same(loaded, [
      ["kernel", "vmlinuz"],
      ["initrd", "initrd.img"],
    ]);
    t.match(script, /rollcall\.root=http:\S+\/root\.squashfs/);
  },
);

/** Commands of iPXE in 2015 with every default build (src/hci/commands, config/general.h at v1.0.0+). */
const oldCommands = new Set(
  "autoboot boot chain config console cpuid dhcp echo exit goto iflinkwait ifopen ifclose ifstat imgargs imgexec imgfree imgselect imgstat inc initrd isset iseq item kernel login menu param params prompt read reboot route sanboot sanhook sanunhook set shell show sleep sync time clear choose cpuid poweroff".split(
    " ",
  ),
);
/** Not in every old or small build, so they need a way on where they fail (firmware-quirks Q18, Q43). */
const uncertain = new Set([
  "iflinkwait",
  "param",
  "params",
  "console",
  "ntp",
  "imgverify",
  "imgtrust",
  "poweroff",
  "reboot",
  "sanboot",
  "time",
  "sync",
]);

t.test(
  "Q43: scripts keep to the commands of old builds; what a build may lack has a way on behind it",
  async (t) => {
    const { contact, script, waiting } = await withScripts(t);
    const templates = join(root, "templates/ipxe");
    const texts = [
      contact,
      script,
      waiting,
      ...readdirSync(templates).map((name) => readFileSync(join(templates, name), "utf8")),
    ];
    for (const text of texts)
      for (const line of text.split("\n")) {
        const command = /^\s*([a-z][a-z0-9]*)\b/.exec(line)?.[1];
        if (command === undefined) continue;
        t.ok(oldCommands.has(command) || line.includes("||"), line.slice(0, 60));
        if (uncertain.has(command)) t.match(line, /\|\||&&/, `${command} may fail: ${line.slice(0, 60)}`);
      }
  },
);

t.test("Q44: the URLs that iPXE is sent to end in .ipxe", async (t) => {
  const { contact, script, waiting } = await withScripts(t);
  for (const text of [contact, script, waiting])
    for (const [, url = ""] of text.matchAll(/^chain .*?(http:\S+)/gm)) t.match(url.split("?")[0], /\.ipxe$/);
});

t.test(
  "W-06: a script is always 200, and what a machine may not have is 403: no redirect, no 401, no circle",
  async (t) => {
    const server = await startServer(t);
    const { status, text } = await server.ask("/boot/nonsense/boot.ipxe");
    t.equal(status, 200);
    t.match(text, /^#!ipxe\n/);
    t.equal((await server.ask("/boot/claims/none/cloud-init/user-data")).status, 403);
  },
);

t.test(
  "W-07: a script begins with #!ipxe, has LF lines, no NUL and no BOM, and asks for settings in URLs as iPXE encodes them",
  async (t) => {
    const { contact, script, waiting } = await withScripts(t);
    for (const text of [contact, script, waiting]) {
      t.ok(text.startsWith("#!ipxe\n"));
      t.notMatch(text, /[\r\0\ufeff]/);
    }
    t.match(contact, /\$\{netX\/mac:hexhyp\}/);
    for (const setting of ["serial", "manufacturer", "product"]) t.match(contact, `\${${setting}:uristring}`);
  },
);

t.test(
  "W-08: behind every line that loads something is what happens when it fails, with a wait before the next try",
  async (t) => {
    const { contact, script, waiting } = await withScripts(t);
    for (const text of [contact, script, waiting]) {
      t.same(scriptFaults(text), []);
      const nothing = { hasAddress: true, script: () => undefined };
      const playing = playScripts(text, { ...nothing, fails: ({ kind }) => kind !== "reboot" });
      t.match(playing, { ending: { kind: "reboot" }, silentWaits: [], screen: { length: Number } });
      t.ok(playing.sleptSeconds > 15 * 60, "it waited longer than a server's update takes");
    }
  },
);

t.test("W-09: whatever has a claim in it may not be stored on the way", async (t) => {
  const { server, script } = await withScripts(t);
  const claim = /\/callback\/([a-z0-9]+)/.exec(script)?.[1] ?? "";
  // Its next script would end the claim, so that comes last.
  for (const path of [`/boot/claims/${claim}/cloud-init/user-data`, "/boot/52-54-00-00-00-01/boot.ipxe"]) {
    const { status, headers } = await server.ask(path, { from: 1 });
    t.equal(status, 200);
    t.equal(headers["cache-control"], "no-store", path);
  }
});

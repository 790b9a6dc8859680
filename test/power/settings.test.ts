import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import { createHostKeys } from "../../server/power/host-keys.ts";
import { makeKey } from "../../server/power/own-key.ts";
import { openStore } from "../../server/store/open-store.ts";
import { plain, startServer } from "../support/http-fixture.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sampleMachine } from "../support/samples.ts";

const canary = "canary-7f3a";
const board = { method: "ipmi", address: "10.0.0.50", user: "admin", password: canary };

t.test(
  "a board's password goes in, and nothing that leaves the server or lies on its disk has it",
  async (t) => {
    const server = await startServer(t);
    await server.add(4, "s4");
    t.match((await server.api("GET", "/machines/s4/power")).json, { settings: null });
    const set = await server.api("PUT", "/machines/s4/power", board);
    t.equal(set.status, 200, set.text);
    t.match(set.json, {
      settings: { method: "ipmi", address: "10.0.0.50", user: "admin", hasPassword: true },
    });
    const told = [set.text];
    for (const path of ["/machines/s4/power", "/machines/s4", "/machines", "/events?limit=100"])
      told.push((await server.api("GET", path)).text);
    t.match(told[2], /"power":\{"method":"ipmi"/);
    // A slip beside it must not bring it into an error either.
    told.push(
      (await server.api("PUT", "/machines/s4/power", { ...board, address: "-oProxyCommand=x" })).text,
    );
    told.push((await server.api("PUT", "/machines/s4/power", { ...board, password: { a: canary } })).text);
    t.notMatch(told.join("\n"), canary);
    t.notMatch(server.logged.join("\n"), canary);
    await server.stop();
    const grep = execFileSync("sh", ["-c", `grep -rl ${canary} "$1" || :`, "sh", server.dataDir], {
      encoding: "utf8",
    });
    t.equal(grep, "", "it lies sealed");

    const again = await startServer(t, { dataDir: server.dataDir });
    const ask = async (method: "GET" | "DELETE") =>
      again.api(method, "/machines/s4/power", undefined, server.adminToken);
    t.match((await ask("GET")).json, { settings: { method: "ipmi", hasPassword: true } });
    t.equal((await ask("DELETE")).status, 204);
    t.match((await ask("GET")).json, { settings: null });
  },
);

const idOf = async (server: Awaited<ReturnType<typeof startServer>>, name: string) =>
  plain((await server.api("GET", `/machines/${name}`)).json["id"]);

t.test("a password that is kept goes nowhere else than where it was given for", async (t) => {
  const server = await startServer(t);
  await server.add(4, "s4");
  await server.api("PUT", "/machines/s4/power", board);
  const { password: _, ...same } = board;
  t.equal((await server.api("PUT", "/machines/s4/power", same)).status, 200);
  for (const change of [{ address: "10.0.0.51" }, { port: 624 }, { user: "root" }, { method: "redfish" }]) {
    const answer = await server.api("PUT", "/machines/s4/power", { ...same, ...change });
    t.match(answer, { status: 400 }, JSON.stringify(change));
    t.match(answer.text, /needs a password/);
  }
});

t.test("what could be an option, a command or another line is refused", async (t) => {
  const server = await startServer(t);
  await server.add(4, "s4");
  const put = (change: object) => server.api("PUT", "/machines/s4/power", { ...board, ...change });
  const hosts = [
    "-oProxyCommand=id",
    "--help",
    ";reboot",
    "a;reboot",
    "a b",
    "a\nb",
    "a$(id)",
    "`id`",
    "a/b",
    "a@b",
    "[::1]",
    "10.0.0",
    "10.0.0.256",
    "..",
    "a..b",
    "ä",
    "\u0000",
  ];
  for (const address of hosts) t.equal((await put({ address })).status, 400, JSON.stringify(address));
  for (const user of ["-x", "a b", "a;b", "a\nb", "$(id)", "\u0000"])
    t.equal((await put({ user })).status, 400, JSON.stringify(user));
  for (const password of ["", "a\nb", "a\u0000b", "x".repeat(21), "ä".repeat(11)])
    t.equal((await put({ password })).status, 400, JSON.stringify(password));
  for (const change of [
    { method: "telnet" },
    { port: 0 },
    { port: 65536 },
    { certificate: "ab".repeat(32) },
    { system: "1" },
    { method: "redfish", certificate: "ab" },
    { method: "redfish", system: "../1" },
    { method: "wol" },
    { method: "ssh" },
    { command: "x" },
  ])
    t.equal((await put(change)).status, 400, JSON.stringify(change));
  t.match((await server.api("GET", "/machines/s4/power")).json, { settings: null }, "none of it was kept");
  t.equal((await put({ method: "redfish", certificate: "AB:".repeat(31) + "AB" })).status, 200);
  t.equal((await server.api("PUT", "/machines/s4/power", { method: "wol" })).status, 200);
});

t.test("a machine's callback pins its host key, with the account of the role that it booted", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  await server.add(4, "s4");
  await server.assign("s4", "worker");
  const id = await idOf(server, "s4");
  const callback = async (number: number, form: Record<string, string>, claim?: string) => {
    const secret = claim ?? /\/callback\/([a-z0-9]+)/.exec((await server.script(number)).text)?.[1] ?? "";
    const answer = await server.ask(`/callback/${secret}/joined`, {
      method: "POST",
      from: number,
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(form).toString(),
    });
    t.equal(answer.status, 200, answer.text);
    return secret;
  };
  const [type = "", blob = ""] = makeKey().publicKey.split(" ");
  const claim = await callback(4, { instance_id: "b", pub_key_ed25519: `${type} ${blob} root@s4\n` });
  t.match(server.store.machinePower.hostKeyOf(id), {
    hostKey: `${type} ${blob}`,
    address: "127.0.1.4",
    user: "debian",
  });

  // The same boot can't tell another one afterwards.
  const other = makeKey().publicKey;
  await callback(4, { pub_key_ed25519: other }, claim);
  t.equal(server.store.machinePower.hostKeyOf(id)?.hostKey, `${type} ${blob}`);
  const { items } = await server.api("GET", "/events?type=machine.host-key");
  t.match(items, [{ level: "alarm" }]);
  for (const nonsense of ["", "x", `* ${other}`, "ssh-rsa AAAA"])
    await callback(4, { pub_key_ed25519: nonsense }, claim);
  t.equal((await server.api("GET", "/events?type=machine.host-key")).items.length, 1);

  // Nobody else tells one for it.
  const stranger = await server.ask(`/callback/${claim}/joined`, {
    method: "POST",
    from: 5,
    body: { pub_key_ed25519: other },
  });
  t.equal(stranger.status, 403);
  t.equal(server.store.machinePower.hostKeyOf(id)?.hostKey, `${type} ${blob}`);
});

t.test(
  "of two host keys that are told in the same moment the first counts, and the other is an alarm",
  async (t) => {
    const clock = new ManualClock();
    const store = openStore(":memory:", clock);
    t.teardown(() => store.close());
    await store.machines.add(sampleMachine(1));
    const events: NewEvent[] = [];
    const hostKeys = createHostKeys({
      clock,
      record: (event) => void events.push(event),
      store: store.machinePower,
    });
    const { id } = sampleMachine(1);
    const keys = [makeKey().publicKey, makeKey().publicKey];
    const note = (text: string) =>
      hostKeys.note({
        machine: { id, name: "s1" },
        bootId: "b_1",
        address: "10.0.0.1",
        user: undefined,
        text,
      });
    await Promise.all(keys.map(note));
    t.equal(store.machinePower.hostKeyOf(id)?.hostKey, keys[0]?.split(" ").slice(0, 2).join(" "));
    t.match(events, [{ type: "machine.host-key", level: "alarm" }]);
    t.equal(events.length, 1);
  },
);

t.test(
  "roles that take SSH keys get the server's own, which may restart and stop the machine alone",
  async (t) => {
    const server = await startServer(t);
    await server.addImage();
    await server.add(4, "s4");
    await server.api("PUT", "/machines/s4/role", {
      role: "worker",
      params: { sshKeys: ["ssh-ed25519 AAAA anna"] },
    });
    const { text } = await server.api("GET", "/machines/s4/preview/user-data");
    const { publicKey } = JSON.parse(readFileSync(join(server.dataDir, "pki/ssh.json"), "utf8")) as {
      publicKey: string;
    };
    t.ok(text.includes(publicKey));
    t.match(text, /ssh-ed25519 AAAA anna/);
    t.match(text, /restrict,command=/);
    // A role without that parameter is left as it is.
    await server.api("PUT", "/machines/s4/role", { role: "memtest" });
    t.notOk((await server.api("GET", "/machines/s4/preview/ipxe")).text.includes("rollcall-power"));
  },
);

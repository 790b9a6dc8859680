import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { authorizedKey } from "../../server/power/authorized-key.ts";
import { boot } from "../support/boot-command.ts";
import { startServer, type TestServer } from "../support/http-fixture.ts";
import { startSshPeer } from "../support/ssh-peer.ts";

const roles = { "lab/role.yaml": "extends: worker\nsshCommands: any\n" };

/** Machine 4 has booted the role, and is a real sshd with what the server put into its authorized_keys. */
async function playing(t: Test, role = "lab") {
  const server = await startServer(t, { roles });
  const { publicKey } = JSON.parse(readFileSync(join(server.dataDir, "pki/ssh.json"), "utf8")) as {
    publicKey: string;
  };
  await server.addImage();
  await server.add(4, "s4");
  await server.assign("s4", role);
  const authorized = authorizedKey(publicKey, role === "lab" ? "any" : "orders");
  const { text } = await server.api("GET", "/machines/s4/preview/user-data");
  const isTold = text.includes(authorized.replaceAll('"', '\\"'));
  const peer = await startSshPeer(t, { authorized });
  const claim = /\/callback\/([a-z0-9]+)/.exec((await server.script(4)).text)?.[1];
  await server.ask(`/callback/${claim}/joined`, {
    method: "POST",
    from: 4,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ pub_key_ed25519: `${peer.hostKey} root@s4` }).toString(),
  });
  const place = { method: "ssh", address: "127.0.0.1", port: peer.port, user: "root" };
  await server.api("PUT", "/machines/s4/power", place);
  return { server, peer, isTold };
}

const run = async (server: TestServer, command: string, more: object = {}) =>
  (await server.api("POST", "/commands", { machines: "s4", command, ...more })).items[0];

t.test("an administrator runs a command where the role allows it, and its outputs come back", async (t) => {
  const { server, peer, isTold } = await playing(t);
  t.ok(isTold, "the role's machines get the key for any command");
  t.match(
    await run(server, "echo canary-77ab; echo slip >&2; exit 3"),
    {
      machine: "s4",
      exitCode: 3,
      stdout: "canary-77ab\n",
      stderr: "slip\n",
      shortened: false,
      problem: null,
    },
    peer.log(),
  );
  // Words, patterns and quotes reach the shell there as they were written.
  t.match(await run(server, `printf '%s|' "a  b" '*' "$0"; set -- 1 2; echo "$#"`), {
    exitCode: 0,
    stdout: /^a {2}b\|\*\|[^|]+\|2\n$/,
  });
  t.match(await run(server, "head -c 20000 /dev/zero | tr '\\0' x"), {
    exitCode: 0,
    stdout: /^x{16384}$/,
    shortened: true,
  });
  t.match(await run(server, "kill -9 $$"), {
    exitCode: null,
    code: "COMMAND_CUT",
    problem: /ended by SIGKILL/,
  });
  t.match(await run(server, "exec yes"), { code: "SSH_REFUSED", problem: /sent more than 4096 KiB/ });
  t.match(await run(server, "sleep 9", { timeoutSeconds: 1 }), {
    code: "COMMAND_CUT",
    problem: /no end within 1 s/,
  });
  // Orders go on as they were.
  t.match((await server.api("GET", "/power?machines=s4")).items, [{ method: "ssh", state: "on" }]);
  t.strictSame(peer.orders(), ["is-system-running"]);

  const events = await server.api("GET", "/events?type=machine.command&limit=100");
  t.match(events.text, /"program":"echo"/);
  t.notMatch(events.text + server.logged.join("\n"), "canary-77ab", "what was run is nobody else's matter");
});

t.test("`boot run` shows what each machine said, and nothing that steers a terminal", async (t) => {
  const { server } = await playing(t);
  const command = (...words: string[]) =>
    boot(["--server", server.url, "run", ...words], { ROLLCALL_TOKEN: server.adminToken });
  t.match(await command("s4", "--", "echo", "hello;", "printf", "'\\033[2J'"), {
    code: 0,
    out: "s4: exit 0\n  hello\n  \u{fffd}[2J\n",
  });
  t.match(await command("s4", "--", "false"), { code: 1, out: "s4: exit 1\n" });
  t.match(await command("s4", "--timeout", "0", "--", "true"), { code: 2, err: /from 1 to 200/ });
  t.match(await command("s4"), { code: 2 });
});

t.test("a machine whose role allows orders alone runs nothing, and says what to do", async (t) => {
  const { server, peer, isTold } = await playing(t, "worker");
  t.ok(isTold, "its key opens three commands");
  t.match(await run(server, "id"), {
    code: "COMMAND_NOT_ALLOWED",
    problem: /restart and stop it by SSH, and run no command/,
    advice: /sshCommands: any/,
  });
  t.equal(peer.log(), "", "nobody called there");
  t.match((await server.api("GET", "/events?type=machine.command")).items, [
    { level: "warning", data: { program: "id", code: "COMMAND_NOT_ALLOWED" } },
  ]);
  await server.add(5, "s5");
  t.match((await server.api("POST", "/commands", { machines: "s5", command: "id" })).items, [
    { machine: "s5", code: "HOST_KEY_UNKNOWN" },
  ]);
  for (const command of ["", "  ", "a\u0000b"])
    t.equal((await server.api("POST", "/commands", { machines: "s4", command })).status, 400);
  t.match((await server.api("POST", "/commands", { machines: "none", command: "id" })).status, 400);
});

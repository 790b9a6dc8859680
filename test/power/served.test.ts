import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { authorizedKey } from "../../server/power/authorized-key.ts";
import { makeKey } from "../../server/power/own-key.ts";
import { boot } from "../support/boot-command.ts";
import { plain, startServer, type TestServer } from "../support/http-fixture.ts";
import { quickLimits } from "../support/power-lab.ts";
import { startRedfishBoard } from "../support/redfish-board.ts";
import { startSshPeer } from "../support/ssh-peer.ts";

/** Machine 4 boots into worker and calls back with a host key. */
async function callBack(server: TestServer, hostKey: string): Promise<void> {
  await server.addImage();
  await server.add(4, "s4");
  await server.assign("s4", "worker");
  const claim = /\/callback\/([a-z0-9]+)/.exec((await server.script(4)).text)?.[1];
  await server.ask(`/callback/${claim}/joined`, {
    method: "POST",
    from: 4,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ pub_key_ed25519: `${hostKey} root@s4` }).toString(),
  });
}

const order = async (server: TestServer, action: string) =>
  (await server.api("POST", "/power", { machines: "s4", action, wait: true })).json;

t.test(
  "a machine is stopped by SSH with the key that the server made and the one that the machine told",
  async (t) => {
    const server = await startServer(t);
    const { publicKey } = JSON.parse(readFileSync(join(server.dataDir, "pki/ssh.json"), "utf8")) as {
      publicKey: string;
    };
    const peer = await startSshPeer(t, { authorized: authorizedKey(publicKey) });
    await callBack(server, peer.hostKey);
    const settings = { method: "ssh", address: "127.0.0.1", port: peer.port, user: "root" };
    t.equal((await server.api("PUT", "/machines/s4/power", settings)).status, 200);
    t.match((await server.api("GET", "/power?machines=s4")).items, [
      { machine: "s4", method: "ssh", state: "on" },
    ]);
    t.match(await order(server, "off"), { state: "done" }, peer.log());
    t.strictSame(peer.orders(), ["is-system-running", "poweroff"]);
    const again = await server.api("POST", "/power", { machines: "s4", action: "off" });
    const path = `/operations/${plain(again.json["operation"])}`;
    while (!JSON.stringify((await server.api("GET", path)).json).includes("less than a minute ago: it waits"))
      await new Promise((resolve) => setImmediate(resolve));
    t.match((await server.api("POST", `${path}/cancel`, {})).json, { state: "cancelled" });
    const { items } = await server.api("GET", "/events?type=machine.power");
    t.match(items, [{ type: "machine.power", data: { action: "off", method: "ssh" } }]);
  },
);

t.test("another machine at its address gets no order, and that is an alarm", async (t) => {
  const server = await startServer(t, { orders: { operationLimits: quickLimits } });
  const peer = await startSshPeer(t, { authorized: "# nobody" });
  await callBack(server, makeKey().publicKey.split(" ").slice(0, 2).join(" "));
  await server.api("PUT", "/machines/s4/power", { method: "ssh", address: "127.0.0.1", port: peer.port });
  t.match(await order(server, "off"), {
    state: "failed",
    machines: [{ steps: [{ code: "HOST_KEY_REFUSED" }] }],
  });
  t.match((await server.api("GET", "/events?type=machine.host-key")).items, [
    { level: "alarm", data: { address: "127.0.0.1" } },
  ]);
  t.strictSame(peer.orders(), []);
});

t.test(
  "`boot machine power` sets a board whose password is read, shown by nothing, and shown to the board",
  async (t) => {
    const password = "canary-91bc";
    const server = await startServer(t);
    const board = await startRedfishBoard(t, `admin:${password}`);
    await server.add(4, "s4");
    const command = (words: readonly string[], input = "") =>
      boot(["--server", server.url, "machine", ...words], { ROLLCALL_TOKEN: server.adminToken }, input);
    const wanted = [
      "power",
      "s4",
      "--method",
      "redfish",
      "--address",
      "127.0.0.1",
      "--port",
      String(board.port),
    ];
    const login = ["--user", "admin", "--password-stdin", "--certificate", board.certificate];
    const [set, slip] = [
      await command([...wanted, ...login], `${password}\nanother line\n`),
      await command(["power", "s4", "--address", "10.0.0.1"]),
    ];
    t.match(
      set,
      { code: 0, out: /s4 is switched by redfish at 127\.0\.0\.1:[0-9]+ as admin, certificate/ },
      set.err,
    );
    t.match(slip, { err: /--method is missing: nothing was changed/ });
    t.not(slip.code, 0);
    const [shown, all] = [await command(["power", "s4"]), await command(["show", "s4"])];
    t.match(shown.out, /redfish at 127\.0\.0\.1/);
    t.match(all.out, /power +redfish at 127\.0\.0\.1/);
    t.notMatch([set, slip, shown, all].map(({ out, err }) => out + err).join("\n"), password);

    t.match((await server.api("GET", "/power?machines=s4")).items, [{ method: "redfish", state: "off" }]);
    t.strictSame(board.resets(), []);
    const answers = [plain((await order(server, "off")) as unknown), server.logged.join("\n")];
    t.notMatch(answers.join("\n"), password);
    const gone = await command(["power", "s4", "--remove"]);
    t.match(gone, { code: 0, out: /SSH while it runs, Wake-on-LAN while it is off/ });
  },
);

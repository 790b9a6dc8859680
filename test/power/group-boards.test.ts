import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import t from "tap";
import { boardAddress, isBoardPattern } from "../../server/domain/power-settings.ts";
import { boot } from "../support/boot-command.ts";
import { startServer } from "../support/http-fixture.ts";
import { makeAuthority, startRedfishBoard } from "../support/redfish-board.ts";

const canary = "canary-3c9e";
const boards = { method: "ipmi", address: "{name}-bmc.lab.example", user: "admin", password: canary };

t.test("machines of a group have its boards, unless they have one of their own", async (t) => {
  const server = await startServer(t);
  await server.add(4, "s4", { group: "lab225" });
  await server.add(5, "s5", { group: "lab225" });
  await server.add(6, "s6");
  const settingsOf = async (machine: string) =>
    (await server.api("GET", `/machines/${machine}/power`)).json["settings"];
  t.match((await server.api("GET", "/groups/lab225/power")).json, { settings: null });
  const set = await server.api("PUT", "/groups/lab225/power", boards);
  t.match(set, { status: 200, json: { settings: { address: "{name}-bmc.lab.example", hasPassword: true } } });
  t.match(await settingsOf("s4"), { method: "ipmi", address: "s4-bmc.lab.example", group: "lab225" });
  t.equal(await settingsOf("s6"), null);
  await server.api("PUT", "/machines/s5/power", { method: "wol" });
  t.match(await settingsOf("s5"), { method: "wol", group: null });
  await server.api("DELETE", "/machines/s5/power");
  t.match(await settingsOf("s5"), { address: "s5-bmc.lab.example" });

  // The password goes on where nothing else changes, and nowhere else.
  const { password: _, ...same } = boards;
  t.equal((await server.api("PUT", "/groups/lab225/power", same)).status, 200);
  for (const change of [{ address: "{name}.evil.example" }, { user: "root" }, { port: 624 }])
    t.match(await server.api("PUT", "/groups/lab225/power", { ...same, ...change }), {
      status: 400,
      text: /needs a password/,
    });
  const told = [set.text];
  for (const path of ["/machines/s4", "/groups/lab225", "/groups/lab225/power", "/events?limit=100"])
    told.push((await server.api("GET", path)).text);
  t.notMatch(told.join("\n") + server.logged.join("\n"), canary);
  await server.stop();
  const grep = execFileSync("sh", ["-c", `grep -rl ${canary} "$1" || :`, "sh", server.dataDir], {
    encoding: "utf8",
  });
  t.equal(grep, "", "it lies sealed");

  const again = await startServer(t, { dataDir: server.dataDir });
  const ask = async (method: "GET" | "DELETE" | "POST", path: string, body?: unknown) =>
    again.api(method, path, body, server.adminToken);
  t.match((await ask("GET", "/machines/s4/power")).json, { settings: { address: "s4-bmc.lab.example" } });
  // A group that is made anew has no boards, whatever one of that name had.
  t.equal((await ask("DELETE", "/groups/lab225")).status, 204);
  t.match((await ask("GET", "/machines/s4/power")).json, { settings: null });
  await ask("POST", "/groups", { name: "lab225" });
  t.match((await ask("GET", "/groups/lab225/power")).json, { settings: null });
});

t.test("a pattern leads to one host for each name, and can't be anything else", async (t) => {
  for (const pattern of ["{name}-bmc", "bmc-{name}.lab.example", "{name}.bmc.lab.example"])
    t.ok(isBoardPattern(pattern), pattern);
  for (const pattern of [
    "{name}",
    "",
    "bmc",
    "{name}-{name}",
    "-o{name}",
    "{name};id",
    "{seat}-bmc",
    "a b{name}",
  ])
    t.notOk(isBoardPattern(pattern), pattern);
  t.equal(boardAddress("{name}-bmc", "s4"), "s4-bmc");
  t.equal(boardAddress("{name}-bmc", "$&"), undefined);
  t.equal(boardAddress("{name}-bmc", "x".repeat(62)), undefined);

  const server = await startServer(t);
  await server.add(4, "s4", { group: "lab225" });
  const authority = readFileSync(makeAuthority(t).certificate, "utf8");
  for (const change of [
    { address: "10.0.0.50" },
    { method: "wol" },
    { method: "ssh" },
    { user: "-x" },
    { password: "" },
    { authority },
    { method: "redfish", authority: "x" },
    { method: "redfish", authority: authority + authority },
    { method: "redfish", certificate: "ab".repeat(32) },
  ])
    t.equal(
      (await server.api("PUT", "/groups/lab225/power", { ...boards, ...change })).status,
      400,
      JSON.stringify(change),
    );
  t.match((await server.api("GET", "/groups/lab225/power")).json, { settings: null }, "none was kept");
  t.equal((await server.api("PUT", "/groups/none/power", boards)).status, 404);
});

t.test("a group's password and authority come to its machine's board, by name", async (t) => {
  const authority = makeAuthority(t);
  const login = `admin:${canary}`;
  // Names below localhost lead to this host (RFC 6761 s.6.3), and so does the board's certificate.
  const board = await startRedfishBoard(t, login, {
    signed: { by: authority, subjectAltName: "DNS:localhost" },
  });
  const server = await startServer(t);
  await server.add(4, "local", { group: "lab225" });
  const command = (words: readonly string[], input = "") =>
    boot(["--server", server.url, ...words], { ROLLCALL_TOKEN: server.adminToken }, input);
  const place = ["--method", "redfish", "--address", "{name}host", "--port", String(board.port)];
  const set = await command(
    [
      "group",
      "power",
      "lab225",
      ...place,
      "--user",
      "admin",
      "--password-stdin",
      "--authority",
      authority.certificate,
    ],
    `${canary}\n`,
  );
  t.match(set, {
    code: 0,
    out: /^Machines of lab225 are switched by redfish at \{name\}host:[0-9]+ as admin, authority [0-9a-f]{16}\.\.\.\.\n$/,
  });
  const shown = await command(["machine", "power", "local"]);
  t.match(
    shown.out,
    /^local is switched by redfish at localhost:[0-9]+ as admin, .* \(of the group lab225\)\.\n$/,
  );
  t.notMatch(set.out + shown.out, canary);
  t.match((await server.api("GET", "/power?machines=local")).items, [{ method: "redfish", state: "off" }]);
  t.match(await command(["group", "power", "lab225", "--remove"]), {
    code: 0,
    out: "The group lab225 has no boards for its machines.\n",
  });
  t.match(
    (await command(["machine", "power", "local"])).out,
    /SSH while it runs, Wake-on-LAN while it is off/,
  );
});

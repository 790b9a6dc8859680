import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Command } from "commander";
import t from "tap";
import { buildProgram } from "../server/cli/program.ts";
import { readYaml } from "../server/yaml/read-yaml.ts";
import { boot, launcher } from "./support/boot-command.ts";
import { startServer } from "./support/http-fixture.ts";
import { macOf, temporaryDirectory } from "./support/samples.ts";

function leaves(command: Command, path: string): { path: string; command: Command }[] {
  const inner = command.commands.filter((one) => one.name() !== "help");
  return inner.length === 0
    ? [{ path, command }]
    : inner.flatMap((one) => leaves(one, `${path} ${one.name()}`));
}

t.test("every command says in its help what it does, with an example of itself", async (t) => {
  for (const { path, command } of leaves(buildProgram(), "boot")) {
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    t.ok(command.description(), `${path}: description`);
    const examples =
      help
        .split(/\nExamples?:\n/)[1]
        ?.split("\n")
        .filter((line) => line.startsWith("  ")) ?? [];
    t.ok(examples.length > 0, `${path}: example`);
    // `boot s4 worker` is short for `boot assign s4 worker`, and assets are filled by npm before there is a `boot`.
    const own =
      path === "boot assign"
        ? /^ {2}boot /
        : new RegExp(`^  (.* )?${path}( |$)|npm run boot-assets|npm run demo`);
    t.match(examples[0] ?? "", own, path);
    t.ok(
      help.split("\n").every((line) => line.length <= 120),
      `${path}: no line is too long`,
    );
  }
});

t.test("a slip on the command line is named before anybody is asked", async (t) => {
  const slips: [string[], RegExp][] = [
    [["machine", "frobnicate"], /unknown command 'frobnicate'/],
    [["status", "--wacth"], /unknown option '--wacth'\n\(Did you mean --watch\?\)/],
    [["machine", "show"], /missing required argument 'machine'/],
    [["plan", "s1", "worker", "now"], /too many arguments/],
    [["assign", "s1", "worker", "--power", "on"], /Allowed choices are none, wake, cycle/],
    [["assign", "s1", "worker", "--param", "=x"], /write it as name=value/],
    [["token", "create", "x", "--expires-in", "soon"], /a number of days/],
  ];
  for (const [words, message] of slips) {
    const program = buildProgram();
    const mute = (command: Command): void => {
      command.configureOutput({ writeErr: () => undefined });
      command.commands.forEach(mute);
    };
    mute(program);
    await t.rejects(program.parseAsync(words, { from: "user" }), { message }, words.join(" "));
  }
});

t.test("exit codes tell a script what happened", async (t) => {
  const server = await startServer(t);
  const nowhere = temporaryDirectory(t);
  const local = ["--data", server.dataDir];
  const cases: [string, string[], number, RegExp][] = [
    ["done", [...local, "status"], 0, /^$/],
    [
      "the server refused",
      [...local, "machine", "show", "nobody"],
      1,
      /^MACHINE_NOT_FOUND: .*nobody[\s\S]*boot machine list/,
    ],
    [
      "a slip in a command's name is taken for a machine, and told so",
      [...local, "sttus"],
      1,
      /^INVALID_HOST_SET: .*sttus[\s\S]*boot --help\.\nDid you mean boot status\?\n$/,
    ],
    [
      "so is one with words of that command behind it",
      [...local, "machin", "list"],
      1,
      /\nDid you mean boot machine\?\n$/,
    ],
    ["and with an option of it", [...local, "statsu", "--watch"], 2, /\nDid you mean boot status\?\n$/],
    ["a host set that is near to no command", [...local, "s77"], 1, /boot --help\.\n$/],
    ["a wrong token", ["--server", server.url, "--token", "wrong", "status"], 1, /^TOKEN_INVALID/],
    [
      "wrong usage",
      ["status", "--output", "xml"],
      2,
      /Allowed choices are table, json, yaml\.\n\(see boot --help\)\n$/,
    ],
    [
      "a usage error does not print the whole help",
      ["machine", "add", "s1", "--mac"],
      2,
      /^error: option '--mac <macs\.\.\.>' argument missing\n\(see boot machine add --help\)\n$/,
    ],
    ["nor does one of a simulation", ["simulate"], 2, /^error: --server .*\n\(see boot simulate --help\)\n$/],
    [
      "a line break in the token",
      ["--server", server.url, "--token", "abc\n", "status"],
      1,
      /^TOKEN_INVALID: .*line break.*\nA token is one word/,
    ],
    [
      "nobody serves this directory, and nothing was asked",
      ["--data", nowhere],
      3,
      /^SERVER_UNREACHABLE: .*control\.sock[\s\S]*npm start/,
    ],
    [
      "nobody serves this directory",
      ["--data", nowhere, "status"],
      3,
      /^SERVER_UNREACHABLE: .*control\.sock[\s\S]*npm start/,
    ],
    [
      "nobody answers at the address",
      ["--server", "127.0.0.1:1", "status"],
      3,
      /^SERVER_UNREACHABLE: no server answers at http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\)\nIs `npm start` running there\?/,
    ],
    [
      "the address is of another kind",
      ["--server", server.url.replace("http:", "https:"), "status"],
      3,
      /this server speaks http: write http:/,
    ],
    ["the address is none", ["--server", "ftp://x", "status"], 3, /written like http:\/\/10\.0\.0\.1:8080/],
    ["no token", ["--server", server.url, "status"], 1, /^TOKEN_MISSING[\s\S]*--token TOKEN/],
    ["a machine without a MAC", [...local, "machine", "add", "s9"], 1, /^INVALID_REQUEST[\s\S]*--mac/],
    [
      "a local boot method that there is none of",
      [...local, "machine", "edit", "s1", "--local-boot", "reboot"],
      2,
      /Allowed choices are exit, sanboot, http-404/,
    ],
    [
      "a group that there is none of",
      [...local, "group", "edit", "none", "--driver", "ipxe"],
      1,
      /^GROUP_NOT_FOUND/,
    ],
    ["no such directory of roles", ["role", "lint", nowhere + "/x"], 1, /^ROLE_INVALID: .*it is not there/],
  ];
  const ended = await Promise.all(cases.map(([, words]) => boot(words)));
  cases.forEach(([what, , code, message], index) => {
    t.equal(ended[index]?.code, code, what);
    t.match(ended[index]?.err, message, what);
    t.notMatch(ended[index]?.err, /\n {4}at /, `${what}: no stack`);
  });
});

t.test("what is printed", async (t) => {
  const server = await startServer(t);
  const local = ["--data", server.dataDir];
  await server.addImage();
  for (const number of [1, 2, 10]) await server.add(number, `s${number}`, { group: "lab225" });

  t.test("is the same in three formats, and over the network", async (t) => {
    const [table, json, yaml, remote] = await Promise.all([
      boot([...local, "status"]),
      boot(["status", ...local, "--output", "json"]),
      boot([...local, "--output", "yaml", "status"]),
      boot(["status"], { ROLLCALL_SERVER: server.url, ROLLCALL_TOKEN: server.adminToken }),
    ]);
    t.match(
      table.out,
      /^MACHINE +GROUP +SEAT +PHASE +ROLE +SEEN +DOING\ns1 +lab225 +- +accepted +discover +never +-\ns2 .*\ns10 .*\n$/,
    );
    t.match(JSON.parse(json.out), [{ name: "s1" }, { name: "s2" }, { name: "s10" }]);
    t.same(readYaml(yaml.out).value, JSON.parse(json.out));
    t.equal(remote.out, table.out);
  });
  t.test("an assignment shows its plan, does it, explains it and takes it back", async (t) => {
    const dry = await boot([...local, "s[1-2]", "worker", "--dry-run"]);
    t.match(
      dry.out,
      /^MACHINE +NOW +THEN +WHY\ns1 +discover +worker +assigned by the server's administrator\ns2 .*\nNothing was changed \(--dry-run\)\.\n$/,
    );
    t.same(server.store.assignments.all(), []);
    const done = await boot([...local, "lab225", "worker", "--param", 'sshKeys=["ssh-ed25519 AAAA"]']);
    t.match([done.code, done.out], [0, /Assigned\. They boot this at the next power-on/]);
    const [shown, explained, preview] = await Promise.all([
      boot([...local, "s1"]),
      boot([...local, "explain", "s1", "--output", "json"]),
      boot([...local, "preview", "s1", "user-data"]),
    ]);
    t.match(
      shown.out,
      /s1 +worker +assigned by the server's administrator on .* UTC +discover \(unknown-policy\)\n$/,
    );
    t.match(JSON.parse(explained.out), [{ role: "worker", source: "machine" }]);
    t.match(preview.out, /^#cloud-config\n[\s\S]*ssh-ed25519 AAAA/);
    t.match((await boot([...local, "release", "all"])).out, /^Released: s1, s2, s10\n$/);
  });
  t.test("a diff shows line by line what would be served, and an undo what it takes back", async (t) => {
    const [one, room, same] = await Promise.all([
      boot([...local, "diff", "s1", "rescue", "user-data"]),
      boot([...local, "diff", "s[1-2]", "worker"]),
      boot([...local, "diff", "s1", "discover"]),
    ]);
    t.match(one.out, /^== s1 user-data: \d+ lines more, \d+ less\n@@ [^\n]+ @@\n[\s\S]*\n\+/);
    t.match(
      room.out,
      /== s1 ipxe: .*\n@@ [\s\S]*== s2 ipxe: .*\n== s2 user-data: .*\n(== .*\n)*Shown whole for s1; --full/,
    );
    t.equal(same.out, "Nothing that is served would change.\n");
    await boot([...local, "s1", "rescue"]);
    t.match(
      (await boot([...local, "undo", "--dry-run"])).out,
      /^s1 -> rescue \(the server's administrator, \d+ s ago\)\nMACHINE +NOW +THEN +WHY\ns1 +rescue +discover .*\nNothing was changed/,
    );
    t.match((await boot([...local, "undo"])).out, /\nTaken back\.\n$/);
    t.same(server.store.assignments.all(), []);
  });
  t.test("a group that a slip has made is told of", async (t) => {
    const added = await boot([...local, "machine", "add", "s20", "--mac", macOf(20), "--group", "lab252"]);
    t.match(
      added.out,
      /^The group lab252 is new\. If you meant lab225: boot machine edit s20 --group lab225\nAdded s20 /,
    );
    const moved = await boot([...local, "machine", "edit", "s20", "--group", "lab225"]);
    t.equal(moved.out, "Changed s20.\n");
  });
  t.test("a host set of machines is removed with --yes, one machine as it is", async (t) => {
    await server.add(21, "s21");
    const refused = await boot([...local, "machine", "remove", "s[20-21]"]);
    t.match(refused, {
      code: 2,
      err: /^error: .*2 machines .*: s20, s21; .*--yes\n\(see boot machine remove --help\)\n$/,
    });
    t.equal(server.store.machines.all().length, 5);
    t.match(await boot([...local, "machine", "remove", "s[20-21]", "--yes"]), {
      code: 0,
      out: "Removed s20, s21.\n",
    });
    t.equal(server.store.machines.all().length, 3);
    t.match((await boot([...local, "machine", "remove", "s21"])).err, /^INVALID_HOST_SET: .*s21/);
  });
  t.test("a fact is taken away with an empty text", async (t) => {
    t.equal((await boot([...local, "machine", "edit", "s10", "--group", "", "--label", "a=b=c"])).code, 0);
    t.match(server.store.machines.get("s10"), { group: undefined, labels: { a: "b=c" } });
  });
  t.test("a token is shown once, and only the version that was named is removed of an image", async (t) => {
    const made = await boot([...local, "token", "create", "anna", "--expires-in", "1"]);
    t.match(made.out, /^Token anna \(viewer\), shown this once:\n[a-z2-7]{26}\n$/);
    const secret = made.out.split("\n")[1] ?? "";
    await server.addImage("2");
    const [tokens, removed, refused] = await Promise.all([
      boot([...local, "token", "list", "--output", "json"]),
      boot([...local, "image", "remove", "debian-node", "1"]),
      boot(["--server", server.url, "--token", secret, "machine", "remove", "s1"]),
    ]);
    t.notOk(tokens.out.includes(secret));
    t.match(removed, { code: 0, out: "Removed debian-node 1.\n" });
    t.same(
      server.store.images.all().map(({ version }) => version),
      ["2"],
    );
    t.match([refused.code, refused.err], [1, /^SCOPE_MISSING/]);
  });
  t.test("what was done is told to a program as well", async (t) => {
    const json = async (...words: string[]) =>
      JSON.parse((await boot([...local, "--output", "json", ...words])).out) as unknown;
    t.match(await json("group", "add", "lab226", "--description", "attic"), {
      name: "lab226",
      description: "attic",
    });
    t.same(await json("group", "assign", "lab226", "worker"), { group: "lab226", target: "worker" });
    t.same(await json("group", "release", "lab226"), { released: "lab226" });
    t.same(await json("group", "remove", "lab226"), { removed: "lab226" });
    t.same(await json("token", "revoke", "anna"), { revoked: "anna" });
    t.same(await json("machine", "remove", "s10"), { removed: ["s10"] });
  });
  t.test("an answer that can't be written is a failure", async (t) => {
    const script = `"$0" "$1" --data "$2" status > /dev/full; echo "$?"`;
    const { stdout, stderr } = await promisify(execFile)("bash", [
      "-c",
      script,
      process.execPath,
      launcher,
      server.dataDir,
    ]);
    t.match([stdout, stderr], ["1\n", /^the output could not be written: ENOSPC.*\n$/]);
  });
  t.test("whoever reads may stop early", async (t) => {
    await Promise.all(
      Array.from({ length: 2000 }, (_, index) =>
        server.store.events.append({ type: "machine.log", message: `${index} ${"x".repeat(100)}` }),
      ),
    );
    const script = `"$0" "$1" --data "$2" events --follow --limit 1000 | head -c 10; echo " \${PIPESTATUS[0]}"`;
    const { out, err } = await new Promise<{ out: string; err: string }>((done) =>
      execFile("bash", ["-c", script, process.execPath, launcher, server.dataDir], (_error, out, err) =>
        done({ out, err }),
      ),
    );
    t.match([out, err], [/ 0\n$/, ""]);
  });
});

t.test("nothing that a machine says of itself reaches the terminal raw", async (t) => {
  const server = await startServer(t);
  const local = ["--data", server.dataDir];
  const hostile = "\u001b]0;owned\u0007\u009b31m\u202eeslaf\u200b\r\nroot# \u007f";
  const machine = server.store.machines;
  await server.add(1, "s1");
  const { id } = machine.get("s1");
  // What the server cleans on its way in is put into its store here, as an older version or another hand might have.
  await machine.update(id, (s1) => ({
    ...s1,
    serial: hostile,
    product: hostile,
    seat: hostile,
    labels: { a: hostile },
  }));
  await server.store.boots.save({
    id: "b_1",
    machineId: id,
    mac: macOf(1),
    startedAt: Date.now(),
    endedAt: Date.now(),
    outcome: "failed",
    target: hostile,
    verdict: hostile,
    phases: [],
    steps: [{ at: Date.now(), step: "failed", serverMs: undefined, detail: { code: hostile } }],
  });
  await server.store.events.append({
    type: "machine.failed",
    machineId: id,
    message: hostile,
    data: { tail: hostile },
  });
  const commands = [
    ["machine", "show", "s1", "--output", "json"],
    ["machine", "show", "s1", "--output", "yaml"],
    ["machine", "show", "s1"],
    ["machine", "list"],
    ["events"],
  ];
  const ended = await Promise.all(commands.map((words) => boot([...local, ...words])));
  ended.forEach(({ code, out }, index) => {
    const words = commands[index]?.join(" ") ?? "";
    t.equal(code, 0, words);
    t.notMatch(out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e]/, words);
    if (!words.includes("--output")) t.notMatch(out, /^root#/m, `${words}: no line is made up`);
  });
  const shown = JSON.parse(ended[0]?.out ?? "") as Record<string, unknown>;
  t.equal(shown["serial"], hostile, "for programs it is all there");
});

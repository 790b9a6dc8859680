import { chmodSync, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { boot } from "../support/boot-command.ts";
import { writeFiles } from "../support/boot-lab.ts";
import { makeToken, signIn } from "../support/dashboard-lab.ts";
import { startServer } from "../support/http-fixture.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("boot dashboard", async (t) => {
  const server = await startServer(t);
  const data = ["--data", server.dataDir];
  const linkIn = (text: string) => /#link=([a-z2-7]{26})/.exec(text)?.[1] ?? "";

  t.test("prints a link of the server's administrator, with how long it is good for", async (t) => {
    const { code, out } = await boot([...data, "dashboard"]);
    t.equal(code, 0);
    t.match(
      out,
      new RegExp(`^${server.url}/dashboard/sign-in#link=[a-z2-7]{26}\nIt signs in as you, once, until 20`),
    );
    const { answer } = await signIn(server, { link: linkIn(out) });
    t.match(answer, { status: 200, json: { name: "local", scope: "admin" } });
  });
  t.test("prints one of the token elsewhere, and as JSON for programs", async (t) => {
    const token = await makeToken(server, "vera", { scope: "viewer" });
    const words = ["--server", server.url, "--token", token, "--output", "json", "dashboard"];
    const { url } = JSON.parse((await boot(words)).out) as { url: string };
    const { answer } = await signIn(server, { link: linkIn(url) });
    t.match(answer, { status: 200, json: { name: "vera", scope: "viewer" } });
  });
  t.test(
    "--open shows the browser a file of ours: what a program is started with is everybody's to read",
    async (t) => {
      const directory = temporaryDirectory(t);
      writeFiles(directory, {
        "bin/xdg-open": `#!/bin/sh\nprintf '%s\\n' "$@" >"${directory}/words"\ncp --preserve=mode "$1" "${directory}/page"\n`,
      });
      chmodSync(join(directory, "bin/xdg-open"), 0o755);
      const environment = { PATH: `${directory}/bin:${process.env["PATH"]}`, XDG_RUNTIME_DIR: directory };
      const { code, out } = await boot([...data, "dashboard", "--open"], environment);
      t.equal(code, 0);
      t.notMatch(readFileSync(join(directory, "words"), "utf8"), linkIn(out));
      t.match(
        readFileSync(join(directory, "page"), "utf8"),
        `url=${server.url}/dashboard/sign-in#link=${linkIn(out)}"`,
      );
      t.equal(statSync(join(directory, "page")).mode & 0o777, 0o600);
    },
  );
  t.test("--open says so where there is no browser, and leaves nothing behind", async (t) => {
    const directory = temporaryDirectory(t);
    writeFiles(directory, { "bin/xdg-open": `#!/bin/sh\nprintf '%s' "$1" >"${directory}/words"\nexit 3\n` });
    chmodSync(join(directory, "bin/xdg-open"), 0o755);
    const environment = { PATH: `${directory}/bin:${process.env["PATH"]}`, XDG_RUNTIME_DIR: directory };
    const { code, out, err } = await boot([...data, "dashboard", "--open"], environment);
    t.equal(code, 0);
    t.match(out, "#link=");
    t.match(err, /No browser could be started/);
    t.notOk(existsSync(readFileSync(join(directory, "words"), "utf8")));
  });
});

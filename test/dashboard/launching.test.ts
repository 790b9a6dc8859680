import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, utimesSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { writeFiles } from "../support/boot-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Writes down that it was called, and makes a page; without `fails` it works. */
const builder = `import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
appendFileSync("built", "x");
if (existsSync("fails")) throw new Error("no Vite");
mkdirSync("dist/web", { recursive: true });
writeFileSync("dist/web/index.html", "a page");
`;

t.test("the pages are built where they are missing or older than their sources, and not else", (t) => {
  const directory = temporaryDirectory(t);
  writeFiles(directory, {
    "server/build-dashboard.mjs": builder,
    "server/web/index.html": "the source",
    "server/web/views/room.tsx": "a view",
    "server/domain/event.ts": "names of events",
    "package-lock.json": "{}",
  });
  copyFileSync(resolve(import.meta.dirname, "../../server/launch.mjs"), join(directory, "server/launch.mjs"));
  const at = (path: string, seconds: number) => utimesSync(join(directory, path), seconds, seconds);
  for (const path of [
    "package-lock.json",
    "server/web/index.html",
    "server/web/views/room.tsx",
    "server/web/views",
    "server/web",
    "server/domain/event.ts",
    "server/domain",
    "server/build-dashboard.mjs",
  ])
    at(path, 1000);
  /** @returns what the launcher says of the pages, and how often they were built so far */
  const launch = () => {
    const script = `import(${JSON.stringify(join(directory, "server/launch.mjs"))}).then((all) => console.log(all.ensureDashboard()))`;
    const words = ["--input-type=module", "--eval", script];
    const said = execFileSync(process.execPath, words, {
      cwd: directory,
      stdio: ["ignore", "pipe", "ignore"],
    }).toString();
    const built = join(directory, "built");
    return [said.trim(), existsSync(built) ? readFileSync(built, "utf8").length : 0];
  };
  t.same(launch(), ["true", 1], "missing");
  t.same(launch(), ["true", 1], "as new as its sources");
  at("dist/web/index.html", 2000);
  at("server/web/views/room.tsx", 3000);
  t.same(launch(), ["true", 2], "a source was changed");
  at("dist/web/index.html", 4000);
  at("server/web/views", 5000);
  t.same(launch(), ["true", 3], "a source was taken away");
  at("dist/web/index.html", 6000);
  at("server/domain/event.ts", 7000);
  t.same(launch(), ["true", 4], "the server has other events");
  at("dist/web/index.html", 8000);
  at("package-lock.json", 9000);
  writeFiles(directory, { fails: "" });
  t.same(launch(), ["false", 5], "other packages; and that the build fails is told, and no more");
  t.end();
});

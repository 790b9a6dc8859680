import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { lockData } from "../server/store/data-lock.ts";
import { curl, startServer } from "./support/http-fixture.ts";
import { temporaryDirectory } from "./support/samples.ts";

const source = resolve(import.meta.dirname, "../server/store/data-lock.ts");

/** A process that holds the lock until it is killed. */
async function startHolder(t: Test, file: string): Promise<ChildProcess> {
  const program = `import { lockData } from ${JSON.stringify(source)};
    lockData(${JSON.stringify(file)}, "data"); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program]);
  t.teardown(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

t.test("a lock belongs to one process, and ends with it, however it ends", async (t) => {
  const file = join(temporaryDirectory(t), "new", "rollcall.lock");
  const holder = await startHolder(t, file);
  t.throws(() => lockData(file, "/srv/data"), {
    code: "DATA_DIR_IN_USE",
    message: `another Rollcall server is using /srv/data (it holds ${file})`,
  });
  holder.kill("SIGKILL");
  await once(holder, "exit");
  const { release } = lockData(file, "/srv/data");
  t.throws(
    () => lockData(file, "/srv/data"),
    { code: "DATA_DIR_IN_USE" },
    "the same process is no exception",
  );
  release();
  release();
  lockData(file, "/srv/data").release();
});

t.test("a second server on a data directory is refused, and takes nothing from the first", async (t) => {
  const first = await startServer(t);
  const upload = join(first.blobs, "uploads", "half");
  writeFileSync(upload, "half of an image");
  await t.rejects(startServer(t, { dataDir: first.dataDir }), {
    code: "DATA_DIR_IN_USE",
    advice: /--data DIR/,
  });
  t.ok(existsSync(upload), "an upload under way is still there");
  const control = join(first.dataDir, "control.sock");
  const health = await curl("--unix-socket", control, "http://localhost/healthz");
  t.same(JSON.parse(health), { status: "up" }, "the control socket is still the first one's");
  await first.stop();
  await (await startServer(t, { dataDir: first.dataDir })).stop();
});

t.test("the control socket of a server that was killed is in nobody's way", async (t) => {
  const dataDir = join(temporaryDirectory(t), "data");
  mkdirSync(dataDir);
  const control = join(dataDir, "control.sock");
  const program = `require("node:net").createServer().listen(${JSON.stringify(control)}, () => console.log("held"))`;
  const child = spawn(process.execPath, ["--eval", program]);
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  t.ok(existsSync(control), "it is left over");
  await startServer(t, { dataDir });
  t.same(JSON.parse(await curl("--unix-socket", control, "http://localhost/healthz")), { status: "up" });
});

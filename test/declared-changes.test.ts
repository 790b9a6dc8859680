import { appendFileSync, mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createDeclaredReader } from "../server/config/declared-files.ts";
import { describeObject } from "../server/domain/declared-object.ts";
import { namespace, parser } from "./support/declared-files.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { temporaryDirectory } from "./support/samples.ts";

/** A directory with one file that is being written to, as a server looks at it. */
function written(t: Test) {
  const clock = new ManualClock();
  const directory = temporaryDirectory(t);
  const file = join(directory, "a.yaml");
  const again = createDeclaredReader(directory, { clock, parser });
  return {
    clock,
    directory,
    file,
    /** What is there after so long. */
    async look(afterMs = 0): Promise<{ objects: string[]; reasons: string[] }> {
      clock.advanceMs(afterMs);
      const { documents, problems } = await again();
      return {
        objects: documents.map(({ object }) => describeObject(object)),
        reasons: problems.map(({ reason }) => reason),
      };
    },
  };
}

t.test("a file counts when nobody has written to it for two seconds", async (t) => {
  const { file, look } = written(t);
  writeFileSync(file, namespace("one"));
  t.same(await look(), { objects: [], reasons: [] });
  t.same(await look(1999), { objects: [], reasons: [] });
  appendFileSync(file, `---\n${namespace("two")}`);
  t.same(await look(1), { objects: [], reasons: [] });
  t.same(await look(1999), { objects: [], reasons: [] });
  t.same(await look(1), { objects: ["Namespace one", "Namespace two"], reasons: [] });
  writeFileSync(file, `${namespace("one")}---\nki`);
  t.same(await look(), { objects: ["Namespace one", "Namespace two"], reasons: [] }, "half of the next");
  for (let second = 0; second < 30; second++) {
    appendFileSync(file, "\n");
    t.same((await look(1000)).objects, ["Namespace one", "Namespace two"]);
  }
  t.match((await look()).reasons, [/^it is still being written to; .* 2 objects stay declared$/]);
  writeFileSync(file, namespace("one"));
  await look();
  t.same(await look(2000), { objects: ["Namespace one"], reasons: [] });
});

t.test("a file that is old when it is first seen counts at once", async (t) => {
  const { clock, file, look } = written(t);
  writeFileSync(file, namespace("one"));
  utimesSync(file, clock.now() / 1000 - 2, clock.now() / 1000 - 2);
  t.same((await look()).objects, ["Namespace one"]);
});

t.test("what can't be read any more stays declared as it was, and is told", async (t) => {
  const { file, look } = written(t);
  const both = ["Namespace one", "Namespace two"];
  const write = (text: string | Uint8Array) => {
    writeFileSync(file, text);
    utimesSync(file, 0, 0);
  };
  write(`${namespace("one")}---\n${namespace("two")}`);
  t.same(await look(), { objects: both, reasons: [] });
  write("");
  t.match(await look(), {
    objects: both,
    reasons: ["it is empty; of what the file had before, 2 objects stay declared"],
  });
  write(Uint8Array.from([0xff]));
  t.match(await look(), { objects: both, reasons: [/^it is not UTF-8; .* 2 objects stay declared$/] });
  write(`# ${"x".repeat(1024 ** 2)}`);
  t.match(await look(), {
    objects: both,
    reasons: [/^it is larger than 1 MiB; .* 2 objects stay declared$/],
  });
  write(`${namespace("two")}---\nkind: [\n---\n${namespace("three")}`);
  t.match(await look(), {
    objects: ["Namespace two", "Namespace three", "Namespace one"],
    reasons: [/^YAML: .*; of what the file had before, 1 object stays declared$/],
  });
  write(namespace("three"));
  t.same(await look(), { objects: ["Namespace three"], reasons: [] }, "whole again, it says all there is");
  rmSync(file);
  t.match(await look(), { objects: [], reasons: [/^no \*\.yaml/] });
});

t.test("a directory that comes, goes or is empty for a while", async (t) => {
  const { directory, file, look } = written(t);
  const away = `${directory}.away`;
  renameSync(directory, away);
  t.match(await look(), { objects: [], reasons: [/^there is no such directory: is it not mounted yet\?/] });
  mkdirSync(directory);
  t.match(await look(), { objects: [], reasons: [/^no \*\.yaml, .* not mounted\?$/] });
  rmSync(directory, { recursive: true });
  renameSync(away, directory);
  writeFileSync(file, namespace("one"));
  utimesSync(file, 0, 0);
  t.same(await look(), { objects: ["Namespace one"], reasons: [] });
  renameSync(directory, away);
  t.match(await look(), { objects: ["Namespace one"], reasons: [/; what was read before stays declared$/] });
  mkdirSync(directory);
  t.match(await look(), {
    objects: ["Namespace one"],
    reasons: [/^it is another directory now, and empty.* stays declared$/],
  });
  rmSync(directory, { recursive: true });
  renameSync(away, directory);
  t.same(await look(), { objects: ["Namespace one"], reasons: [] });
});

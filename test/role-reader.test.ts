import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { createRoleReader } from "../server/render/role-reader.ts";

t.test("roles are read anew when a file of theirs changes, and are the same objects until then", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-roles-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const write = (name: string, description: string) => {
    mkdirSync(join(directory, name), { recursive: true });
    writeFileSync(join(directory, name, "role.yaml"), `description: ${description}\nboot: wait\n`);
  };
  write("one", "first");
  let now = Date.now() + 60_000;
  const read = createRoleReader([directory, join(directory, "not-there")], () => now);
  const before = read();
  t.equal(before.roles.get("one")?.description, "first");
  t.equal(read(), before);
  write("one", "other");
  t.equal(read().roles.get("one")?.description, "other", "of the same length");
  write("two", "second");
  t.same([...read().roles.keys()], ["one", "two"]);
  rmSync(join(directory, "one"), { recursive: true });
  t.same([...read().roles.keys()], ["two"]);
  const settled = read();
  utimesSync(join(directory, "two/role.yaml"), 1, 1);
  t.not(read(), settled, "a file that was put back to an old time is another one");
  now = Date.now();
  write("two", "third");
  t.not(read(), read(), "what was written a moment ago may be written again without a newer time");
  t.end();
});

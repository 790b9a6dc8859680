import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { writeOnce } from "../../server/pki/write-once.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("a secret is written once, by whoever comes first, and nothing half-done is left", async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, "secret");
  const writers = Array.from({ length: 20 }, async (_, number) => {
    await writeOnce(file, `secret ${number}\n`);
    return readFileSync(file, "utf8");
  });
  const read = await Promise.all(writers);
  t.equal(new Set(read).size, 1, "all read the same");
  await writeOnce(file, "another\n");
  t.equal(readFileSync(file, "utf8"), read[0]);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.same(readdirSync(directory), ["secret"]);
});

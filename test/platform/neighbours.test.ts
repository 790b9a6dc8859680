import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createNeighbourReader } from "../../server/platform/neighbours.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("a neighbour table that can't be read is empty, and told once", (t) => {
  const file = join(temporaryDirectory(t), "arp");
  const warnings: string[] = [];
  const read = createNeighbourReader({ warn: (_fields, message) => void warnings.push(message) }, file);
  t.equal(read(), "");
  t.equal(read(), "");
  t.equal(warnings.length, 1);
  writeFileSync(file, "a table");
  t.equal(read(), "a table", "it is read anew each time");
  t.end();
});

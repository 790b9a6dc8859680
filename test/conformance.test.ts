import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";

const root = resolve(import.meta.dirname, "..");
const page = readFileSync(join(root, "docs/conformance.md"), "utf8");
const rows = [...page.matchAll(/^\| ([A-Z]-?\d+) +\| (.*?) +\| (.*?) +\|$/gm)].map(
  ([, id = "", , shown = ""]) => ({ id, shown }),
);
const numbers = (prefix: string, last: number, digits: number) =>
  Array.from({ length: last }, (_, index) => `${prefix}${String(index + 1).padStart(digits, "0")}`);

/** How the names of a file's tests stand in it. */
function titlesOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [...source.matchAll(/\btest\(\s*(["`])((?:\\.|(?!\1)[\s\S])*)\1/g)].map(([, , title = ""]) => title);
}

t.test("docs/conformance.md has each row once", (t) => {
  const expected = [
    ...numbers("Q", 44, 1),
    ...numbers("D-", 27, 2),
    ...numbers("R-", 6, 2),
    ...numbers("P-", 12, 2),
    ...numbers("H-", 3, 2),
    ...numbers("W-", 9, 2),
    ...numbers("T-", 20, 2),
  ];
  t.same(
    rows.map(({ id }) => id),
    expected,
  );
  t.end();
});

t.test("every row names a test that exists, or says what there is instead", (t) => {
  for (const { id, shown } of rows) {
    const tests = [...shown.matchAll(/`(test\/[^`]+\.test\.ts)` "([^"]+)"/g)];
    t.ok(tests.length > 0 || /\b(out of scope|not yet|yet)\b/.test(shown), `${id}: ${shown}`);
    for (const [, file = "", title = ""] of tests) {
      const isThere = existsSync(join(root, file)) && titlesOf(file).some((name) => name.startsWith(title));
      t.ok(isThere, `${id}: ${file} has a test "${title}..."`);
    }
    t.equal(shown.match(/test\.ts/g)?.length ?? 0, tests.length, `${id}: each file with a test's name`);
  }
  t.end();
});

t.test("every test that is named after a row is in the table", (t) => {
  for (const file of ["offers", "machines", "scripts", "tftp", "network", "protocol"].map(
    (name) => `test/quirks/${name}.test.ts`,
  ))
    for (const title of titlesOf(file)) {
      const id = /^([A-Z]-?\d+):/.exec(title)?.[1];
      const row = rows.find((candidate) => candidate.id === id);
      t.ok(row?.shown.includes(file), `${file}: ${title.slice(0, 60)}`);
    }
  t.end();
});

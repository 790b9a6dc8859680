import t from "tap";
import { readYaml } from "../server/yaml/read-yaml.ts";

const butane = { isYaml11: true };
const keys = (count: number) => Array.from({ length: count }, (_, index) => `k${index}: 1`).join(", ");

t.test("merge keys are read, also from a list and from a map of their own", (t) => {
  const { value, problems } = readYaml(
    "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: {<<: [*a, {z: 3}]}\nd: {'<<': 1}\n",
    butane,
  );
  t.same(problems, []);
  t.same(value, { a: { x: 1 }, b: { x: 1, y: 2 }, c: { x: 1, z: 3 }, d: { "<<": 1 } });
  t.same(readYaml(`a: &a {${keys(20)}}\nb:\n${"- {<<: *a}\n".repeat(500)}`, butane).problems, []);
  t.end();
});

t.test("what merge keys and aliases make of a small document is bounded, and the place is told", (t) => {
  let nested = "a0: &a0 {x: 1}\n";
  for (let level = 1; level < 40; level++)
    nested += `a${level}: &a${level} {<<: [*a${level - 1}, *a${level - 1}], k${level}: 1}\n`;
  let lists = "l0: &l0 [{x: 1}]\n";
  for (let level = 1; level < 40; level++)
    lists += `l${level}: &l${level} [*l${level - 1}, *l${level - 1}]\n`;
  const pairs = Array.from(
    { length: 5000 },
    (_, index) => `a${index}: &a${index} {x: 1}\nb${index}: *a${index}`,
  );
  const cases: [what: string, text: string, line: number, message: RegExp][] = [
    [
      "one wide map merged often (51 KiB, 4 s)",
      `a: &a {${keys(2500)}}\nb:\n${"- {<<: *a}\n".repeat(2500)}`,
      3,
      /merge keys \(<<\) make more than 100000 values/,
    ],
    ["maps merged into each other (1.4 KiB, for ever)", nested, 2, /merge keys \(<<\) make more than 100000/],
    ["lists of lists that are merged (1.1 KiB, for ever)", `${lists}m: {<<: *l39}\n`, 1, /alias/],
    ["a list in itself that is merged", "a: &a [*a]\nb:\n  <<: *a\n", 1, /alias|Merge sources/],
    ["a map in itself", "a: &a\n  <<: *a\n  b: 1\n", 2, /merged \(<<\) into itself/],
    ["thousands of anchors and aliases", pairs.join("\n"), 2, /too many aliases/],
  ];
  for (const [what, text, line, message] of cases) {
    const { value, problems } = readYaml(text, butane);
    t.equal(value, undefined, what);
    t.match(problems, [{ line, message }], what);
    t.equal(problems.length, 1, what);
  }
  t.end();
});

import t from "tap";
import { createDeclaredReader } from "../server/config/declared-files.ts";
import { readDeclaredText } from "../server/config/declared-text.ts";
import { createDeclaredThread } from "../server/config/declared-thread.ts";
import { systemClock } from "../server/platform/clock.ts";
import { readYaml } from "../server/yaml/read-yaml.ts";
import { directoryOf, namespace } from "./support/declared-files.ts";
import { ManualClock } from "./support/manual-clock.ts";

/** A map of so many keys. */
const manyKeys = (count: number) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata:\n${Array.from({ length: count }, (_, index) => `  key${index}: v\n`).join("")}`;

t.test("each key of a map is there once, and a map of 50,000 keys does not stall", (t) => {
  // Each key compared with all others took half a minute.
  const { documents, problems } = readDeclaredText("x.yaml", manyKeys(50_000));
  t.equal(documents.length, 1);
  t.same(problems, []);
  for (const [text, line] of [
    ["a: 1\nb: 2\na: 3\n", 3],
    ['1: a\n"1": b\n', 2],
    ["a: { b: 1,\n b: 2 }\n", 2],
    ["- a: 1\n- a: 2\n  a: 3\n", 3],
  ] as const)
    t.match(readYaml(text).problems, [{ line, message: "Map keys must be unique" }], text);
  t.same(readYaml("- a: 1\n- a: 2\n").problems, []);
  t.match(readYaml(manyKeys(100), { mostNodes: 100 }), {
    value: undefined,
    problems: [{ message: "it has more than 100 values" }],
  });
  t.end();
});

t.test("a file with too many values, or objects that aliases make too large, is told", (t) => {
  const told = (text: string) => readDeclaredText("x.yaml", text).problems.map(({ reason }) => reason);
  t.same(told(`a: [${"1,".repeat(200_000)}]`), ["YAML: it has more than 200000 values"]);
  const bomb = `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { a: &a ${"x".repeat(900_000)}, b: [${"*a,".repeat(4000)}] }\n`;
  t.same(told(bomb), ["the object is larger than etcd takes (1.5 MiB)"], "and its 3.6 GB are never written");
  const large = `{ apiVersion: v1, kind: ConfigMap, metadata: { name: a`;
  const list = `apiVersion: v1\nkind: List\nitems:\n- ${large} }, data: &a { a: ${"x".repeat(900_000)} } }\n${[1, 2, 3, 4].map((index) => `- ${large}${index} }, data: *a }\n`).join("")}`;
  const { documents, problems } = readDeclaredText("x.yaml", list);
  t.equal(documents.length, 4);
  t.match(problems, [{ reason: /^the file's objects are more than 4 MiB/, place: "#1 item 5" }]);
  t.end();
});

t.test(
  "a file is read in a thread of its own: the server goes on meanwhile, and what takes too long ends",
  async (t) => {
    const text = manyKeys(5000);
    const thread = createDeclaredThread(systemClock);
    t.teardown(() => thread.end());
    const reading = thread.parse("x.yaml", text);
    const inPlace = readDeclaredText("x.yaml", text);
    t.same(await reading, inPlace);
    t.match(await thread.parse("y.yaml", "[".repeat(100_000)), {
      documents: [],
      problems: [{ file: "y.yaml" }],
    });
    t.equal((await thread.parse("z.yaml", namespace("one"))).documents.length, 1, "and the next one is read");
    const clock = new ManualClock();
    const slow = createDeclaredThread(clock, 5000);
    const late = slow.parse("x.yaml", text);
    clock.advanceMs(5000);
    t.match(await late, { problems: [{ reason: "it takes longer than 5 s to read; divide it" }] });
    await slow.end();
    const directory = directoryOf(t, { "a.yaml": text, "b.yaml": namespace("one") });
    const read = createDeclaredReader(directory, { clock: systemClock, settleMs: 0 });
    t.match(await read(), { documents: { length: 2 }, problems: [] });
  },
);

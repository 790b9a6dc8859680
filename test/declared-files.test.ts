import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { describeObject, inOrder } from "../server/domain/declared-object.ts";
import { splitYaml } from "../server/yaml/read-yaml.ts";
import { boot } from "./support/boot-command.ts";
import { directoryOf, namespace, readerOf } from "./support/declared-files.ts";
import { temporaryDirectory } from "./support/samples.ts";

/** What is read, a line for each object and each problem. */
async function read(t: Test, files: Readonly<Record<string, string | Uint8Array>>): Promise<string[]> {
  const directory = directoryOf(t, files);
  const { documents, problems } = await readerOf(directory)();
  return [
    ...documents.map(({ file, place, line, object }) => `${file} ${place}:${line} ${describeObject(object)}`),
    ...problems.map(
      ({ file, place, line, reason }) =>
        `${file.replace(directory, "DIR")} ${place ?? "-"}:${line ?? "-"} ${reason}`,
    ),
  ];
}

t.test("files are read by name, with all their documents and the items of Lists", async (t) => {
  t.same(
    await read(t, {
      "b.yml": `# the room\n---\n${namespace("one")}---\n# nothing\n---\n${namespace("two")}`,
      "a.json": JSON.stringify({
        apiVersion: "v1",
        kind: "List",
        items: [
          { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "anna", namespace: "one" } },
          { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "boris", namespace: "one" } },
        ],
      }),
      "c.yaml": "%YAML 1.2\n---\n# only a comment\n",
      ".hidden.yaml": namespace("hidden"),
      "notes.txt": "no",
      "c.yaml~": namespace("old"),
    }),
    [
      "a.json #1 item 1:1 ServiceAccount one/anna",
      "a.json #1 item 2:1 ServiceAccount one/boris",
      "b.yml #1:4 Namespace one",
      "b.yml #2:10 Namespace two",
    ],
  );
});

t.test("what is wrong with a document is told with file and line, and the others are read", async (t) => {
  const cases: [what: string, text: string, problem: RegExp][] = [
    ["broken YAML", "kind: [Namespace\n", /^x\.yaml #2:\d+ YAML: /],
    [
      "a template that was not filled in",
      "kind: Secret\napiVersion: v1\nmetadata: { name: a }\nstringData: { password: {{ hunter2 }} }\n",
      /^x\.yaml #2:\d+ YAML: a key is a list or map of its own(?!.*hunter)/,
    ],
    ["an indentation", "kind: Namespace\n metadata: {}\n", /^x\.yaml #2:\d+ YAML: /],
    ["a key twice", "kind: A\nkind: B\n", /^x\.yaml #2:6 YAML: Map keys must be unique$/],
    ["no object", "- 1\n- 2\n", /^x\.yaml #2:\d it is no object with apiVersion, kind and metadata$/],
    ["no kind", "apiVersion: v1\nmetadata: { name: a }\n", /^x\.yaml #2:\d it has no kind$/],
    ["no apiVersion", "kind: Namespace\nmetadata: { name: a }\n", /#2:5 this Namespace has no apiVersion$/],
    [
      "a path as version",
      "apiVersion: ../v1\nkind: A\nmetadata: { name: a }\n",
      /#2:5 its apiVersion is none/,
    ],
    ["a kind that is none", "apiVersion: v1\nkind: a b\nmetadata: { name: a }\n", /#2:6 its kind is none$/],
    [
      "no name",
      "apiVersion: v1\nkind: Pod\nmetadata: { generateName: a- }\n",
      /#2:6 this Pod has no metadata\.name/,
    ],
    [
      "a number as name",
      "apiVersion: v1\nkind: Pod\nmetadata: { name: 225 }\n",
      /#2:7 metadata\.name is no name; .* quotes$/,
    ],
    [
      "a name that is a path",
      "apiVersion: v1\nkind: Pod\nmetadata: { name: .. }\n",
      /#2:7 metadata\.name is no name/,
    ],
    [
      "a namespace that is one",
      "apiVersion: v1\nkind: Pod\nmetadata: { name: a, namespace: a/b }\n",
      /metadata\.namespace/,
    ],
    [
      "an item",
      `apiVersion: v1\nkind: List\nitems:\n- kind: A\n`,
      /^x\.yaml #2 item 1:8 this A has no apiVersion$/,
    ],
    ["items that are none", "apiVersion: v1\nkind: List\nitems: 5\n", /#2:7 items of a List must be a list$/],
  ];
  for (const [what, text, problem] of cases) {
    const lines = await read(t, { "x.yaml": `${namespace("one")}---\n${text}---\n${namespace("two")}` });
    t.same(
      [lines[0], lines[1]?.replace(/:\d+/, "")],
      ["x.yaml #1:2 Namespace one", "x.yaml #3 Namespace two"],
      what,
    );
    t.match(lines[2] ?? "", problem, what);
    t.equal(lines.length, 3, what);
  }
  const same = await read(t, {
    "a.yaml": namespace("one"),
    "b.yaml": `${namespace("two")}---\n${namespace("one")}`,
  });
  t.same(same[2], "b.yaml #2:6 it is declared in a.yaml #1 already");
});

t.test("no word of a Secret stands in what is told of it", async (t) => {
  const secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\nstringData:\n";
  for (const value of [
    "*hunter2",
    "!hunter2 x",
    '"hunter2\\q"',
    "[hunter2",
    "hunter2: hunter2: hunter2",
    "@hunter2",
  ]) {
    const lines = await read(t, { "s.yaml": `${secret}  password: ${value}\n` });
    t.equal(lines.length, 1, value);
    t.match(lines[0], /^s\.yaml #1:\d+ YAML: /);
    t.notMatch(lines[0] ?? "", /hunter2/);
  }
});

t.test("what can't be read as a file of text is told, and nothing waits for it", async (t) => {
  const directory = directoryOf(t, {
    "large.yaml": `# ${"x".repeat(1024 ** 2)}\n`,
    "latin.yaml": Uint8Array.from([0x61, 0xff, 0x0a]),
    "one.yaml": namespace("one"),
    "deep.yaml": "[".repeat(5000) + "]".repeat(5000),
  });
  mkdirSync(join(directory, "folder.yaml"));
  execFileSync("mkfifo", [join(directory, "pipe.yaml")]);
  symlinkSync("nowhere", join(directory, "link.yaml"));
  const { documents, problems } = await readerOf(directory)();
  t.equal(documents.length, 1);
  t.match(Object.fromEntries(problems.map(({ file, reason }) => [file, reason])), {
    "folder.yaml": "it is no file",
    "large.yaml": "it is larger than 1 MiB; divide it",
    "latin.yaml": "it is not UTF-8",
    "link.yaml": "it can't be read (ENOENT)",
    "pipe.yaml": "it is no file",
    "deep.yaml": /./,
  });
  const gone = await readerOf(join(directory, "nowhere"))();
  t.match(gone, {
    documents: [],
    problems: [{ reason: /^there is no such directory: is it not mounted yet\?/ }],
  });
});

t.test("2,000 documents are read and no more", async (t) => {
  const many = (count: number, name: string) =>
    Array.from({ length: count }, (_, index) => namespace(`${name}-${index}`)).join("---\n");
  const directory = directoryOf(t, { "a.yaml": many(1999, "a"), "b.yaml": many(3, "b") });
  const { documents, problems } = await readerOf(directory)();
  t.equal(documents.length, 2000);
  t.match(problems, [{ file: "b.yaml", place: "#2", reason: /more than 2000 documents/ }]);
});

t.test("the same value is read until a file says something else", async (t) => {
  const directory = directoryOf(t, { "a.yaml": namespace("one"), "b.yaml": namespace("two") });
  const again = readerOf(directory);
  const first = await again();
  t.equal(await again(), first);
  writeFileSync(join(directory, "a.yaml"), namespace("one"));
  t.equal(await again(), first, "written anew, with the same words");
  writeFileSync(join(directory, "a.yaml"), namespace("six"));
  const second = await again();
  t.not(second, first);
  t.equal(second.documents[1], first.documents[1], "the other file was not parsed again");
  rmSync(join(directory, "b.yaml"));
  t.equal((await again()).documents.length, 1);
  writeFileSync(join(directory, "c.yaml"), "kind: [");
  t.equal((await again()).problems.length, 1);
  rmSync(join(directory, "c.yaml"));
  t.equal((await again()).problems.length, 0);
});

t.test("what others need comes first, and what stands in their way last", (t) => {
  const kinds = [
    "ValidatingWebhookConfiguration",
    "Deployment",
    "RoleBinding",
    "Custom",
    "ResourceQuota",
    "ServiceAccount",
    "CustomResourceDefinition",
    "Namespace",
  ];
  const documents = kinds.map((kind) => ({ object: { apiVersion: "v1", kind, metadata: { name: "a" } } }));
  t.same(
    inOrder(documents).map(({ object: { kind } }) => kind),
    [
      "Namespace",
      "CustomResourceDefinition",
      "ResourceQuota",
      "ServiceAccount",
      "RoleBinding",
      "Deployment",
      "Custom",
      "ValidatingWebhookConfiguration",
    ],
  );
  t.end();
});

t.test("a stream of YAML is divided where its markers are", (t) => {
  const parts = (text: string) => splitYaml(text).map((part) => [part.linesBefore, part.text]);
  t.same(parts(""), []);
  t.same(parts("a: 1\n---\nb: |\n  --- no marker\n---x: 2\n"), [
    [0, "a: 1"],
    [1, "   \nb: |\n  --- no marker\n---x: 2\n"],
  ]);
  t.same(parts("--- {a: 1}\r\n---\r\nb: 1\r\n...\r\n"), [
    [0, "    {a: 1}\r"],
    [1, "   \r\nb: 1\r\n...\r\n"],
  ]);
  t.end();
});

t.test("boot config check reads them, and says what is wrong with file and line", async (t) => {
  const directory = directoryOf(t, {
    "students.yaml": `${namespace("one")}---\nkind: Namespace\nmetadata: { name: two }\n`,
  });
  const config = join(temporaryDirectory(t), "rollcall.yaml");
  const write = (objectsDir: string) =>
    writeFileSync(
      config,
      `cluster:\n  kubernetesVersion: 1.31.0\n  etcd: stacked\n  objectsDir: ${objectsDir}\n`,
    );
  write(directory);
  const check = () => boot(["config", "check", config]);
  const wrong = await check();
  t.equal(wrong.code, 2);
  t.match(wrong.err, new RegExp(`${directory}/students\\.yaml:5: #2: this Namespace has no apiVersion`));
  writeFileSync(join(directory, "students.yaml"), namespace("one"));
  t.match(await check(), { code: 0, out: /: fine/ });
  write("/nowhere");
  t.match(await check(), {
    code: 0,
    out: /: fine/,
    err: /:4: warning: cluster\.objectsDir: \/nowhere: there is no such directory: is it not mounted yet\?/,
  });
  write(config);
  t.match(await check(), { code: 2, err: /:4: cluster\.objectsDir: .*rollcall\.yaml is no directory/ });
  write(directory);
  writeFileSync(join(directory, "students.yaml"), "apiVersion: v1\nkind: Node\nmetadata: { name: m1 }\n");
  t.match(await check(), { code: 2, err: /students\.yaml:2: #1 Node m1: a Node comes with its machine/ });
});

t.test(
  "a file that lost its content is told, a room of anchors is read, and a bomb of them is not",
  async (t) => {
    const roles = (count: number, size: number) =>
      `apiVersion: v1\nkind: List\nitems:\n- { apiVersion: v1, kind: ConfigMap, metadata: { name: c0 }, data: &share { text: ${"x".repeat(size)} } }\n${Array.from(
        { length: count },
        (_, index) =>
          `- { apiVersion: v1, kind: ConfigMap, metadata: { name: c${index + 1} }, data: *share }\n`,
      ).join("")}`;
    t.same(await read(t, { "x.yaml": "" }), ["x.yaml -:- it is empty"]);
    t.equal((await read(t, { "x.yaml": roles(300, 10) })).length, 301);
    t.match(await read(t, { "x.yaml": roles(6000, 10) }), [/^x\.yaml #1:1 YAML: Excessive alias count/]);
    const bomb = `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { a: &a ${"x".repeat(500_000)}, b: *a, c: *a, d: *a }\n`;
    t.match(await read(t, { "x.yaml": bomb }), [/larger than etcd takes/]);
  },
);

t.test("an object has one identity, with the namespace default or without any", async (t) => {
  const map = (metadata: string) => `apiVersion: v1\nkind: ConfigMap\nmetadata: ${metadata}\n`;
  t.match(
    await read(t, { "x.yaml": `${map("{ name: a }")}---\n${map("{ name: a, namespace: default }")}` }),
    ["x.yaml #1:2 ConfigMap a", /^x\.yaml #2:\d+ it is declared in x\.yaml #1 already/],
  );
});

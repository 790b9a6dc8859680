import { resolve } from "node:path";
import t, { type Test } from "tap";
import { TemplateFailed } from "../server/domain/error-catalogue.ts";
import type { Role } from "../server/domain/role.ts";
import { sampleContext } from "../server/render/context.ts";
import { createRenderer, loadStandardTemplates } from "../server/render/documents.ts";
import { compileTemplate } from "../server/render/engine.ts";
import type { Syntax } from "../server/render/quoting.ts";

const context = {
  a: "x",
  nothing: null,
  list: [{ v: 1 }, { v: 2, w: "y" }],
  texts: ["p", "q"],
  object: { k: 1 },
  params: { on: true },
  machine: { name: "s1", labels: { room: "225", "a.b/c": "z" } },
};
const render = (source: string, syntax: Syntax = "yaml") => compileTemplate(source, syntax).render(context);
const fault = (source: string, syntax: Syntax = "yaml"): string => {
  try {
    return `no fault: ${render(source, syntax)}`;
  } catch (error) {
    return (error as Error).message;
  }
};

/** Each source stands on line 3. */
function refuses(
  t: Test,
  syntax: Syntax,
  cases: readonly (readonly [source: string, message: string])[],
): void {
  for (const [source, message] of cases)
    t.equal(fault(`#\n\n${source}`, syntax), `line 3: ${message}`, source);
}

t.test("what a template can do", (t) => {
  const cases: [string, string][] = [
    ["{{a}} {{this.a}} {{./a}} {{[a]}} {{@root.a}}", '"x" "x" "x" "x" "x"'],
    ["{{object.k}} {{object/k}} {{list.[1].w}} {{list.length}}", '1 1 "y" 2'],
    ["{{#each list}}{{@index}}{{v}}{{../a}}{{/each}}", '01"x"12"x"'],
    ["{{#each object}}{{@key}}: {{this}}{{/each}}", '"k": 1'],
    ["{{#each texts as |one at|}}{{at}}{{one}}{{/each}}", '0"p"1"q"'],
    ["{{#with object}}{{k}}{{/with}}", "1"],
    ["{{#if params.on}}1{{else if a}}2{{else}}3{{/if}}{{#unless a}}4{{/unless}}", "1"],
    ["{{#if (eq a 'x')}}same{{/if}}{{#if (eq a 'y')}}other{{/if}}", "same"],
    ["{{nothing}} {{object}} {{texts}}", 'null {"k": 1} ["p", "q"]'],
    ["{{!-- not shown --}}{{~a~}}  .", '"x".'],
    ["{{machine.labels.[a.b/c]}}", '"z"'],
  ];
  for (const [source, expected] of cases) t.equal(render(source), expected, source);
  t.end();
});

t.test("raw output is refused, however it is written", (t) => {
  for (const source of [
    "{{{a}}}",
    "{{&a}}",
    "{{#if a}}{{{a}}}{{/if}}",
    "{{#each texts}}{{{this}}}{{/each}}",
    "{{#if a}}{{else}}{{&a}}{{/if}}",
  ])
    for (const syntax of ["ipxe", "yaml", "json", "shell"] as const)
      refuses(t, syntax, [[source, "{{{raw}}} output is not allowed; {{value}} is quoted for you"]]);
  t.end();
});

t.test("an unknown name is refused, wherever it is read", (t) => {
  const unknown = (path: string, source: string) => [source, `unknown name ${path}`] as const;
  refuses(t, "yaml", [
    unknown("zz", "{{zz}}"),
    unknown("zz", "{{this.zz}}"),
    unknown("object.zz", "{{object.zz}}"),
    unknown("a.zz", "{{a.zz}}"),
    unknown("zz", "{{yaml zz}}"),
    unknown("zz", "{{yaml (sh zz)}}"),
    unknown("zz", "{{#if zz}}1{{/if}}"),
    unknown("zz", "{{#unless zz}}1{{/unless}}"),
    unknown("zz", "{{#if a}}1{{else if zz}}2{{/if}}"),
    unknown("zz", "{{#if (eq zz 'x')}}1{{/if}}"),
    unknown("zz", "{{#if nothing}}{{zz}}{{/if}}"),
    unknown("zz", "{{#each zz}}1{{/each}}"),
    unknown("zz", "{{#with zz}}1{{/with}}"),
    unknown("zz", "{{#each texts}}1{{else}}{{zz}}{{/each}}"),
    unknown("zz", "{{#each texts}}{{../zz}}{{/each}}"),
    unknown("zz", "{{@root.zz}}"),
    unknown("@foo; there are @root, @index, @key, @first, @last", "{{#if @foo}}1{{/if}}"),
  ]);
  t.end();
});

t.test("names of the prototype are unknown names (Handlebars CVE-2019-19919, CVE-2021-23369)", (t) => {
  for (const name of [
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "__defineGetter__",
    "__lookupGetter__",
  ]) {
    refuses(t, "yaml", [
      [`{{${name}}}`, `unknown name ${name}`],
      [`{{object.${name}}}`, `unknown name object.${name}`],
      [`{{a.${name}}}`, `unknown name a.${name}`],
      [`{{#with object}}{{${name}}}{{/with}}`, `${name} has no value`],
      [`{{#each list}}{{this.${name}}}{{/each}}`, `this.${name} has no value`],
      [`{{machine.labels.${name}}}`, `machine.labels.${name} has no value`],
      [`{{${name} a}}`, `unknown helper ${name}; there are yaml, json, uri, sh`],
      [`{{#${name} a}}1{{/${name}}}`, `unknown block ${name}; there are if, unless, each, with`],
      [`{{yaml (${name} a)}}`, `unknown helper ${name}; there are eq, text, uri, json, yaml, sh`],
    ]);
    t.equal(render(`{{#if machine.labels.${name}}}1{{/if}}`), "", name);
  }
  t.end();
});

t.test("a value that is missing inside each and with is refused with its name and line", (t) => {
  refuses(t, "yaml", [
    ["{{#each list}}{{w}}{{/each}}", "w has no value"],
    [
      "{{#each list}}\n{{/each}}{{#each list}}{{v}}{{#if v}}{{sh w}}{{/if}}{{/each}}".replace("\n", ""),
      "w has no value",
    ],
    ["{{#with object}}{{zz}}{{/with}}", "zz has no value"],
    ["{{#each texts}}{{this.v}}{{/each}}", "this.v has no value"],
    ["{{undefined}}", "this value has no value"],
  ]);
  t.equal(
    fault("{{#each list}}\n{{v}}\n{{w}}{{/each}}"),
    "line 3: w has no value",
    "the line inside the block",
  );
  t.end();
});

t.test("helpers, blocks and tags that are not ours are refused", (t) => {
  const blocks = "there are if, unless, each, with";
  refuses(t, "yaml", [
    ["{{lookup object 'k'}}", "unknown helper lookup; there are yaml, json, uri, sh"],
    ["{{log a}}", "unknown helper log; there are yaml, json, uri, sh"],
    ["{{eq a 'x'}}", "unknown helper eq; there are yaml, json, uri, sh"],
    ["{{quoteByDefault a}}", "unknown helper quoteByDefault; there are yaml, json, uri, sh"],
    ["{{helperMissing a}}", "unknown helper helperMissing; there are yaml, json, uri, sh"],
    ["{{#if (lookup object 'k')}}1{{/if}}", "unknown helper lookup; there are eq, text, uri, json, yaml, sh"],
    ["{{yaml (log a)}}", "unknown helper log; there are eq, text, uri, json, yaml, sh"],
    ["{{#object}}1{{/object}}", `unknown block object; ${blocks}`],
    ["{{^nothing}}1{{/nothing}}", `unknown block nothing; ${blocks}`],
    ["{{{{raw}}}} {{a}} {{{{/raw}}}}", `unknown block raw; ${blocks}`],
    ["{{> file}}", "PartialStatement is not allowed in templates"],
    ["{{#> file}}{{/file}}", "PartialBlockStatement is not allowed in templates"],
    ["{{* decorator}}", "Decorator is not allowed in templates"],
    ["{{#* inline 'x'}}{{/inline}}", "DecoratorBlock is not allowed in templates"],
    ["{{../a}}", "../a leads out of the template"],
    ["{{#each texts}}{{../../a}}{{/each}}", "../../a leads out of the template"],
  ]);
  t.end();
});

t.test("a word too many or too few is refused, since it would be left out silently", (t) => {
  refuses(t, "yaml", [
    ["{{yaml a a}}", "yaml takes one value"],
    ["{{yaml}}", "yaml takes one value"],
    ["{{#if}}1{{/if}}", "{{#if}} takes one value"],
    ["{{#if a nothing}}1{{/if}}", "{{#if}} takes one value"],
    ["{{#if (eq a)}}1{{/if}}", "eq takes 2 values"],
    ["{{yaml (sh a a)}}", "sh takes one value"],
    ["{{yaml a b=1}}", "name=value has no meaning in a template"],
    ["{{#if a b=1}}1{{/if}}", "name=value has no meaning in a template"],
  ]);
  t.end();
});

t.test("a helper stands only in documents where its output can do no harm", (t) => {
  t.equal(render("{{text a}} {{uri a}}", "ipxe"), "x x");
  t.equal(render("{{yaml a}} {{json a}} {{uri a}} {{sh a}}"), '"x" "x" x \'x\'');
  t.equal(render("{{json a}} {{uri a}}", "json"), '"x" x');
  t.equal(render("{{text (json a)}}", "ipxe"), '"x"', "inside another helper it is a value like others");
  refuses(t, "ipxe", [
    ["echo {{sh a}}", "sh is not for ipxe documents; there are text, uri"],
    ["echo {{json a}}", "json is not for ipxe documents; there are text, uri"],
    ["echo {{yaml a}}", "yaml is not for ipxe documents; there are text, uri"],
    ["echo {{object}}", "object is a list or a map, which can't be written here"],
    ["echo {{nothing}}", "nothing has no value"],
  ]);
  refuses(t, "yaml", [["a: {{text a}}", "text is not for yaml documents; there are yaml, json, uri, sh"]]);
  refuses(t, "json", [
    ["{{text a}}", "text is not for json documents; there are json, uri"],
    ["{{sh a}}", "sh is not for json documents; there are json, uri"],
  ]);
  t.end();
});

t.test("a label that a machine does not have is false, and refused only where it is printed", (t) => {
  t.equal(render("{{#if machine.labels.rack}}{{machine.labels.rack}}{{else}}none{{/if}}"), "none");
  refuses(t, "yaml", [["{{machine.labels.rack}}", "machine.labels.rack has no value"]]);
  t.end();
});

t.test("broken template syntax names its line and says what to look for", (t) => {
  t.equal(
    fault("a\n{{#if a}}\nb\n"),
    "line 4: a block is still open at the end, e.g. {{#if}} without {{/if}}",
  );
  refuses(t, "yaml", [
    ["{{/if}}", "a block is closed here that was not opened"],
    ["{{#if a}}{{/each}}", "if doesn't match each"],
    ["{{(eq a 'x')}}", "this is no template syntax: #{{(eq a 'x')}}"],
    ["{{", "this is no template syntax: #{{"],
    ["{{a", "this is no template syntax: #{{a"],
  ]);
  t.end();
});

t.test("a template of megabytes is refused before it is read", (t) => {
  t.equal(fault("é".repeat(140_000)), "a template may have 262144 octets at most");
  t.end();
});

t.test("documents", (t) => {
  const renderer = createRenderer(loadStandardTemplates(resolve(import.meta.dirname, "../templates")));
  const role = (templates: Record<string, string>, more: Partial<Role> = {}): Role => ({
    name: "kiosk",
    description: "d",
    boot: "script",
    image: undefined,
    arguments: [],
    rollcallArguments: true,
    reports: true,
    arch: ["x86_64"],
    minimumRamBytes: undefined,
    joins: false,
    node: undefined,
    family: "debian",
    nodeRamBytes: undefined,
    parameters: {},
    templates: Object.fromEntries(
      Object.entries(templates).map(([kind, source]) => [
        kind,
        { file: `${kind}.hbs`, source, directory: import.meta.dirname },
      ]),
    ),
    userDataParts: [],
    files: {},
    extends: undefined,
    inherited: {},
    directory: import.meta.dirname,
    ...more,
  });
  const failure = (
    kind: "ipxe" | "user-data" | "meta-data" | "ignition" | "network-config",
    source: string,
  ): string => {
    const one = role({ [kind]: source });
    try {
      if (kind === "ipxe") renderer.ownScript(one, sampleContext(one));
      else renderer.document(one, kind, sampleContext(one));
    } catch (error) {
      if (!TemplateFailed.is(error)) throw error;
      return error.message;
    }
    return "no failure";
  };

  t.test("one that its reader would refuse never leaves: the error names role, file and fault", (t) => {
    const cases = [
      ["user-data", "users: []\n", "line 1: the first line must be #cloud-config"],
      ["user-data", "#cloud-config\r\n{}\n", "line 1: the first line must be #cloud-config"],
      ["user-data", "#cloud-config\n- a\n", "line 1: the document must be a mapping of keys"],
      ["user-data", "#cloud-config\na: 1\na: 2\n", "line 3 as rendered: Map keys must be unique"],
      [
        "network-config",
        "version: [\n",
        "line 2 as rendered: Flow sequence in block collection must be sufficiently indented and end with a ]",
      ],
      ["meta-data", "local-hostname: x\n", "instance-id is missing"],
      ["meta-data", "", "instance-id is missing"],
      ["ignition", "{}", "line 1 as rendered: the key ignition.version is missing"],
      ["ignition", "null", "line 1 as rendered: a config is a mapping of keys"],
      ["ignition", '{\n "a" 1 }', "line 2 as rendered: this is no JSON: Expected ':' after property name"],
      ["ipxe", "#!/bin/sh\n", "line 1: the first line must be #!ipxe"],
      ["ipxe", "#!ipxe\n{{zz}}", "line 2: unknown name zz"],
    ] as const;
    for (const [kind, source, problem] of cases)
      t.equal(failure(kind, source), `template ${kind}.hbs of role kiosk does not render: ${problem}`);
    t.end();
  });
  t.test("the standard one stands in where the role has none; Ignition has no standard", (t) => {
    const one = role({});
    t.equal(renderer.document(one, "user-data", sampleContext(one)), "#cloud-config\n{}\n");
    t.equal(renderer.document(one, "ignition", sampleContext(one)), undefined);
    t.equal(renderer.ownScript(one, sampleContext(one)), undefined);
    t.end();
  });
  t.test("a broken kernel argument is told with the file that it stands in", (t) => {
    const one = role({}, { arguments: ["quiet", "x={{zz}}"] });
    t.throws(() => renderer.kernelArguments(one, sampleContext(one)), {
      code: "TEMPLATE_FAILED",
      message: "template role.yaml of role kiosk does not render: line 1: unknown name zz",
    });
    t.same(renderer.kernelArguments(role({}, { arguments: ["a={{machine.name}}"] }), sampleContext(one)), [
      "a=s1",
    ]);
    t.end();
  });
  t.end();
});

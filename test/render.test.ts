import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { isDeepStrictEqual as same } from "node:util";
import fc from "fast-check";
import t from "tap";
import { parse as parseYaml } from "yaml";
import type { Machine } from "../server/domain/machine.ts";
import type { Role } from "../server/domain/role.ts";
import { buildContext, type RenderContext } from "../server/render/context.ts";
import { createRenderer, loadStandardTemplates, type StandardScript } from "../server/render/documents.ts";
import { compileTemplate } from "../server/render/engine.ts";
import { anyText, everyText, hostile } from "./support/hostile-texts.ts";
import {
  ipxeText,
  ipxeWord,
  jsonValue,
  shellWord,
  type Syntax,
  uriComponent,
  yamlValue,
} from "../server/render/quoting.ts";

const templates = resolve(import.meta.dirname, "../templates");
const renderer = createRenderer(loadStandardTemplates(templates));
const render = (syntax: Syntax, source: string, context: Record<string, unknown>) =>
  compileTemplate(source, syntax).render(context);

/** Lone surrogates are no characters; what is written in their place is U+FFFD. */
const sample = [...hostile, ...fc.sample(anyText, { numRuns: 400, seed: 20260102 })].map((text) =>
  text.toWellFormed(),
);

t.test("a text in YAML is the same text when it is read, whatever it says (YAML 1.2 s.5.7)", (t) => {
  t.test("by the yaml library, as a value, a key and inside a list", (t) => {
    fc.assert(
      fc.property(anyText, (text) => {
        const read = text.toWellFormed();
        const key = `k${text.slice(0, 500)}`;
        const source = `a: ${yamlValue(text)}\nb: ${yamlValue([text, { [key]: text }])}\nc: end\n`;
        return same(parseYaml(source), { a: read, b: [read, { [key.toWellFormed()]: read }], c: "end" });
      }),
      everyText,
    );
    t.pass("every text");
    t.end();
  });
  t.test("whole structures too, on one line of ASCII", (t) => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
        const plain = JSON.parse(JSON.stringify(value)) as unknown;
        const text = yamlValue(plain);
        return /^[\x20-\x7e]*$/.test(text) && same(parseYaml(`- ${text}\n`), [plain]);
      }),
      { numRuns: 200 },
    );
    t.pass("200 structures");
    t.end();
  });
  // cloud-init reads YAML with PyYAML, which is YAML 1.1: it is asked too where Debian's python3-yaml is installed.
  const hasPyYaml = existsSync("/usr/bin/python3") && existsSync("/usr/lib/python3/dist-packages/yaml");
  t.test(
    `by ${hasPyYaml ? "PyYAML" : "the yaml library as YAML 1.1 (no python3-yaml here)"}, which cloud-init uses`,
    (t) => {
      const document = sample.map((text) => `- ${yamlValue(text)}\n`).join("");
      if (!hasPyYaml) {
        t.strictSame(parseYaml(document, { version: "1.1" }), sample);
        t.end();
        return;
      }
      const program =
        "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer.read().decode()), sys.stdout)";
      const { stdout, stderr } = spawnSync("/usr/bin/python3", ["-I", "-c", program], {
        input: document,
        encoding: "utf8",
      });
      t.equal(stderr, "");
      t.strictSame(JSON.parse(stdout), sample);
      t.end();
    },
  );
  t.end();
});

t.test("a value in JSON is the same value when it is read, in ASCII", (t) => {
  fc.assert(
    fc.property(anyText, (text) => {
      const source = '{ "a": {{a}}, "b": "x/{{uri a}}", "c": [{{#each list}}{{this}}, {{/each}}1] }';
      const written = render("json", source, { a: text, list: [text] });
      const read = { a: text, b: `x/${uriComponent(text)}`, c: [text, 1] };
      return /^[\x20-\x7e]*$/.test(written) && same(JSON.parse(written), read);
    }),
    everyText,
  );
  t.pass("every text");
  t.end();
});

t.test("a part of a URL is percent-encoded to unreserved characters (RFC 3986 s.2.1)", (t) => {
  fc.assert(
    fc.property(anyText, (text) => {
      const written = uriComponent(text);
      return (
        /^([A-Za-z0-9._~-]|%[0-9A-F]{2})*$/.test(written) &&
        decodeURIComponent(written) === text.toWellFormed()
      );
    }),
    everyText,
  );
  t.pass("every text");
  t.end();
});

t.test("a shell word is one argument to a real shell, whatever it says (POSIX 2.2.2)", (t) => {
  const words = sample.filter((text) => !text.includes("\0"));
  const plain = words.map((text) => `printf '%s\\0' ${shellWord(text)}\n`);
  // As a line of a script in a YAML block: the word comes through YAML, or it is refused.
  const source = "#cloud-config\nwrite_files:\n  - content: |\n      printf '%s\\0' {{sh a}}\n    path: /x\n";
  const kept: string[] = [];
  const refusals = new Set<string>();
  const shapes = new Set<string>();
  const throughYaml = words.flatMap((text) => {
    let written: string;
    try {
      written = render("yaml", source, { a: text });
    } catch (error) {
      refusals.add((error as Error).message);
      return [];
    }
    const read = parseYaml(written) as { write_files: { content: string; path: string }[] };
    shapes.add(JSON.stringify(read.write_files.map(({ path }) => path)));
    kept.push(text);
    return [read.write_files[0]?.content ?? ""];
  });
  const quoted = words.map((text) => {
    const read = parseYaml(render("yaml", "a: {{yaml (sh a)}}\n", { a: text })) as { a: string };
    return `printf '%s\\0' ${read.a}\n`;
  });
  const script = [...plain, ...throughYaml, ...quoted].join("");
  const { stdout, stderr, status } = spawnSync("/bin/sh", ["-u"], { input: script, encoding: "utf8" });
  t.equal(stderr, "");
  t.equal(status, 0);
  t.strictSame(stdout.split("\0").slice(0, -1), [...words, ...kept, ...words]);
  t.same([...shapes], ['["/x"]'], "the document around it stays as it is");
  t.same(
    [...refusals],
    [
      "line 4: a has a line break or control character, which a shell word can't have here; write {{yaml (sh ...)}}",
    ],
  );
  t.ok(kept.length > 100, "most words stand on a line of YAML");
  t.equal(shellWord("a\0b"), "'ab'", "NUL can't be in an argument");
  t.end();
});

/**
 * The commands of an iPXE script as core/exec.c sees them: words parted by blanks; `||`, `&&` and `;` part commands, `#` begins
 * a comment. `echo` is told with its options.
 */
function commandsOf(script: string): string[][] {
  const operators = ["||", "&&", ";", "#"];
  return script.split("\n").map((line) => {
    const words = line.split(/[\s\0]+/).filter((word) => word !== "");
    const comment = words.findIndex((word) => word.startsWith("#"));
    const told = comment < 0 ? words : [...words.slice(0, comment), "#"];
    const isCommand = (index: number) => index === 0 || operators.includes(told[index - 1] ?? "");
    return [
      ...told.filter((word, index) => isCommand(index) || operators.includes(word)),
      ...told.filter((word, index) => told[index - 1] === "echo" && word.startsWith("-")),
      `${line.split("${").length - 1} variables`,
    ];
  });
}

function contextWith(text: string): RenderContext & Record<string, unknown> {
  const role = { name: text, description: text } as Role;
  const machine = {
    name: text,
    macs: ["52:54:00:00:00:01"],
    uuid: text,
    serial: text,
    group: text,
    seat: text,
    address: text,
    labels: { a: text },
  };
  return {
    ...buildContext({
      machine: machine as unknown as Machine,
      role,
      params: { page: text },
      serverUrl: "http://10.0.0.1:8080",
      bootId: "b_1",
      claim: "c",
      image: {
        name: text,
        version: text,
        kernelUrl: text,
        kernelEfiUrl: null,
        // An address of ours, never empty: without one there is no line for it.
        initrdUrl: `http://10.0.0.1/${text}`,
        rootUrl: text,
        rootSha256: text,
        rootSizeBytes: 1,
      },
    }),
    code: text,
    message: text,
    advice: text,
    mac: text,
    url: text,
    pollSeconds: 5,
    retrySeconds: 10,
    method: "sanboot",
    menu: { entries: [{ role: "local", label: text, key: "1" }], default: "local", timeoutMs: 1000 },
    serverUrl: "http://10.0.0.1:8080",
    arguments: ["quiet", text, `x=${text}`],
  };
}

t.test("an iPXE script has the same lines and commands, whatever the machine says of itself", (t) => {
  const scripts: StandardScript[] = ["first-contact", "image", "wait", "menu", "local", "url", "error"];
  for (const name of scripts) {
    const expected = commandsOf(renderer.standardScript(name, "seed", contextWith("plain")));
    fc.assert(
      fc.property(anyText, (text) => {
        const script = renderer.standardScript(name, "seed", contextWith(text));
        return /^[\x20-\x7e\n]*$/.test(script) && same(commandsOf(script), expected);
      }),
      everyText,
    );
    t.pass(`${name}.ipxe`);
  }
  t.test("and each value behind a command is one word", (t) => {
    const words = (text: string) => render("ipxe", "set a{{a}} b {{a}}z", { a: text }).split(" ").length;
    fc.assert(
      fc.property(anyText, (text) => words(text) === 4),
      everyText,
    );
    t.equal(
      ipxeWord("http://10.0.0.1:8080/a%20b?x=1&y=2;z,~@+"),
      "http://10.0.0.1:8080/a%20b?x=1&y=2;z,~@+",
      "URLs are kept",
    );
    for (const operator of ["&&", "||", "&", ";", "#", "#x"])
      t.notMatch(ipxeWord(operator), /[&|;#]/, operator);
    t.end();
  });
  t.test("text for the screen is cut to three lines of it", (t) => {
    t.equal(ipxeText("x".repeat(5000)).length, 240);
    t.equal(ipxeText("there is no role é; there are: a, b"), "there is no role _; there are: a, b");
    t.equal(ipxeText("a ; b ;"), "a _ b _");
    t.equal(ipxeText(`${"x".repeat(238)} ;b`), `${"x".repeat(238)} _`, "cut between ; and its word");
    t.equal(ipxeText(" -n x"), " _n x");
    t.end();
  });
  t.end();
});

t.test("a cloud-init document has the same keys, whatever the machine says of itself", (t) => {
  const role = { name: "r", boot: "wait", templates: {}, files: {} } as unknown as Role;
  const boot0 = { match: { macaddress: "52:54:00:00:00:01" }, dhcp4: true, "dhcp-identifier": "mac" };
  const network = { version: 2, ethernets: { boot0 } };
  const post = ["instance_id", "hostname", "pub_key_ed25519"];
  const vendor = { phone_home: { url: "http://10.0.0.1:8080/callback/c/joined", post, tries: 20 } };
  fc.assert(
    fc.property(anyText, (text) => {
      const context = contextWith(text);
      const read = (kind: "meta-data" | "network-config" | "vendor-data") =>
        parseYaml(renderer.document(role, kind, context) ?? "") as unknown;
      return (
        same(read("meta-data"), { "instance-id": "b_1", "local-hostname": text.toWellFormed() }) &&
        same(read("network-config"), network) &&
        same(read("vendor-data"), vendor)
      );
    }),
    everyText,
  );
  t.pass("every text");
  t.end();
});

t.test("= and + are not escaped for HTML, which would break every URL and key", (t) => {
  for (const syntax of ["ipxe", "yaml", "json", "shell"] as const)
    t.match(render(syntax, "{{a}}", { a: "key=YWI+Yw==&<x>'" }), "key=YWI+Yw==&", syntax);
  t.end();
});

t.test("a value that looks like a template is text", (t) => {
  t.equal(render("yaml", "{{a}}", { a: "{{constructor}}{{{b}}}" }), '"{{constructor}}{{{b}}}"');
  t.equal(render("yaml", "\\{{a}}", { a: 1 }), "{{a}}", "and an escaped one stays as it is");
  t.end();
});

t.test("the same source is written for each syntax in its own way", (t) => {
  const template = { file: "x", source: "#!ipxe\n# {{machine.name}}" };
  const role = {
    name: "r",
    templates: { ipxe: template, "network-config": template },
    files: {},
  } as unknown as Role;
  const context = contextWith('a"b');
  t.equal(renderer.ownScript(role, context), "#!ipxe\n# a_b");
  t.equal(renderer.document(role, "network-config", context), '#!ipxe\n# "a\\"b"');
  t.equal(jsonValue("\u2028é"), '"\\u2028\\u00e9"');
  t.end();
});

import { readdirSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { roleFaultCodes } from "../server/domain/reported-codes.ts";
import { loadRoles } from "../server/render/load-roles.ts";

const shipped = resolve(import.meta.dirname, "../templates/roles");
type Files = Record<string, string>;

/** The faults of one role folder as `boot role lint` prints them, without the directory of the test. */
function faults(t: Test, files: Files, name = "kiosk"): string[] {
  const directory = t.testdir({ [name]: files });
  const { problems, warnings } = loadRoles([directory]);
  return [...problems, ...warnings].map(
    ({ file, line, column, code, message }) =>
      `${file.slice(directory.length + name.length + 2)}:${line}:${column}: ${code}: ${message}`,
  );
}

const head = "description: d\nboot: image\nimage: debian-node\n";
const waits = "description: d\nboot: wait\n";
const keys =
  "description, extends, boot, image, arguments, arch, minimumRam, localBoot, joins, node, family, nodeRam, reports, rollcallArguments, sshUser, sshCommands, parameters, templates, userDataParts, files";
const kinds = "ipxe, user-data, meta-data, vendor-data, network-config, ignition";
const templateKinds = `${kinds}, butane`;
const parameter = (lines: string) => `${waits}parameters:\n  page:\n${lines}`;
const userData = (source: string): Files => ({
  "role.yaml": `${waits}templates:\n  user-data: u.hbs\n`,
  "u.hbs": `#cloud-config\n${source}`,
});

const flatcar = "variant: flatcar\nversion: 1.1.0\n";
/** A role with one document, the file `f`. */
const ignition = (line: string, f: string): Files => ({ "role.yaml": `${waits}${line}\n`, f });

const isLike = (text: string, wanted: string | RegExp | undefined) =>
  wanted instanceof RegExp && wanted.test(text);

/** Each broken role.yaml (or role with its templates) and the faults that it has, all of them. */
const broken: readonly (readonly [
  rule: string,
  role: string | Files,
  expected: readonly (string | RegExp)[],
])[] = [
  [
    "a role says what it is and how it boots",
    "image: a\n",
    [
      "role.yaml:1:1: ROLE_KEY_MISSING: the key description is missing",
      "role.yaml:1:1: ROLE_KEY_MISSING: the key boot is missing",
    ],
  ],
  [
    "parts of user-data are a list of files",
    `${head}userDataParts: lab.hbs\n`,
    ["role.yaml:4:1: ROLE_VALUE_INVALID: userDataParts: must be a list of files beside role.yaml"],
  ],
  [
    "each part is a file beside role.yaml",
    `${head}userDataParts: [lab.hbs, ../up.hbs]\n`,
    [
      "role.yaml:4:17: ROLE_DOCUMENT_MISSING: userDataParts.0: there is no file lab.hbs beside role.yaml",
      "role.yaml:4:26: ROLE_VALUE_INVALID: userDataParts.1: must be the name of a file beside role.yaml",
    ],
  ],
  [
    "each part is a cloud-config, and has its faults told at their places",
    {
      "role.yaml": `${head}userDataParts: [a.hbs, b.hbs]\n`,
      "a.hbs": "packages: []\n",
      "b.hbs": "#cloud-config\na: {{nobody}}\n",
    },
    ["a.hbs:1:1: CLOUD_INIT_INVALID: the first line must be #cloud-config", /^b.hbs:/],
  ],
  [
    "a machine that boots no image merges no user-data",
    { "role.yaml": `${waits}userDataParts: [a.hbs]\n`, "a.hbs": "#cloud-config\na: 1\n" },
    [/^role.yaml:3:1: ROLE_KEYS_CONFLICT: userDataParts: has no meaning with boot: wait/],
  ],
  [
    "a multipart message takes no parts from beside it",
    {
      "role.yaml": `${head}files: { user-data: mail }\nuserDataParts: [a.hbs]\n`,
      "a.hbs": "#cloud-config\na: 1\n",
      mail: 'Content-Type: multipart/mixed; boundary="x"\n\n--x--\n',
    },
    [
      /^role.yaml:5:1: ROLE_KEYS_CONFLICT: files.user-data is a multipart message, into which no userDataParts/,
    ],
  ],
  [
    "a node boots an image",
    `${waits}node: worker\n`,
    ["role.yaml:3:1: ROLE_KEYS_CONFLICT: node: has no meaning with boot: wait"],
  ],
  [
    "a node of family debian boots an image of ours",
    `${head}rollcallArguments: false\nnode: worker\n`,
    [/^role.yaml:5:1: ROLE_KEYS_CONFLICT: node: family: debian is an image of ours/],
  ],
  [
    "a node by a script of one's own needs the document that its description is merged into",
    {
      "role.yaml": "description: d\nboot: script\ntemplates: { ipxe: s }\nnode: worker\nfamily: flatcar\n",
      s: "#!ipxe\nexit\n",
    },
    [
      "role.yaml:4:1: ROLE_KEYS_CONFLICT: node: with boot: script, family: flatcar needs the document ignition",
    ],
  ],
  [
    "no node is merged into a multipart message",
    {
      "role.yaml": `${head}files: { user-data: mail }\nnode: worker\nfamily: ubuntu\n`,
      mail: 'Content-Type: multipart/mixed; boundary="x"\n\n--x--\n',
    },
    [
      "role.yaml:5:1: ROLE_KEYS_CONFLICT: files.user-data is a multipart message, into which no node is merged",
    ],
  ],
  [
    "the RAM of a node is that of a node",
    `${head}nodeRam: 5 GiB\n`,
    ["role.yaml:4:1: ROLE_KEYS_CONFLICT: nodeRam: has no meaning without node"],
  ],
  [
    "an empty file is no role",
    "",
    [
      "role.yaml:1:1: ROLE_VALUE_INVALID: the file must be a mapping of keys, like `description: ...` and `boot: ...`",
    ],
  ],
  [
    "a list is no role",
    "- boot: wait\n",
    [
      "role.yaml:1:1: ROLE_VALUE_INVALID: the file must be a mapping of keys, like `description: ...` and `boot: ...`",
    ],
  ],
  [
    "the file must be YAML",
    "description: d\n\tboot: wait\n",
    ["role.yaml:2:1: ROLE_YAML_INVALID: Tabs are not allowed as indentation"],
  ],
  [
    "one document a file",
    `${waits}---\n${waits}`,
    [
      "role.yaml:3:1: ROLE_YAML_INVALID: Source contains multiple documents; please use YAML.parseAllDocuments()",
    ],
  ],
  [
    "a key stands once",
    `${waits}boot: local\n`,
    ["role.yaml:3:1: ROLE_YAML_INVALID: Map keys must be unique"],
  ],
  [
    "tags make no objects",
    "description: !!js/function d\nboot: wait\n",
    ["role.yaml:1:14: ROLE_YAML_INVALID: Unresolved tag: tag:yaml.org,2002:js/function"],
  ],
  [
    "every unknown key is told",
    `${waits}foo: 1\nbar: 2\n`,
    [
      `role.yaml:3:1: ROLE_KEY_UNKNOWN: unknown key foo; known are ${keys}`,
      `role.yaml:4:1: ROLE_KEY_UNKNOWN: unknown key bar; known are ${keys}`,
    ],
  ],
  [
    "prototype names are unknown keys",
    `${waits}__proto__: {}\nconstructor: 1\n`,
    [
      `role.yaml:3:1: ROLE_KEY_UNKNOWN: unknown key __proto__; known are ${keys}`,
      `role.yaml:4:1: ROLE_KEY_UNKNOWN: unknown key constructor; known are ${keys}`,
    ],
  ],
  [
    "a description is a text",
    "description: 5\nboot: wait\n",
    ["role.yaml:1:1: ROLE_VALUE_INVALID: description: must be a text that is not empty"],
  ],
  [
    "a description is not empty",
    "description: ''\nboot: wait\n",
    ["role.yaml:1:1: ROLE_VALUE_INVALID: description: must be a text that is not empty"],
  ],
  [
    "boot is one of five words",
    "description: d\nboot: disk\n",
    ["role.yaml:2:1: ROLE_VALUE_INVALID: boot: must be one of image, wait, local, menu, script"],
  ],
  [
    "boot: image names its image",
    "description: d\nboot: image\n",
    ["role.yaml:2:1: ROLE_KEYS_CONFLICT: boot: image needs the key image"],
  ],
  [
    "only boot: image has an image",
    `${waits}image: debian-node\n`,
    ["role.yaml:3:1: ROLE_KEYS_CONFLICT: image: has no meaning with boot: wait"],
  ],
  [
    "an image's name is a word",
    "description: d\nboot: image\nimage: ../etc\n",
    [
      "role.yaml:3:1: ROLE_VALUE_INVALID: image: must be the name of an image: lower-case letters, digits, dots and hyphens",
    ],
  ],
  [
    "boot: script brings a script",
    "description: d\nboot: script\n",
    ["role.yaml:2:1: ROLE_KEYS_CONFLICT: boot: script needs templates.ipxe"],
  ],
  [
    "arguments are a list",
    `${head}arguments: quiet splash\n`,
    ["role.yaml:4:1: ROLE_VALUE_INVALID: arguments: must be a list of texts"],
  ],
  [
    "an argument is a text",
    `${head}arguments:\n  - quiet\n  - 5\n`,
    ["role.yaml:6:5: ROLE_VALUE_INVALID: arguments.1: must be a text; write it in quotes"],
  ],
  [
    "an argument is one word",
    `${head}arguments: [quiet, a b]\n`,
    [
      'role.yaml:4:20: ARGUMENT_INVALID: arguments.1: "a b" is not one word that iPXE can pass on; write each argument as an item of its own, without blanks, quotes, $, # or braces',
    ],
  ],
  [
    "an argument is not changed silently",
    `${head}arguments:\n  - 'dyndbg="+p"'\n`,
    [
      'role.yaml:5:5: ARGUMENT_INVALID: arguments.0: "dyndbg=\\"+p\\"" is not one word that iPXE can pass on; write each argument as an item of its own, without blanks, quotes, $, # or braces',
    ],
  ],
  [
    "arguments are no more than Linux reads",
    `${head}arguments: [${"a".repeat(1000)}, ${"b".repeat(1000)}, ${"c".repeat(45)}, d]\n`,
    [
      "role.yaml:4:1: ARGUMENT_INVALID: arguments: 2049 octets together, and Linux reads 2047 of its command line",
    ],
  ],
  [
    "an argument has no line break",
    `${head}arguments: ["a\\nreboot"]\n`,
    [
      'role.yaml:4:13: ARGUMENT_INVALID: arguments.0: "a\\nreboot" is not one word that iPXE can pass on; write each argument as an item of its own, without blanks, quotes, $, # or braces',
    ],
  ],
  [
    "an argument's template reads known names",
    `${head}arguments: ["a={{params.zz}}"]\n`,
    ["role.yaml:4:13: TEMPLATE_INVALID: unknown name params.zz"],
  ],
  [
    "arguments are for a kernel of ours",
    `${waits}arguments: [quiet]\n`,
    ["role.yaml:3:1: ROLE_KEYS_CONFLICT: arguments: has no meaning with boot: wait"],
  ],
  [
    "arch is a list of known ones",
    `${head}arch: [x64]\n`,
    ["role.yaml:4:8: ROLE_VALUE_INVALID: arch.0: must be one of x86_64, x86, arm, arm64, riscv64"],
  ],
  [
    "arch is a list",
    `${head}arch: x86_64\n`,
    ["role.yaml:4:1: ROLE_VALUE_INVALID: arch: must be a list of x86_64, x86, arm, arm64, riscv64"],
  ],
  [
    "RAM has a unit",
    `${head}minimumRam: 2048\n`,
    ["role.yaml:4:1: ROLE_VALUE_INVALID: minimumRam: must be an amount like 512 MiB or 2 GiB"],
  ],
  [
    "joins is true or false",
    `${head}joins: maybe\n`,
    ["role.yaml:4:1: ROLE_VALUE_INVALID: joins: must be true or false"],
  ],
  [
    "parameters are a mapping",
    `${waits}parameters: [page]\n`,
    ["role.yaml:3:1: ROLE_VALUE_INVALID: parameters: must be a mapping of names"],
  ],
  [
    "a parameter is described",
    `${waits}parameters:\n  page: http://a/\n`,
    [
      "role.yaml:4:3: ROLE_VALUE_INVALID: parameters.page: must be a mapping with type, default and description",
    ],
  ],
  [
    "a parameter has type, default and description",
    parameter("    type: string\n"),
    [
      "role.yaml:4:3: ROLE_KEY_MISSING: parameters.page: the key default is missing",
      "role.yaml:4:3: ROLE_KEY_MISSING: parameters.page: the key description is missing",
    ],
  ],
  [
    "a parameter's type is one of four",
    parameter("    type: text\n    default: a\n    description: d\n"),
    [
      "role.yaml:5:5: ROLE_VALUE_INVALID: parameters.page.type: must be one of string, integer, boolean, string[]",
    ],
  ],
  [
    "a default has its type",
    parameter("    type: integer\n    default: '5'\n    description: d\n"),
    ["role.yaml:6:5: ROLE_VALUE_INVALID: parameters.page.default: must be a whole number"],
  ],
  [
    "a parameter has no other keys",
    parameter("    type: string\n    default: a\n    description: d\n    min: 1\n"),
    [
      "role.yaml:8:5: ROLE_KEY_UNKNOWN: unknown key parameters.page.min; known are type, default, description",
    ],
  ],
  [
    "a parameter's name is a word",
    `${waits}parameters:\n  the-page:\n    type: string\n    default: a\n    description: d\n`,
    [
      "role.yaml:4:3: ROLE_VALUE_INVALID: parameters.the-page: a name is letters and digits, the first a small letter, at most 31",
    ],
  ],
  [
    "__proto__ is no parameter",
    `${waits}parameters:\n  __proto__:\n    type: string\n    default: a\n    description: d\n`,
    [
      "role.yaml:4:3: ROLE_VALUE_INVALID: parameters.__proto__: a name is letters and digits, the first a small letter, at most 31",
    ],
  ],
  [
    "templates are a mapping",
    `${waits}templates: u.hbs\n`,
    ["role.yaml:3:1: ROLE_VALUE_INVALID: templates: must be a mapping of documents to files"],
  ],
  [
    "a template is for a known document",
    `${waits}templates:\n  userdata: u.hbs\n`,
    [`role.yaml:4:3: ROLE_KEY_UNKNOWN: unknown key templates.userdata; known are ${templateKinds}`],
  ],
  [
    "a template's file is there",
    `${waits}templates:\n  user-data: u.hbs\n`,
    ["role.yaml:4:3: ROLE_DOCUMENT_MISSING: templates.user-data: there is no file u.hbs beside role.yaml"],
  ],
  [
    "a template lies beside its role",
    `${waits}templates:\n  user-data: ../../etc/passwd\n  meta-data: /etc/passwd\n`,
    [
      "role.yaml:4:3: ROLE_VALUE_INVALID: templates.user-data: must be the name of a file beside role.yaml",
      "role.yaml:5:3: ROLE_VALUE_INVALID: templates.meta-data: must be the name of a file beside role.yaml",
    ],
  ],
  [
    "a template reads known names",
    userData("a: {{machine.name}}\nb: {{machine.nmae}}\n"),
    ["u.hbs:3:4: TEMPLATE_INVALID: unknown name machine.nmae"],
  ],
  [
    "a template prints nothing raw",
    userData("a: 1\nb: 2\nc: {{{machine.name}}}\n"),
    ["u.hbs:4:4: TEMPLATE_INVALID: {{{raw}}} output is not allowed; {{value}} is quoted for you"],
  ],
  [
    "a template's blocks are closed",
    userData("a: 1\n{{#if machine.group}}\n"),
    ["u.hbs:4:1: TEMPLATE_INVALID: a block is still open at the end, e.g. {{#if}} without {{/if}}"],
  ],
  [
    "a template's helpers are known",
    userData("a: {{upper machine.name}}\n"),
    ["u.hbs:2:4: TEMPLATE_INVALID: unknown helper upper; there are yaml, json, uri, sh"],
  ],
  [
    "what a template makes is YAML",
    userData("a: 1\nb: [\n"),
    [
      "u.hbs:4:1: CLOUD_INIT_INVALID: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
  ],
  [
    "user-data says that it is cloud-config",
    { ...userData(""), "u.hbs": "users: []\n" },
    ["u.hbs:1:1: CLOUD_INIT_INVALID: the first line must be #cloud-config"],
  ],
  [
    "a fact that a new machine does not have is asked for first",
    userData("runcmd:\n  - echo {{sh machine.seat}}\n"),
    [
      "u.hbs:3:10: TEMPLATE_INVALID: machine.seat has no value, on a machine of which only the MAC is known; put it inside {{#if ...}}",
    ],
  ],
  [
    "a label that not every machine has is asked for first",
    userData("a: {{machine.labels.rack}}\n"),
    ["u.hbs:2:4: TEMPLATE_INVALID: machine.labels.rack has no value"],
  ],
  [
    "a role without an image can't speak of it",
    userData("a: {{image.name}}\n"),
    ["u.hbs:2:4: TEMPLATE_INVALID: unknown name image.name"],
  ],
  [
    "a script begins as one",
    { "role.yaml": "description: d\nboot: script\ntemplates:\n  ipxe: s\n", s: "echo a\n" },
    ["s:1:1: SCRIPT_INVALID: the first line must be #!ipxe"],
  ],
  [
    "an Ignition config is JSON",
    { "role.yaml": `${waits}templates:\n  ignition: i\n`, i: '{\n "a" 1 }\n' },
    ["i:2:6: IGNITION_INVALID: this is no JSON: Expected ':' after property name"],
  ],
  [
    "one document comes from one file",
    {
      "role.yaml": `${waits}templates: { user-data: u, butane: b }\nfiles: { user-data: u, ignition: b }\n`,
      u: "#cloud-config\n{}\n",
      b: flatcar,
    },
    [
      "role.yaml:4:10: ROLE_KEYS_CONFLICT: files.user-data: templates.user-data makes the same document",
      "role.yaml:4:24: ROLE_KEYS_CONFLICT: files.ignition: templates.butane makes the same document",
    ],
  ],
  [
    "a file is for a known document",
    `${waits}files:\n  butane: b\n`,
    [`role.yaml:4:3: ROLE_KEY_UNKNOWN: unknown key files.butane; known are ${kinds}`],
  ],
  [
    "a file lies beside its role",
    `${waits}files:\n  ignition: /etc/passwd\n`,
    ["role.yaml:4:3: ROLE_VALUE_INVALID: files.ignition: must be the name of a file beside role.yaml"],
  ],
  [
    "user-data that is taken as it is begins as cloud-init knows it",
    ignition("files: { user-data: f }", "users: []\n"),
    [
      "f:1:1: CLOUD_INIT_INVALID: the first line must be one that cloud-init knows: #cloud-config-archive, #cloud-config, #cloud-boothook, #include-once, #include, #part-handler, #!, ## template: jinja",
    ],
  ],
  [
    "a network-config has a version",
    ignition("templates: { network-config: f }", "ethernets: {}\n"),
    ["f:1:1: CLOUD_INIT_INVALID: the key version must be 1 or 2"],
  ],
  [
    "an Ignition file is Butane or Ignition",
    ignition("files: { ignition: f }", "#cloud-config\nusers: []\n"),
    ["f:1:1: BUTANE_INVALID: the key variant is missing; there are fcos, flatcar"],
  ],
  [
    "what an old Container Linux Config has and Ignition 3 has not is told",
    ignition(
      "files: { ignition: f }",
      "passwd:\n  users: [{ name: core }]\netcd:\n  name: a\nstorage:\n  files:\n    - path: /a\n      filesystem: oem\n",
    ),
    [
      /^f:3:1: BUTANE_INVALID: etcd: unknown key/,
      /^f:8:7: BUTANE_INVALID: storage\.files\.0\.filesystem: unknown key/,
    ],
  ],
  [
    "Ignition 2 is another language",
    ignition("files: { ignition: f }", '{ "ignition": { "version": "2.3.0" } }\n'),
    ["f:1:17: IGNITION_INVALID: ignition.version: must be a version from 3.0.0 to 3.6.0"],
  ],
  [
    "every fault of a Butane file is told",
    ignition(
      "files: { ignition: f }",
      `${flatcar}passwd:\n  users:\n    - nmae: core\n    - name: anna\n      uid: one\n`,
    ),
    [
      /^f:5:7: BUTANE_INVALID: passwd\.users\.0\.nmae: unknown key; known are .* name,/,
      "f:7:7: BUTANE_INVALID: passwd.users.1.uid: must be a whole number",
    ],
  ],
  [
    "a Butane file draws in what lies in the role's folder",
    ignition(
      "files: { ignition: f }",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents: { local: ../../secret }\n    - path: /b\n      contents: { local: gone }\n`,
    ),
    [
      'f:6:19: BUTANE_INVALID: storage.files.0.contents.local: there is no "../../secret" in the role\'s folder',
      'f:8:19: BUTANE_INVALID: storage.files.1.contents.local: there is no "gone" in the role\'s folder',
    ],
  ],
  [
    "a Butane template reads known names",
    ignition("templates: { butane: f }", `${flatcar}passwd:\n  users: {{params.users}}\n`),
    ["f:4:10: TEMPLATE_INVALID: unknown name params.users"],
  ],
  [
    "what a Butane template makes is Butane",
    ignition(
      "templates: { butane: f }",
      `${flatcar}storage:\n  files:\n    - path: {{machine.name}}\n      mode: 420\n`,
    ),
    ["f:5:7: BUTANE_INVALID: storage.files.0.path: must be an absolute path"],
  ],
  [
    "a Butane template asks for facts that a new machine does not have",
    ignition(
      "templates: { butane: f }",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents: { inline: {{machine.labels.room}} }\n`,
    ),
    [
      "f:6:27: TEMPLATE_INVALID: machine.labels.room has no value, on a machine of which only the MAC is known; put it inside {{#if ...}}",
    ],
  ],
  [
    "an Ignition template prints no list where a text stands",
    ignition(
      "templates: { ignition: f }",
      '{ "ignition": { "version": "3.0.0" },\n  "passwd": { "users": [{ "name": {{arguments}} }] } }\n',
    ),
    ["f:2:27: IGNITION_INVALID: passwd.users.0.name: must be a text"],
  ],
  [
    "an iPXE file begins as one",
    { "role.yaml": "description: d\nboot: script\nfiles: { ipxe: s }\n", s: "echo a\n" },
    ["s:1:1: SCRIPT_INVALID: the first line must be #!ipxe"],
  ],
  [
    "a script jumps to labels that it has",
    {
      "role.yaml": "description: d\nboot: script\ntemplates:\n  ipxe: s\n",
      s: "#!ipxe\n{{#if machine.group}}\necho {{text machine.group}}\n{{/if}}\n:again\nchain http://a/{{uri machine.name}} || goto agian\n  goto away\n",
    },
    [
      "s:6:40: SCRIPT_INVALID: goto agian: there is no label :agian",
      "s:7:3: SCRIPT_INVALID: goto away: there is no label :away",
    ],
  ],
  [
    "a script whose failure would be silent is a warning, and so is a command that no iPXE has",
    {
      "role.yaml": "description: d\nboot: script\nfiles: { ipxe: s }\n",
      s: "#!ipxe\n  kernel http://a/k quiet\ninitrd http://a/i || goto failed\nbot || goto ${next}\n:failed\nisset ${net0/ip} || shel\n",
    },
    [
      /^s:2:3: SCRIPT_LINE_UNGUARDED: if this fails, the script ends here/,
      "s:4:1: SCRIPT_COMMAND_UNKNOWN: bot is no command of iPXE",
      "s:6:21: SCRIPT_COMMAND_UNKNOWN: shel is no command of iPXE",
      /^s:6:1: SCRIPT_LINE_UNGUARDED: /,
    ],
  ],
  [
    "every fault of a template is told",
    userData("a: {{machine.nmae}}\nb: {{{machine.name}}}\nc: {{upper machine.name}}\n"),
    [
      "u.hbs:3:4: TEMPLATE_INVALID: {{{raw}}} output is not allowed; {{value}} is quoted for you",
      "u.hbs:4:4: TEMPLATE_INVALID: unknown helper upper; there are yaml, json, uri, sh",
    ],
  ],
  [
    "every unknown name is told",
    userData("a: {{machine.nmae}}\nb: {{#if params.big}}{{params.big}}{{/if}}\n"),
    [
      "u.hbs:2:4: TEMPLATE_INVALID: unknown name machine.nmae",
      "u.hbs:3:4: TEMPLATE_INVALID: unknown name params.big",
      "u.hbs:3:22: TEMPLATE_INVALID: unknown name params.big",
    ],
  ],
  [
    "the place of a fault is one of the template, whatever its blocks made of it",
    userData(
      "{{#if machine.group}}\na: 1\n{{/if}}\n{{#each machine.labels}}\n# a label\n{{/each}}\nb: {{machine.name}}\n  bad: {{machine.mac}}\nb: 2\n",
    ),
    [/^u\.hbs:(8|9):\d+: CLOUD_INIT_INVALID: /, "u.hbs:10:1: CLOUD_INIT_INVALID: Map keys must be unique"],
  ],
  [
    "a conflict in role.yaml hides no fault of a document",
    {
      ...userData("a: {{machine.nmae}}\n"),
      "role.yaml": `${waits}image: i\ntemplates: { user-data: u.hbs, meta-data: m.hbs }\n`,
    },
    [
      "role.yaml:4:32: ROLE_DOCUMENT_MISSING: templates.meta-data: there is no file m.hbs beside role.yaml",
      "role.yaml:3:1: ROLE_KEYS_CONFLICT: image: has no meaning with boot: wait",
      "u.hbs:2:4: TEMPLATE_INVALID: unknown name machine.nmae",
    ],
  ],
  ["role.yaml is there", {}, ["role.yaml:1:1: ROLE_FILE_MISSING: there is no such file"]],
];

t.test("a broken role is told with file, line and column, and nothing else is", (t) => {
  const codes = new Set<string>();
  for (const [rule, role, expected] of broken) {
    const found = faults(t, typeof role === "string" ? { "role.yaml": role } : role);
    t.same(
      found.map((one, index) => (isLike(one, expected[index]) ? expected[index] : one)),
      expected,
      rule,
    );
    for (const one of found) codes.add(/^\S+ (\w+): /.exec(one)?.[1] ?? one);
  }
  t.comment(`${broken.length} broken roles, each with the right message`);
  t.ok(broken.length >= 60, `${broken.length} broken roles`);
  // Parents are looked at in role-inheritance.test.ts, the name below.
  const elsewhere = Object.keys(roleFaultCodes).filter((code) => /PARENT|ROLE_NAME/.test(code));
  t.same([...codes, ...elsewhere].sort(), Object.keys(roleFaultCodes).sort(), "every code is shown by one");
  for (const name of ["Kiosk", "kiosk_1", "-kiosk", "k".repeat(41)])
    t.same(
      faults(t, { "role.yaml": waits }, name),
      [
        "role.yaml:1:1: ROLE_NAME_INVALID: the folder's name must be lower-case letters, digits and hyphens, at most 40",
      ],
      name,
    );
  t.end();
});

t.test("what a role may do without a fault", (t) => {
  const fine: (string | Files)[] = [
    waits,
    `${head}arguments: ["console={{params.tty}}", "a.b=c:d,e/f?g&h;i"]\nparameters:\n  tty:\n    type: string\n    default: ttyS0\n    description: d\n`,
    `${head}arch: [x86_64, arm64]\nminimumRam: 512 MiB\njoins: true\n`,
    userData(
      "{{#if machine.seat}}a: {{machine.seat}}{{/if}}\n{{#if machine.labels.rack}}b: {{machine.labels.rack}}{{/if}}\n",
    ),
    userData("keys: {{machine.labels}}\n"),
    {
      "role.yaml": "description: d\nboot: script\ntemplates:\n  ipxe: s\n",
      s: "#!ipxe\necho {{text machine.name}}\n:again\niseq ${a} b && goto again ||\nkernel http://a/k a||b || goto again\ngoto ${x}\n",
    },
    { "role.yaml": `${waits}templates:\n  ignition: i\n`, i: '{ "ignition": { "version": "3.4.0" } }' },
  ];
  for (const role of fine) t.same(faults(t, typeof role === "string" ? { "role.yaml": role } : role), []);
  t.end();
});

t.test("the shipped roles are those of the contract and have no fault", (t) => {
  const { roles, problems } = loadRoles([shipped]);
  t.same(problems, []);
  for (const name of ["discover", "local", "master", "rescue", "worker"]) t.ok(roles.get(name), name);
  t.same([...roles.keys()].sort(), readdirSync(shipped).sort());
  t.equal(roles.get("master")?.minimumRamBytes, 2 * 1024 ** 3);
  t.end();
});

t.test("a directory of one's own (rolesDir)", (t) => {
  t.test("adds roles and takes the place of shipped ones of the same name", (t) => {
    const own = t.testdir({
      kiosk: { "role.yaml": waits },
      worker: { "role.yaml": "description: mine\nboot: local\n" },
    });
    const { roles, problems } = loadRoles([shipped, own]);
    t.same(problems, []);
    t.equal(roles.get("worker")?.description, "mine");
    t.equal(roles.get("kiosk")?.boot, "wait");
    t.equal(roles.get("master")?.image, "debian-node");
    t.end();
  });
  t.test(
    "a broken role there does not bring the shipped one back: it would boot something nobody meant",
    (t) => {
      const own = t.testdir({ worker: { "role.yaml": "boot: image\n" } });
      const { roles, problems } = loadRoles([shipped, own]);
      t.equal(roles.has("worker"), false);
      t.ok(problems.every(({ role }) => role === "worker"));
      t.equal(roles.has("master"), true, "and harms no other");
      t.end();
    },
  );
  t.test("one that is not there harms no shipped role, and is told", (t) => {
    const { roles, problems } = loadRoles([shipped, "/nonexistent/roles"]);
    t.equal(roles.has("worker"), true);
    t.same(
      problems.map(({ file, message }) => `${file}: ${message}`),
      ["/nonexistent/roles: there is no such directory"],
    );
    t.end();
  });
  t.test("files, hidden folders and links to nowhere or to themselves are no roles", (t) => {
    const own = t.testdir({ "README.md": "x", ".git": { config: "x" }, kiosk: { "role.yaml": waits } });
    symlinkSync("/nonexistent", join(own, "gone"));
    symlinkSync("loop", join(own, "loop"));
    const { roles, problems } = loadRoles([own]);
    t.same(problems, []);
    t.same([...roles.keys()], ["kiosk"]);
    t.end();
  });
  t.end();
});

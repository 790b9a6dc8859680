import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { Check } from "typebox/schema";
import { parse as parseYaml } from "yaml";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadRole, loadRoles } from "../server/render/load-roles.ts";
import { createRoleReader } from "../server/render/role-reader.ts";
import { publishedRoleSchema } from "../server/render/role-schema.ts";

const shipped = resolve(import.meta.dirname, "../templates/roles");
type Folders = Record<string, Record<string, string>>;

const base = {
  "role.yaml": `description: the base
boot: image
image: debian-node
arguments: [quiet]
minimumRam: 1 GiB
joins: true
parameters:
  page: { type: string, default: a, description: d }
  zoom: { type: integer, default: 1, description: d }
templates:
  user-data: u.hbs
  butane: b.hbs
`,
  "u.hbs": "#cloud-config\npage: {{params.page}}\n",
  "b.hbs":
    "variant: flatcar\nversion: 1.0.0\nstorage: { files: [{ path: /etc/a, contents: { local: a } }] }\n",
  a: "A",
};
const load = (t: Test, folders: Folders) => loadRoles([t.testdir(folders)]);
const told = (t: Test, folders: Folders) =>
  load(t, folders)
    .problems.filter(({ role }) => role !== "base")
    .map(
      ({ role, file, line, column, code, message }) =>
        `${role} ${file.split("/").at(-1)}:${line}:${column}: ${code}: ${message}`,
    );

t.test("a role that extends another takes everything of it that it does not name", (t) => {
  const { roles, problems } = load(t, {
    base,
    kiosk: {
      "role.yaml":
        "extends: base\nimage: other\nparameters:\n  page: { type: string, default: b, description: mine }\n",
    },
    tall: {
      "role.yaml": "extends: kiosk\nminimumRam: 4 GiB\nfiles: { ignition: i.ign }\n",
      "i.ign": '{"ignition":{"version":"3.0.0"}}',
    },
  });
  t.same(problems, []);
  t.match(roles.get("kiosk"), {
    description: "the base",
    boot: "image",
    image: "other",
    arguments: ["quiet"],
    minimumRamBytes: 1024 ** 3,
    joins: true,
    parameters: { page: { default: "b" }, zoom: { default: 1 } },
    templates: { "user-data": { source: /page/ }, butane: { directory: /\/base$/ } },
    extends: "base",
    inherited: {
      description: "base",
      boot: "base",
      arguments: "base",
      minimumRam: "base",
      joins: "base",
      "parameters.zoom": "base",
      "templates.user-data": "base",
      "templates.butane": "base",
    },
  });
  t.notOk(Object.hasOwn(roles.get("kiosk")?.inherited ?? {}, "image"), "what it names is its own");
  const tall = roles.get("tall");
  t.equal(tall?.inherited["image"], "kiosk", "a part is said to be of the role that named it");
  t.equal(tall?.inherited["arguments"], "base");
  t.same(Object.keys(tall?.templates ?? {}), ["user-data"], "one Ignition config takes the place of another");
  t.same(Object.keys(tall?.files ?? {}), ["ignition"]);
  t.end();
});

t.test("what has no meaning with another way to boot stays with the parent", (t) => {
  const { roles, problems } = load(t, {
    base,
    waits: { "role.yaml": "extends: base\nboot: wait\n" },
    own: { "role.yaml": "description: d\nboot: script\ntemplates: { ipxe: s }\n", s: "#!ipxe\n" },
    image: { "role.yaml": "extends: own\nboot: image\nimage: a\n" },
  });
  t.same(problems, []);
  t.match(roles.get("waits"), { image: undefined, arguments: [] });
  t.same(roles.get("image")?.templates, {});
  t.end();
});

t.test("a role may extend the shipped one that it overrides", (t) => {
  const own = t.testdir({ worker: { "role.yaml": "extends: worker\nminimumRam: 8 GiB\n" } });
  const { roles, problems } = loadRoles([shipped, own]);
  t.same(problems, []);
  t.equal(roles.get("worker")?.minimumRamBytes, 8 * 1024 ** 3);
  t.equal(roles.get("worker")?.image, "debian-node");
  t.same(loadRole(join(own, "worker"), "worker", [shipped]).problems, [], "also for `boot role lint`");
  t.end();
});

t.test("parents that are missing, broken or in a circle are told at the key extends", (t) => {
  t.same(told(t, { a: { "role.yaml": "image: x\nextends: nobody\n" } }), [
    "a role.yaml:2:1: ROLE_PARENT_MISSING: extends: there is no role nobody",
  ]);
  t.same(told(t, { a: { "role.yaml": "extends: a\n" } }), [
    "a role.yaml:1:1: ROLE_PARENT_MISSING: extends: there is no other role a that this one overrides",
  ]);
  t.same(told(t, { base: { "role.yaml": "boot: wait\n" }, a: { "role.yaml": "extends: base\n" } }), [
    "a role.yaml:1:1: ROLE_PARENT_BROKEN: extends: the role base is broken itself",
  ]);
  t.same(
    told(t, {
      a: { "role.yaml": "extends: b\n" },
      b: { "role.yaml": "extends: c\n" },
      c: { "role.yaml": "extends: a\n" },
      d: { "role.yaml": "extends: c\n" },
    }).sort(),
    [
      "a role.yaml:1:1: ROLE_PARENT_BROKEN: extends: the role b is broken itself",
      "b role.yaml:1:1: ROLE_PARENT_BROKEN: extends: the role c is broken itself",
      "c role.yaml:1:1: ROLE_PARENT_LOOP: extends: goes in a circle: a -> b -> c -> a",
      "d role.yaml:1:1: ROLE_PARENT_BROKEN: extends: the role c is broken itself",
    ],
  );
  t.end();
});

t.test("an inherited template that the child's parameters break is told in its own file", (t) => {
  t.same(
    told(t, {
      base,
      a: {
        "role.yaml": "extends: base\nboot: wait\ntemplates: { user-data: u.hbs }\n",
        "u.hbs": "#cloud-config\na: {{params.nobody}}\n",
      },
    }),
    ["a u.hbs:2:4: TEMPLATE_INVALID: unknown name params.nobody"],
  );
  t.end();
});

t.test("a shared reader reads roles again when any of their files changed, and not before", (t) => {
  const directory = t.testdir({ base });
  const read = createRoleReader([directory]);
  const first = read();
  t.equal(read(), first);
  writeFileSync(join(directory, "base/a"), "B, which only the Butane template draws in");
  const second = read();
  t.not(second, first);
  t.equal(read(), second);
  writeFileSync(join(directory, "base/role.yaml"), "boot: wait\n");
  t.equal(read().problems.length, 1);
  t.end();
});

t.test(
  "the published schema takes every shipped role, and refuses what `boot role lint` refuses of keys",
  (t) => {
    const check = (source: string) => Check(publishedRoleSchema() as never, parseYaml(source));
    for (const name of readdirSync(shipped))
      t.ok(check(readFileSync(join(shipped, name, "role.yaml"), "utf8")), name);
    for (const source of ["extends: worker\n", "extends: worker\nboot: image\n", base["role.yaml"]])
      t.ok(check(source), source);
    for (const source of [
      "boot: wait\n",
      "description: d\n",
      "description: d\nboot: disk\n",
      "description: d\nboot: image\n",
      "description: d\nboot: wait\nimage: a\n",
      "description: d\nboot: wait\nfoo: 1\n",
      "description: d\nboot: wait\nminimumRam: 5\n",
      "description: d\nboot: wait\nfiles: { butane: a }\n",
      "extends: ../a\n",
    ])
      t.notOk(check(source), source);
    t.end();
  },
);

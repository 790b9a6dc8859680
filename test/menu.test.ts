import { resolve } from "node:path";
import t from "tap";
import { type MenuEntry, menuOf } from "../server/domain/role-menu.ts";
import { loadRoles } from "../server/render/load-roles.ts";
import { scriptFaults } from "../server/render/script-lines.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { startServer } from "./support/http-fixture.ts";
import { addressOf, macOf } from "./support/samples.ts";
import { playScripts } from "./support/script-check.ts";

const shipped = loadRoles([resolve(import.meta.dirname, "../templates/roles")]).roles;

/** The menu as an administrator widens it: an override of the shipped role. */
const menuWith = (roles: string, chosen: string) => ({
  menu: {
    "role.yaml": `extends: menu
parameters:
  roles: { type: "string[]", default: [${roles}], description: d }
  default: { type: string, default: ${chosen}, description: d }
`,
  },
});

t.test("a menu lists roles that boot something, and its default is one of them", (t) => {
  const menu = (roles: string[], chosen = "local", timeoutSeconds = 30) =>
    menuOf({ roles, default: chosen, timeoutSeconds }, shipped);
  t.match(menu(["local", "rescue", "local"]), {
    entries: [
      { role: "local", key: "1" },
      { role: "rescue", key: "2" },
    ],
    default: "local",
    timeoutSeconds: 30,
  });
  t.match(menu(["nothing"]), { parameter: "roles", problem: "there is no role nothing" });
  for (const waiting of ["menu", "discover"])
    t.match(menu(["local", waiting]), { parameter: "roles", problem: /boots nothing/ }, waiting);
  t.match(menu([]), { parameter: "roles", problem: /1 to 18 roles, and names 0/ });
  t.match(menu(["rescue"]), { parameter: "default", problem: /local is not among .*: rescue/ });
  for (const seconds of [0, 2, 601, -1])
    t.match(menu(["local"], "local", seconds), { parameter: "timeoutSeconds" }, `${seconds} seconds`);
  const whole = menu([...shipped.keys()].filter((name) => !/^(menu|discover)$/.test(name)));
  const entries: readonly MenuEntry[] = "entries" in whole ? whole.entries : [];
  t.ok(entries.length >= 8);
  for (const { role, label } of entries)
    t.ok(label.length > 5 && role.length + label.length <= 68, `${role}: ${label}`);
  t.equal(entries[9]?.key ?? null, null, "there are nine digits to press");
  t.end();
});

t.test("boot: menu without its parameters is a fault of the role", (t) => {
  const directory = t.testdir({
    bare: { "role.yaml": "description: d\nboot: menu\n" },
    wrong: {
      "role.yaml": "extends: menu\nparameters: { roles: { type: string, default: local, description: d } }\n",
    },
  });
  const { problems } = loadRoles([resolve(import.meta.dirname, "../templates/roles"), directory]);
  const of = (role: string) => problems.filter((problem) => problem.role === role);
  t.match(
    of("bare").map(({ message }) => message),
    [/needs the parameter roles, .*a list of texts/, /parameter default/, /parameter timeoutSeconds/],
  );
  t.match(of("wrong"), [{ code: "ROLE_KEYS_CONFLICT", message: /needs the parameter roles/ }]);
  t.equal(of("wrong").length, 1);
  t.end();
});

t.test("unknownMachines: menu", async (t) => {
  const lab = await createBootLab(t, {
    unknownMachines: "menu",
    roles: { "menu/role.yaml": menuWith("local, rescue", "local").menu["role.yaml"] },
  });
  await lab.dhcp(1);
  const { script } = await lab.script(1);
  const machine = () => lab.inventory.findByMac(macOf(1));
  t.same(
    [...script.matchAll(/^item --key (\d) (\S+)/gm)].map(([, key, role]) => [key, role]),
    [
      ["1", "local"],
      ["2", "rescue"],
    ],
    "a machine that nobody knows is shown the roles of the menu, and no others",
  );
  t.notMatch(script, "claims", "and no secret");
  t.equal(machine()?.phase, "discovered", "it waits as one that nobody assigned");

  const refused = await lab.script(1, { pick: "worker" });
  t.match(refused.error, { code: "MENU_PICK_REFUSED", message: /"worker" is not on .* local, rescue/ });
  t.notMatch(refused.script, "claims", "what is not on the menu can't be had by asking for it");
  t.same(lab.of("menu.picked"), []);

  const stranger = await lab.script(1, { from: 2, pick: "rescue" });
  t.notMatch(stranger.script, "claims", "nor can another machine choose for it");
  t.same(lab.of("menu.picked"), []);

  const claim = /\/callback\/([a-z0-9]+)/.exec((await lab.script(1, { pick: "rescue" })).script)?.[1] ?? "";
  await lab.settle();
  t.match(lab.of("menu.picked"), [
    { message: "m-525400000001: the role rescue was chosen from its menu", data: { role: "rescue" } },
  ]);
  t.equal(machine()?.phase, "netbooting");
  t.match((await lab.config(claim, 1)).text, /autologin root/, "it gets what the role has");
  await lab.boots.joined(claim, addressOf(1));
  t.equal(machine()?.phase, "ready");
});

t.test("the same choice, made again and again in a boot, is told once", async (t) => {
  const lab = await createBootLab(t, {
    unknownMachines: "menu",
    roles: { "menu/role.yaml": menuWith("local, rescue", "local").menu["role.yaml"] },
  });
  await lab.dhcp(1);
  for (let round = 0; round < 5; round++) await lab.script(1, { pick: "rescue" });
  t.equal(lab.of("menu.picked").length, 1);
});

t.test("a machine that was assigned to something else meanwhile follows that", async (t) => {
  const lab = await createBootLab(t, { unknownMachines: "menu" });
  await lab.add(1, "s1");
  await lab.dhcp(1);
  await lab.script(1);
  await lab.assign("s1", "worker");
  t.match((await lab.script(1, { pick: "local" })).script, /into the role worker/);
  t.same(lab.of("menu.picked"), []);
});

t.test("a menu that is assigned, for one boot, is used up by what was chosen", async (t) => {
  const lab = await createBootLab(t);
  await lab.add(1, "s1");
  const source = () => lab.boots.select(lab.machine("s1")).source;
  const menu = {
    kind: "role",
    role: "menu",
    params: { roles: ["local", "worker"], default: "local" },
  } as const;
  await lab.assign("s1", menu, "once");
  await lab.dhcp(1);
  t.match((await lab.script(1)).script, /item --key 2 worker/);
  t.equal(source(), "once");
  const claim = /\/callback\/([a-z0-9]+)/.exec((await lab.script(1, { pick: "worker" })).script)?.[1] ?? "";
  await lab.config(claim, 1);
  await lab.boots.joined(claim, addressOf(1));
  t.equal(source(), "unknown-policy", "by the callback of the role");

  lab.clock.advanceMs(60_000);
  await lab.assign("s1", menu, "once");
  await lab.dhcp(1);
  await lab.script(1);
  t.match((await lab.script(1, { pick: "local" })).script, /\nexit 1\n/);
  await lab.settle();
  t.equal(source(), "unknown-policy", "by the way to the disk");
  t.rejects(lab.assign("s1", { kind: "role", role: "menu", params: { roles: ["nothing"] } }), {
    code: "PARAMETER_INVALID",
  });
});

t.test("iPXE: nobody presses a key, or it has no menus: the default boots", async (t) => {
  const lab = await createBootLab(t, {
    unknownMachines: "menu",
    roles: { "menu/role.yaml": menuWith("local, rescue", "rescue").menu["role.yaml"] },
  });
  await lab.dhcp(1);
  const { script: menu } = await lab.script(1);
  t.same(scriptFaults(menu), []);
  for (const missing of [new Set<string>(), new Set(["menu", "item", "choose"]), new Set(["choose"])]) {
    const asked: string[] = [];
    const { script: chosen } = await lab.script(1, { pick: "rescue" });
    const playing = playScripts(menu, {
      hasAddress: true,
      missing,
      fails: () => false,
      script: (url) => {
        asked.push(url);
        return chosen;
      },
    });
    t.match(playing.ending, { kind: "boot" });
    t.match(asked[0], /\/boot\.ipxe\?pick=rescue&file=boot\.ipxe$/);
    if (missing.size === 0) t.equal(playing.sleptSeconds, 30, "it waits as long as the role says");
  }
});

t.test("GRUB: waiting takes a role, Escape goes on to the next, the default comes first", async (t) => {
  const server = await startServer(t, {
    unknownMachines: "menu",
    roles: { "menu/role.yaml": menuWith("rescue, local", "local").menu["role.yaml"] },
  });
  await server.addImage();
  await server.add(1, "s1");
  const text = (await server.grub(1)).text.trimEnd();
  const order = [...text.matchAll(/if sleep --interruptible '(\d+)'; then\n\s+set picked='([a-z]+)'/g)];
  t.same(
    order.map(([, seconds, role]) => [seconds, role]),
    [
      ["30", "local"],
      ["5", "rescue"],
    ],
  );
  t.match(
    text,
    new RegExp(
      `source '\\(http,127.0.0.1:${server.port}\\)/boot/${macOf(1).replaceAll(":", "-")}/grub.cfg'"\\?uuid=`,
    ),
  );
  t.notMatch(text, "claims");
  t.match((await server.grub(1, { more: "&pick=worker" })).text, /MENU_PICK_REFUSED/);
  t.match((await server.grub(1, { more: "&pick=rescue" })).text, /'boot=rollcall'/);
  t.match((await server.grub(1, { more: "&pick=local" })).text, /\nexit 1/);
  t.match(
    (await server.script(1, { query: "?pick=rescue&file=boot.ipxe" })).text,
    /into the role rescue/,
    "iPXE by the same way",
  );
  await server.stop();
});

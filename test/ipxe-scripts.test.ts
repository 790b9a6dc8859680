import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { type BootPlan, planBoot, renderScript } from "../server/boot/boot-plan.ts";
import type { LocalBootMethod } from "../server/domain/boot-preferences.ts";
import type { Machine } from "../server/domain/machine.ts";
import { parseIpv4 } from "../server/net/ipv4.ts";
import { createRenderer, type LastResort, loadStandardTemplates } from "../server/render/documents.ts";
import { loadRoles } from "../server/render/load-roles.ts";
import { retryPlan, spread } from "../server/render/retry-plan.ts";
import type { Effect } from "../server/simulate/ipxe-script.ts";
import { macOf, sampleImage, sampleMachine } from "./support/samples.ts";
import { scriptFaults } from "../server/render/script-lines.ts";
import { type Network, playScripts } from "./support/script-check.ts";

const root = resolve(import.meta.dirname, "..");
const standard = loadStandardTemplates(join(root, "templates"));
const serverUrl = "http://10.0.0.1:8080";
const machine: Machine = { ...sampleMachine(1), name: "s1" };
const roles = loadRoles([join(root, "templates/roles")]).roles;

/** Every script that this server makes, by what it is. */
function allScripts(lastResort: LastResort = "reboot"): Record<string, string> {
  const renderer = createRenderer(standard, lastResort);
  const make = (plan: BootPlan, localBoot: LocalBootMethod = "exit") =>
    renderScript(
      { machine, plan, serverUrl, bootId: "b_1", claim: "secretclaim", pollSeconds: 5, localBoot },
      renderer,
    );
  const scripts: Record<string, string> = {
    "first contact": renderer.standardScript("first-contact", "10.0.0.11", { serverUrl }),
    error: renderer.standardScript("error", macOf(1), {
      code: "ROLE_NOT_FOUND",
      message: "there is no role x",
      advice: "Assign another one.",
      mac: macOf(1),
      retrySeconds: 10,
      serverUrl,
      scriptUrl: `${serverUrl}/boot/52-54-00-00-00-01/boot.ipxe`,
    }),
    url: make({ kind: "url", url: "http://10.0.0.9/my.ipxe" }),
  };
  for (const [name, role] of roles) {
    const images = { findCurrent: () => sampleImage("1") };
    const sources = { roles: () => ({ roles, problems: [], warnings: [] }), images, renderer };
    const plan = planBoot({ kind: "role", role: name, params: {} }, sources);
    scripts[`role ${name}`] = make(plan);
    if (role.boot === "local") {
      scripts[`role ${name}, sanboot`] = make(plan, "sanboot");
      scripts[`role ${name}, http-404`] = make(plan, "http-404");
    }
  }
  return scripts;
}
const scripts = allScripts();
const embedded = readFileSync(join(root, "boot-assets/embed.ipxe"), "utf8");
const worker = scripts["role worker"] ?? "";

/** A network in which first contact leads to `script`; what waits is given the role worker after three more questions. */
function network(script: string, more: Partial<Network> = {}): Network {
  let asked = 0;
  return {
    hasAddress: true,
    fails: () => false,
    script(url) {
      if (url.endsWith("/my.ipxe")) return "#!ipxe\nexit 1\n";
      if (url === `${serverUrl}/boot.ipxe`) return scripts["first contact"];
      if (!url.startsWith(`${serverUrl}/boot/`)) return undefined;
      return asked++ < 3 ? script : worker;
    },
    ...more,
  };
}
const everyScript = Object.entries(scripts).filter(([name]) => name !== "first contact");
const start = scripts["first contact"] ?? "";

/** It ended by booting something or by saying why it gave up, and no wait was silent. */
function endsAloud(t: Test, playing: ReturnType<typeof playScripts>, what: string): void {
  const { ending, screen, silentWaits } = playing;
  const isWell =
    ["boot", "sanboot", "reboot"].includes(ending.kind) || (ending.kind === "exit" && ending.status === 1);
  const isTold = ending.kind === "boot" || /[a-z]{3}/.test(screen.at(-1) ?? "") || ending.kind === "exit";
  if (!isWell || !isTold || silentWaits.length > 0)
    t.fail(what, { ending, screen, silentWaits } as Record<string, unknown>);
}

t.test("no line of a script can end it silently: what may fail has a branch for it (W-08)", (t) => {
  for (const [name, script] of [...Object.entries(scripts), ["embed.ipxe", embedded] as const])
    t.same(
      scriptFaults(script).map(({ message }) => message),
      [],
      name,
    );
  t.end();
});

t.test("whatever single thing fails once, the machine boots all the same", (t) => {
  for (const [name, script] of everyScript)
    for (const hasAddress of [true, false]) {
      const well = playScripts(start, network(script, { hasAddress }));
      endsAloud(t, well, `${name}: nothing fails`);
      for (let at = 0; at < well.effects.length; at++) {
        if (well.effects[at]?.kind === "sleep") continue;
        const once = network(script, { hasAddress, fails: (_, count) => count === at });
        const playing = playScripts(start, once);
        const what = `${name}: ${JSON.stringify(well.effects[at])} fails once`;
        endsAloud(t, playing, what);
        if (name.includes("local") || name === "url") continue;
        t.equal(playing.ending.kind, "boot", what);
      }
    }
  t.end();
});

t.test("whatever fails for ever, the machine says so, waits longer and longer, and starts anew", (t) => {
  const kinds = ["chain", "load", "dhcp", "boot", "sanboot"] as const;
  const isKind = (kind: string) => (effect: Effect) => effect.kind === kind;
  const all: [string, (effect: Effect) => boolean][] = [
    ...kinds.map((kind): [string, (effect: Effect) => boolean] => [kind, isKind(kind)]),
    ["the kernel", (effect) => effect.kind === "load" && effect.what === "kernel"],
    ["the initrd", (effect) => effect.kind === "load" && effect.what === "initrd"],
    ["the machine's script", (effect) => effect.kind === "chain" && effect.url.includes("/boot/")],
    ["everything but a restart", (effect) => effect.kind !== "reboot"],
    ["everything", () => true],
  ];
  for (const [name, script] of [...everyScript, ["the role worker", worker] as const])
    for (const [what, fails] of all)
      for (const hasAddress of [true, false])
        endsAloud(t, playScripts(start, network(script, { hasAddress, fails })), `${name}: ${what} fails`);
  const down = playScripts(start, network(worker, { fails: isKind("chain") }));
  t.match(down, { ending: { kind: "reboot" } });
  t.match(down.screen.join("\n"), /the server http:\/\/10\.0\.0\.1:8080 does not answer\. Given up after 30/);
  const waits = down.effects.flatMap((effect) => (effect.kind === "sleep" ? [effect.seconds] : []));
  t.ok(
    waits.slice(0, 5).every((wait, index) => index === 0 || wait > (waits[index - 1] ?? 0)),
    "waits grow",
  );
  t.ok(down.sleptSeconds > 15 * 60 && down.sleptSeconds < 45 * 60, "a server's update is outlived");
  t.end();
});

t.test("an image that can't be loaded is tried again with a new script, and given up in the end", (t) => {
  const noKernel = (effect: Effect) => effect.kind === "load" && effect.what === "kernel";
  const playing = playScripts(worker, { ...network(worker, { fails: noKernel }), script: () => worker });
  t.match(playing.ending, { kind: "reboot" }, "the count of failures outlives the script");
  const asked = playing.effects.filter(({ kind }) => kind === "chain").length;
  t.equal(asked, 29);
  t.match(playing.screen.join("\n"), /debian-node could not be loaded or started\. Given up/);
  t.end();
});

t.test("boot.afterFailures exit: firmware goes on in its boot order", (t) => {
  const { "first contact": first = "" } = allScripts("exit");
  const playing = playScripts(first, network(worker, { fails: ({ kind }) => kind === "chain" }));
  t.match(playing.ending, { kind: "exit", status: 1 });
  t.match(playing.screen.at(-1), /Its firmware goes on with the next boot device/);
  t.end();
});

t.test("an old iPXE that lacks a command gets to the same end (firmware-quirk Q43)", (t) => {
  for (const [name, script] of everyScript)
    for (const command of ["inc", "iflinkwait", "imgfree", "reboot", "sanboot", "sleep"]) {
      const missing = new Set([command]);
      for (const hasAddress of [true, false]) {
        const well = playScripts(start, network(script, { hasAddress, missing }));
        endsAloud(t, well, `${name} without ${command}`);
        const down = network(script, { hasAddress, missing, fails: ({ kind }) => kind === "chain" });
        const playing = playScripts(start, down);
        // Without `inc` it can't count, so it tries for ever; it says so each time.
        if (command === "inc") t.match(playing, { ending: { kind: "still-trying" }, silentWaits: [] });
        else endsAloud(t, playing, `${name} without ${command}, server down`);
      }
    }
  const newer = /^\s*(poweroff|ntp|params?|imgextract|fcstat|cert\w+|usbscan|pciscan|ipstat)\b/m;
  for (const [name, script] of Object.entries(scripts))
    t.notMatch(script, newer, `${name}: no later commands`);
  t.end();
});

t.test("autoexec.ipxe runs before iPXE has an address: it asks for one, again and again (Q16, Q31)", (t) => {
  let asked = 0;
  const blocked = network(worker, { hasAddress: false, fails: ({ kind }) => kind === "dhcp" && asked++ < 6 });
  const playing = playScripts(start, blocked);
  t.match(playing.ending, { kind: "boot" });
  t.ok(playing.sleptSeconds > 60, "a switch port that forwards nothing for a minute is waited for");
  t.match(playing.effects.map(({ kind }) => kind).slice(0, 2), ["dhcp", "sleep"]);
  const known = playScripts(start, network(worker));
  t.equal(known.effects[0]?.kind, "chain", "with an address it goes straight to its script");
  t.end();
});

t.test("embed.ipxe asks DHCP until somebody names a boot file (firmware-quirk Q13)", (t) => {
  let asked = 0;
  const late = network(worker, { hasAddress: false, fails: ({ kind }) => kind === "dhcp" && asked++ < 3 });
  t.match(playScripts(embedded, late).ending, { kind: "boot" });
  const never = network(worker, { hasAddress: false, fails: ({ kind }) => kind === "dhcp" });
  t.match(playScripts(embedded, never).ending, { kind: "reboot" });
  t.end();
});

t.test("every address in a script is an IP literal and, of a script, ends in .ipxe (Q12, Q44)", (t) => {
  for (const [name, script] of Object.entries(scripts)) {
    const urls = [...script.matchAll(/https?:\/\/[^\s]+/g)].map(([url]) => url);
    for (const url of urls) {
      const host = /^https?:\/\/([^/:]+)/.exec(url)?.[1] ?? "";
      t.ok(parseIpv4(host), `${name}: ${url}`);
    }
    for (const [, url] of script.matchAll(/^chain .*?(http:\S+)/gm)) t.match(url, /\.ipxe$/, name);
  }
  t.end();
});

t.test("our kernel is told the card it booted from, always (BOOTIF, firmware-quirk Q42)", (t) => {
  for (const [name, role] of roles)
    if (role.boot === "image" && role.rollcallArguments)
      t.match(scripts[`role ${name}`], / BOOTIF=01-52-54-00-00-00-01 /, name);
  t.end();
});

t.test(
  "waits are spread by the server, for iPXE knows no random numbers: the same for one machine, others for others",
  (t) => {
    const plans = Array.from({ length: 400 }, (_, index) => retryPlan(macOf(index)));
    t.same(retryPlan(macOf(7)), plans[7]);
    for (const { first, restSeconds } of plans) {
      for (const { number, seconds } of first) {
        const base = [2, 4, 8, 15, 30][number - 1] ?? 0;
        if (seconds < Math.round(base * 0.7) || seconds > Math.round(base * 1.3))
          t.fail(`${base}: ${seconds}`);
      }
      if (restSeconds < 42 || restSeconds > 78) t.fail(`60: ${restSeconds}`);
    }
    const counts = new Map<number, number>();
    for (const { restSeconds } of plans) counts.set(restSeconds, (counts.get(restSeconds) ?? 0) + 1);
    t.ok(counts.size > 30, `${counts.size} different waits`);
    t.ok(Math.max(...counts.values()) < 40, "no second has a tenth of them");
    t.equal(spread(1, "x"), 1, "never none");
    t.end();
  },
);

t.test(
  "the local disk: exit, or sanboot with a message and exit where that fails (firmware-quirk Q35)",
  (t) => {
    const local = (method: string) => playScripts(scripts[`role local${method}`] ?? "", network(""));
    t.match(local(""), { ending: { kind: "exit", status: 1 }, screen: [/from its local disk/] });
    t.match(local(", http-404"), { ending: { kind: "exit", status: 1 } }, "whoever gets to a script goes on");
    t.match(local(", sanboot"), { ending: { kind: "sanboot" }, screen: [/first disk \(0x80\)/] });
    t.match(scripts["role local, sanboot"], /\nsanboot --no-describe --drive 0x80 \|\|\n/);
    const empty = network("", { fails: () => true });
    t.match(playScripts(scripts["role local, sanboot"] ?? "", empty), {
      ending: { kind: "exit", status: 1 },
      screen: [/./, /sanboot could not start the first disk/],
    });
    t.end();
  },
);

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import t from "tap";
import { configKeys } from "../server/config/schema.ts";
import { catalogue } from "../server/doctor/diagnose.ts";
import "../server/domain/error-catalogue.ts";
import { definedErrors } from "../server/domain/errors.ts";
import { eventTypes } from "../server/domain/event.ts";
import { commandCodes, machineCodes, roleFaultCodes } from "../server/domain/reported-codes.ts";
import { publishedRoleSchema } from "../server/render/role-schema.ts";

const root = resolve(import.meta.dirname, "..");
const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");

/** The advice and status of each error; its sentence has details in it, so the code's own words stand for it. */
function errorsPage(): string {
  const rows = [...definedErrors()]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(
      ([code, { definition }]) =>
        `| \`${code}\` | ${definition.httpStatus} | ${definition.kind} | ${cell(definition.advice)} |`,
    );
  return [
    "# Errors",
    "",
    "Every error has a stable code. The API answers a problem document (RFC 9457) with it, the `boot` command prints it, and a machine",
    "shows it on its screen. Made from `server/domain/error-catalogue.ts`, the `errors-*.ts` beside it and `reported-codes.ts` by `npm run docs`.",
    "",
    "| code | status | kind | what to do |",
    "|---|---|---|---|",
    ...rows,
    "",
    "## What machines report of their own boot",
    "",
    "Our initramfs reports these; `boot machine show` and `boot events --type machine.failed` have them.",
    "",
    "| code | what to do |",
    "|---|---|",
    ...adviceRows(machineCodes),
    "",
    "## What the `boot` command says of work on its own machine",
    "",
    "| code | what to do |",
    "|---|---|",
    ...adviceRows(commandCodes),
    "",
    "## What `boot role lint` says of roles",
    "",
    "Each fault with file, line and column.",
    "",
    "| code | what to do |",
    "|---|---|",
    ...adviceRows(roleFaultCodes),
    "",
  ].join("\n");
}

function adviceRows(codes: Readonly<Record<string, string>>): string[] {
  return Object.entries(codes).map(([code, advice]) => `| \`${code}\` | ${cell(advice)} |`);
}

function configurationPage(): string {
  const rows = configKeys.map(
    ({ name, default: value, description, allowed }) =>
      `| \`${name}\` | ${value === undefined ? "–" : `\`${JSON.stringify(value)}\``} | ${cell(description)} | ${cell(allowed)} |`,
  );
  return [
    "# Configuration",
    "",
    "One YAML file: `--config FILE`, else `rollcall.yaml` in the working directory, else `/etc/rollcall/rollcall.yaml`; none is fine. Every key can be",
    "set by the environment: `ROLLCALL_DHCP__MODE=proxy`, two underscores between levels, lists parted by commas. `boot config show` prints each",
    "value in force and where it comes from. Made from `server/config/schema.ts` by `npm run docs`.",
    "",
    "| key | default | meaning | allowed |",
    "|---|---|---|---|",
    ...rows,
    "",
    "An entry of `dhcp.subnets` has `subnet`, `range`, `router`, `dns`, `domain`, `leaseSeconds` (3600) and `relay`.",
    "HTTPS listens where a cluster is configured ([cluster.md](cluster.md)). The registry and its signatures: [registry.md](registry.md), [signatures.md](signatures.md).",
    "",
  ].join("\n");
}

function eventsPage(): string {
  return [
    "# Events",
    "",
    "The append-only log: `boot events`, `GET /api/v1/events`. Made from `server/domain/event.ts` by `npm run docs`.",
    "",
    "The newest 1,000,000 events are kept, and of each machine the newest 50 boots. Warnings and alarms that name an address are one row a minute for",
    "each type, address, reason and machine: the first at once, and the next row says in `data.repeated` how many were like it in between.",
    "",
    "| type | meaning |",
    "|---|---|",
    ...Object.entries(eventTypes).map(([type, meaning]) => `| \`${type}\` | ${cell(meaning)} |`),
    "",
  ].join("\n");
}

function doctorPage(): string {
  const groups: Readonly<Record<string, string>> = {
    network: "Network",
    firmware: "Firmware",
    loading: "Loading",
    system: "System",
    cluster: "Cluster and registry",
    state: "Where it stands",
  };
  return [
    "# Why did it not boot? `boot doctor`",
    "",
    "`boot doctor s4` says where the machine stopped, why, by what evidence, and what to do next; `boot doctor lab225` is a table of the room. A MAC that was",
    "never seen is asked for as well. Programs: `--output json`, or `GET /api/v1/machines/{name or MAC}/doctor` (scope `viewer`).",
    "",
    '- Without a word before it a cause is certain: the packet, request or report that shows it stands under "Seen", with its time.',
    '- "Probably": the evidence speaks for more than one cause. All of them are named, each with how to tell it from the others.',
    '- "Also": it is so, and need not be the reason.',
    "",
    "What is recorded: each boot's timeline and events (in the database), and in memory, until the server ends, the newest 16 DHCP messages of each MAC",
    "and the newest 16 refused requests and broken TLS handshakes of each address. Machines that nobody accepted have a small place of their own, so that no",
    "flood hides a machine of the room. A machine that starts anew after it was ready is judged by its DHCP messages alone until it comes for a file; anybody on",
    "its network can forge those.",
    "",
    "How long a silence is waited out before it is judged: where three other machines of the room came through in the same role, four times what they took from",
    "that station on (median), and 2 minutes at least (1 minute for the first-stage program and after the script); where they did not, 1 minute for those two,",
    "5 minutes for kernel and initramfs and for a system to ask for its config, 15 minutes for it to call back, and 8 minutes from an order to start to the first",
    "packet. The evidence says which. What firmware and DHCP clients wait is in their specifications, and not learned.",
    "",
    "The codes are stable. Made from `server/doctor` by `npm run docs`.",
    ...Object.entries(groups).flatMap(([group, title]) => [
      "",
      `## ${title}`,
      "",
      "| code | what it is | what to do |",
      "|---|---|---|",
      ...catalogue
        .filter((rule) => rule.group === group)
        .map(
          ({ code, sentence, advice }) => `| \`${code}\` | ${cell(sentence)} | ${cell(advice.join(" "))} |`,
        ),
    ]),
    "",
  ].join("\n");
}

const pages: Readonly<Record<string, () => string>> = {
  "docs/doctor.md": doctorPage,
  "docs/errors.md": errorsPage,
  "docs/configuration.md": configurationPage,
  "docs/events.md": eventsPage,
  "docs/role.schema.json": () => `${JSON.stringify(publishedRoleSchema(), null, 2)}\n`,
};

t.test("pages made from code are what the code says", (t) => {
  for (const [name, make] of Object.entries(pages)) {
    const path = join(root, name);
    if (process.env["UPDATE_DOCS"] === "1") writeFileSync(path, make());
    t.equal(existsSync(path) ? readFileSync(path, "utf8") : "", make(), `${name} (npm run docs makes it)`);
  }
  t.end();
});

function markdownFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory())
      return ["node_modules", ".git", "data", "artifacts"].includes(entry.name) ? [] : markdownFiles(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

function sourcesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? sourcesBelow(path) : [path];
  });
}

t.test("every error and event that the pages list is raised somewhere, and none is left out", (t) => {
  const files = sourcesBelow(join(root, "server"));
  const read = (wanted: (path: string) => boolean) =>
    files
      .filter(wanted)
      .map((path) => readFileSync(path, "utf8"))
      .join("\n");
  const code = read(
    (path) =>
      path.endsWith(".ts") &&
      !/domain\/(error-catalogue|errors-at-start|errors-of-[a-z]+|event|reported-codes)\.ts$/.test(path),
  );
  const catalogue = read((path) =>
    /domain\/(error-catalogue|errors-at-start|errors-of-[a-z]+)\.ts$/.test(path),
  );
  for (const [, name = "", errorCode = ""] of catalogue.matchAll(
    /^export const (\w+) = defineError\("(\w+)"/gm,
  ))
    t.match(code, new RegExp(`\\b${name}(\\(|\\.is\\()|"${errorCode}"`), errorCode);
  for (const type of Object.keys(eventTypes)) t.ok(code.includes(`"${type}"`), type);
  const initramfs = read((path) => path.includes("/initramfs/")).replaceAll(/^\s*#.*$/gm, "");
  const reported = [
    ...initramfs.matchAll(/rollcall_(?:failed|start_over(?: \d+)?)\s+\\?\s*([A-Z][A-Z_]+)/g),
  ].map(([, word = ""]) => word);
  t.same([...new Set(reported)].sort(), Object.keys(machineCodes).sort(), "codes of our initramfs");
  const said = [...code.matchAll(/"((?:IMAGE|DEMO|ARCHIVE|SIGN|TRANSFER)_[A-Z_]+)"/g)].map(
    ([, word = ""]) => word,
  );
  t.same([...new Set(said)].sort(), Object.keys(commandCodes).sort(), "codes of the command");
  for (const roleCode of Object.keys(roleFaultCodes)) t.ok(code.includes(`"${roleCode}"`), roleCode);
  t.end();
});

t.test("every link between our pages leads somewhere", (t) => {
  for (const path of markdownFiles(root)) {
    for (const [, target = ""] of readFileSync(path, "utf8").matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      if (!existsSync(resolve(dirname(path), target)))
        t.fail(`${relative(root, path)}: ${target} is not there`);
    }
  }
  t.pass("looked at all pages");
  t.end();
});

t.test("every file that ARCHITECTURE.md names is there", (t) => {
  for (const [, name = ""] of readFileSync(join(root, "ARCHITECTURE.md"), "utf8").matchAll(
    /`((?:server|test|templates|boot-assets|db|docs)\/[^`<\s]*)`/g,
  )) {
    if (name.includes("NNNN")) continue;
    t.ok(existsSync(join(root, name)), name);
  }
  t.end();
});

t.test("every room has a README of at most 25 lines", (t) => {
  for (const entry of readdirSync(join(root, "server"), { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(root, "server", entry.name, "README.md");
    t.ok(existsSync(path), `server/${entry.name}/README.md is there`);
    if (existsSync(path))
      t.ok(readFileSync(path, "utf8").split("\n").length <= 26, `server/${entry.name}/README.md is short`);
  }
  t.end();
});

t.test("package-lock.json names every optional dependency, without which npm 11 refuses it", (t) => {
  // A registry that has only some platforms' packages makes npm drop the others from the lock; they belong in it all the same.
  interface Entry {
    optionalDependencies?: Record<string, string>;
  }
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, Entry>;
  };
  for (const [path, { optionalDependencies }] of Object.entries(packages))
    for (const name of Object.keys(optionalDependencies ?? {}))
      if (!(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages))
        t.fail(`${name} of ${path}`);
  t.pass("looked at all packages");
  t.end();
});

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import t from "tap";

/**
 * The rooms and what each may import (ARCHITECTURE.md): one row a room. `libraries` are npm packages and node: modules;
 * `pure` rooms know no clock, no randomness, no process and no I/O.
 */
interface Room {
  readonly imports: readonly string[];
  readonly libraries: readonly string[] | "any node";
  readonly pure?: true;
}

const rooms: Readonly<Record<string, Room>> = {
  net: { imports: [], libraries: [], pure: true },
  domain: { imports: ["net"], libraries: [], pure: true },
  "dhcp/wire": { imports: ["net"], libraries: [], pure: true },
  "dhcp/policy": { imports: ["dhcp/wire", "domain", "net"], libraries: [], pure: true },
  dhcp: { imports: ["dhcp/wire", "dhcp/policy", "domain", "net"], libraries: ["lru-cache"] },
  "tftp/wire": { imports: ["net"], libraries: [], pure: true },
  tftp: { imports: ["tftp/wire", "domain", "net"], libraries: ["node:fs", "node:fs/promises", "node:path"] },
  yaml: { imports: [], libraries: ["yaml"] },
  config: {
    imports: ["domain", "net", "yaml"],
    libraries: [
      "typebox",
      "typebox/value",
      "node:crypto",
      "node:fs",
      "node:fs/promises",
      "node:path",
      "node:worker_threads",
    ],
  },
  ignition: { imports: [], libraries: [], pure: true },
  node: { imports: ["domain", "ignition", "net", "signatures/policy"], libraries: [], pure: true },
  render: {
    imports: ["domain", "ignition", "net", "yaml"],
    libraries: ["handlebars", "typebox", "typebox/value", "node:crypto", "node:fs", "node:path", "node:zlib"],
  },
  content: {
    imports: ["domain"],
    libraries: ["lru-cache", "node:crypto", "node:fs", "node:fs/promises", "node:path"],
  },
  store: {
    imports: ["domain", "net"],
    libraries: ["better-sqlite3", "lru-cache", "node:crypto", "node:fs", "node:path"],
  },
  "inventory/lists": { imports: [], libraries: [], pure: true },
  inventory: { imports: ["inventory/lists", "domain", "net", "store"], libraries: [] },
  operations: { imports: ["domain", "store"], libraries: [] },
  registry: {
    imports: ["domain", "content", "store"],
    libraries: ["lru-cache", "node:crypto", "node:fs", "node:fs/promises", "node:path"],
  },
  metrics: { imports: ["domain"], libraries: ["node:http", "node:net"] },
  "signatures/policy": { imports: ["domain"], libraries: [], pure: true },
  signatures: { imports: ["signatures/policy", "domain", "store"], libraries: ["node:crypto"] },
  upstream: {
    imports: ["domain", "content", "registry", "store"],
    libraries: ["lru-cache", "node:crypto", "node:dns", "node:fs/promises", "node:net", "node:path"],
  },
  boot: {
    imports: ["domain", "ignition", "net", "node", "store", "render", "inventory"],
    libraries: ["lru-cache", "node:crypto"],
  },
  doctor: { imports: ["domain", "net"], libraries: [], pure: true },
  kubeadm: { imports: ["domain", "net", "yaml"], libraries: [], pure: true },
  pki: {
    imports: ["domain", "kubeadm"],
    libraries: ["node:crypto", "node:fs", "node:fs/promises", "node:path", "node:util"],
  },
  cluster: {
    imports: ["domain", "etcd", "kubeadm", "kubernetes", "net", "pki", "store", "students"],
    libraries: ["node:crypto", "node:fs/promises", "node:path"],
  },
  power: {
    imports: ["domain", "net", "pki", "store"],
    libraries: [
      "lru-cache",
      "node:child_process",
      "node:crypto",
      "node:fs/promises",
      "node:net",
      "node:path",
      "node:tls",
      "node:util",
    ],
  },
  kubernetes: {
    imports: ["domain", "kubeadm", "net", "node", "pki", "yaml"],
    libraries: ["node:net", "node:tls"],
  },
  students: { imports: ["domain", "kubeadm", "kubernetes", "store"], libraries: [] },
  endpoint: { imports: ["domain", "net"], libraries: ["node:net"] },
  etcd: {
    imports: ["domain", "kubeadm", "net", "pki", "platform"],
    libraries: [
      "node:child_process",
      "node:crypto",
      "node:fs",
      "node:fs/promises",
      "node:http",
      "node:https",
      "node:path",
      "node:readline",
      "node:util",
    ],
  },
  image: { imports: ["domain", "platform", "yaml"], libraries: "any node" },
  archive: { imports: ["domain", "registry"], libraries: "any node" },
  ndp: { imports: ["domain", "net"], libraries: [] },
  platform: { imports: ["domain", "net"], libraries: "any node" },
  demo: { imports: ["platform"], libraries: "any node" },
  simulate: {
    imports: ["dhcp/wire", "domain", "net", "tftp/wire"],
    libraries: ["node:child_process", "node:net", "node:util"],
  },
  http: {
    imports: [
      "boot",
      "cluster",
      "content",
      "domain",
      "inventory",
      "net",
      "node",
      "render",
      "store",
      "http/api",
      "http/dashboard",
    ],
    libraries: [
      "fastify",
      "@fastify/swagger",
      "@fastify/swagger-ui",
      "lru-cache",
      "typebox",
      "node:crypto",
      "node:fs/promises",
      "node:http",
      "node:https",
      "node:net",
      "node:tls",
    ],
  },
  "http/api": {
    imports: [
      "boot",
      "cluster",
      "content",
      "doctor",
      "domain",
      "endpoint",
      "inventory",
      "inventory/lists",
      "net",
      "operations",
      "power",
      "registry",
      "render",
      "store",
      "students",
      "upstream",
      "http",
      "signatures",
      "signatures/policy",
    ],
    libraries: ["fastify", "typebox"],
  },
  "http/dashboard": {
    imports: ["boot", "domain", "http", "http/api", "store"],
    libraries: ["node:fs", "node:path"],
  },
  "http/v2": {
    imports: ["domain", "http", "registry", "signatures", "upstream"],
    libraries: [
      "bcryptjs",
      "lru-cache",
      "node:crypto",
      "node:fs",
      "node:fs/promises",
      "node:http",
      "node:net",
      "node:worker_threads",
    ],
  },
  /** In the browser, where nothing of the server can run: of other rooms it takes types, and words of the domain. */
  web: { imports: ["domain", "http/api"], libraries: [] },
  cli: {
    imports: [
      "archive",
      "config",
      "content",
      "demo",
      "dhcp/policy",
      "domain",
      "image",
      "net",
      "platform",
      "registry",
      "render",
      "simulate",
      "yaml",
      "(top)",
    ],
    libraries: "any node",
  },
  "(top)": {
    imports: [
      "boot",
      "cluster",
      "config",
      "content",
      "dhcp",
      "doctor",
      "domain",
      "endpoint",
      "etcd",
      "http",
      "http/dashboard",
      "http/v2",
      "inventory",
      "kubeadm",
      "kubernetes",
      "metrics",
      "ndp",
      "net",
      "node",
      "operations",
      "pki",
      "platform",
      "power",
      "registry",
      "render",
      "signatures",
      "signatures/policy",
      "store",
      "students",
      "tftp",
      "upstream",
    ],
    libraries: ["node:crypto", "node:fs", "node:path", "node:worker_threads"],
  },
};

/** One library, one room: where a package may be imported besides the rooms above that allow any node: module. */
const packageRooms: Readonly<Record<string, readonly string[]>> = {
  commander: ["cli"],
  undici: ["archive", "cli", "kubernetes", "power", "upstream"],
  koffi: ["platform"],
  pino: ["platform"],
  "@peculiar/x509": ["pki"],
  "reflect-metadata": ["pki"],
  "better-sqlite3": ["store"],
  handlebars: ["render"],
  yaml: ["yaml"],
  openpgp: ["signatures"],
  bcryptjs: ["http/v2"],
  "prom-client": ["metrics"],
  fastify: ["http", "http/api", "http/dashboard"],
  "@fastify/cookie": ["http/dashboard"],
  "@fastify/static": ["http/dashboard"],
  preact: ["web"],
  "@preact/signals": ["web"],
  vite: ["web"],
  ssh2: ["power"],
  // A container rather than a service: what machines can make grow has a bound in each room (ADR 18).
  "lru-cache": ["boot", "content", "dhcp", "http", "http/v2", "power", "registry", "store", "upstream"],
  // A schema language rather than a service: each room describes its own input with it.
  typebox: ["config", "render", "http", "http/api", "http/dashboard"],
};

/** Files that are pure beside the shell of their room. */
const pureFiles = new Set([
  "http/v2/htpasswd.ts",
  "http/v2/target.ts",
  "inventory/hardware-report.ts",
  "inventory/import-clashes.ts",
  "inventory/import-plan.ts",
  "inventory/machine-input.ts",
  "operations/diagnosis.ts",
  "operations/proof.ts",
  "operations/telling.ts",
  "registry/challenge.ts",
  "registry/digest.ts",
  "registry/manifest.ts",
  "registry/oci-error.ts",
  "registry/referrers.ts",
  "registry/repository-name.ts",
  "signatures/attachment.ts",
  "signatures/payload.ts",
  "signatures/verdict.ts",
  "signatures/image-state.ts",
  "signatures/lookaside.ts",
  "signatures/key-listing.ts",
  "upstream/upstream.ts",
  "tftp/timings.ts",
  "tftp/transfer.ts",
]);
const forbiddenWords = /(^|[/-])(utils?|helpers?|common|misc|managers?)([.-]|\/|$)/;
const impureGlobals =
  /\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|setImmediate|process\.|console\.|performance\.)/;
const maximumLines = 400;

const server = resolve(import.meta.dirname, "../server");

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(directory, entry.name)) : [join(directory, entry.name)],
  );
}

function roomOf(file: string): string {
  const parts = file.split("/").slice(0, -1);
  const two = parts.slice(0, 2).join("/");
  return parts.length === 0 ? "(top)" : two in rooms ? two : (parts[0] ?? "(top)");
}

function importsOf(source: string): string[] {
  return [
    ...source.matchAll(
      /^(?:import|export)[\s{][^;]*?from "([^"]+)"|^import "([^"]+)"|await import\("([^"]+)"\)/gms,
    ),
  ].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

/** Comments and texts out, so that a rule is not broken by speaking of it. */
function codeOnly(source: string): string {
  return source
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/^\s*\/\/.*$/gm, "")
    .replaceAll(/"(?:[^"\\\n]|\\.)*"/g, '""');
}

const isSource = (file: string) => /\.tsx?$/.test(file);
const files = filesBelow(server).filter(isSource);

t.test("each room imports only the rooms and libraries that its row allows", (t) => {
  for (const path of files) {
    const file = relative(server, path);
    const room = rooms[roomOf(file)];
    if (!room) {
      t.fail(`${file}: the room ${roomOf(file)} has no row in test/architecture.test.ts`);
      continue;
    }
    for (const name of importsOf(readFileSync(path, "utf8"))) {
      if (name.startsWith(".")) {
        const target = roomOf(relative(server, resolve(dirname(path), name)));
        if (target !== roomOf(file) && !room.imports.includes(target))
          t.fail(`${file}: the room ${roomOf(file)} may not import ${target} (${name})`);
        continue;
      }
      const isNode = name.startsWith("node:");
      const base = name.startsWith("@")
        ? name.split("/").slice(0, 2).join("/")
        : (name.split("/")[0] ?? name);
      const allowed =
        isNode && room.libraries === "any node"
          ? true
          : (packageRooms[base]?.includes(roomOf(file)) ??
            (room.libraries !== "any node" && room.libraries.includes(name)));
      if (!allowed) t.fail(`${file}: the room ${roomOf(file)} may not import ${name}`);
    }
  }
  t.pass(`${files.length} files looked at`);
  t.end();
});

t.test("pure rooms know no clock, no randomness, no process and no I/O", (t) => {
  for (const path of files) {
    const file = relative(server, path);
    if (!rooms[roomOf(file)]?.pure && !pureFiles.has(file)) continue;
    const source = readFileSync(path, "utf8");
    const global = impureGlobals.exec(codeOnly(source));
    if (global) t.fail(`${file}: uses ${global[0]}`);
    for (const name of importsOf(source)) if (name.startsWith("node:")) t.fail(`${file}: imports ${name}`);
    if (/\basync\b/.test(codeOnly(source)) && !file.startsWith("domain/capabilities"))
      t.fail(`${file}: is asynchronous`);
  }
  t.pass("looked at all pure rooms");
  t.end();
});

t.test("names, sizes and exports", (t) => {
  for (const path of filesBelow(server)) {
    const file = relative(server, path);
    if (forbiddenWords.test(file)) t.fail(`${file}: says nothing with its name`);
    if (!isSource(file)) continue;
    const source = readFileSync(path, "utf8");
    const lines = source.split("\n").length - 1;
    if (lines > maximumLines) t.fail(`${file}: ${lines} lines, more than ${maximumLines}`);
    // Vite takes its config in no other way.
    if (/^export default/m.test(source) && file !== "web/vite.config.ts") t.fail(`${file}: default export`);
    if (/from "[^"]*\/test\//.test(source)) t.fail(`${file}: imports from test/`);
  }
  t.pass("looked at all files");
  t.end();
});

t.test("no import goes in a circle", (t) => {
  const edges = new Map<string, string[]>();
  for (const path of files) {
    const targets = importsOf(readFileSync(path, "utf8").replaceAll(/^import type [^;]*;$/gms, ""))
      .filter((name) => name.startsWith("."))
      .map((name) => resolve(dirname(path), name));
    edges.set(path, targets);
  }
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) {
      t.fail([...trail.slice(trail.indexOf(file)), file].map((path) => relative(server, path)).join(" -> "));
      return;
    }
    if (done.has(file)) return;
    for (const target of edges.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  t.pass("followed all imports");
  t.end();
});

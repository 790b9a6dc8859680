import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Agent, type Dispatcher, request } from "undici";
import { type App, type AppDeps, createApp } from "../../server/app.ts";
import { loadConfig } from "../../server/config/load.ts";
import type { Clock, Log } from "../../server/domain/capabilities.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { macWithHyphens } from "../../server/net/mac.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { systemIds } from "../../server/platform/ids.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openFileSender } from "../../server/platform/send-file.ts";
import { writeFiles } from "./boot-lab.ts";
import { loopbackUdp } from "./loopback-udp.ts";
import { macOf, temporaryDirectory, neighbourTable, sampleNumbers } from "./samples.ts";

const checkout = resolve(import.meta.dirname, "../..");

export const sha256Of = (content: Uint8Array | string) => createHash("sha256").update(content).digest("hex");

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly bytes: Buffer;
  /** The parsed body; throws where it is not JSON. */
  readonly json: Json;
  /** `items` of a list. */
  readonly items: Json[];
}
/** Parsed JSON, to be looked into by tests. */
export interface Json {
  readonly [key: string]: Json;
}

/** A JSON value as one would write it down: a text as it is. */
export const plain = (value: unknown): string =>
  typeof value === "string" ? value : String(JSON.stringify(value));

export interface AskOptions {
  readonly method?: Dispatcher.HttpMethod;
  readonly headers?: Record<string, string>;
  /** Objects are sent as JSON. */
  readonly body?: unknown;
  /** The machine that asks: each has a source address of its own, 127.0.1.number. */
  readonly from?: number;
  /** API token; undefined: none. */
  readonly token?: string | undefined;
}

export interface ServerOptions {
  readonly unknownMachines?: "ignore" | "discover" | "local" | "menu";
  /** Roles beside the shipped ones: `name/role.yaml` -> text. */
  readonly roles?: Readonly<Record<string, string>>;
  readonly dataDir?: string;
  readonly clock?: Clock;
  /** First-stage programs that there are; snponly.efi alone unless told otherwise. */
  readonly bootAssets?: readonly string[];
  /** Built pages of the dashboard, by path below dist/web; none unless told. */
  readonly pages?: Readonly<Record<string, string>>;
  /** The machine at 127.0.0.1, where programs of this host ask from. */
  readonly machineHere?: number;
  /** More of the config, by key. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** What switches machines, and what else operations order. */
  readonly orders?: Pick<AppDeps, "power" | "operationLimits">;
}

/** Runs curl beside this process; @returns what it wrote. */
export async function curl(...words: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)("curl", ["--silent", "--max-time", "20", ...words]);
  return stdout;
}

/** The host may have a web server of its own. */
const registryPorts = ["registry.port", "registry.tlsPort", "lookaside.port"];

/** The source address of a machine of the tests, on loopback. */
export const loopbackOf = (number: number) => `127.0.1.${number}` as Ipv4;

/**
 * The whole server on free ports of the loopback network, DHCP off, with an admin token. Every machine asks from an address of its
 * own, so that who asks matters as it does in a room.
 */
export async function startServer(
  t: { teardown(fn: () => void | Promise<void>): unknown },
  options: ServerOptions = {},
) {
  const directory = temporaryDirectory(t);
  const dataDir = options.dataDir ?? join(directory, "data");
  const root = join(directory, "checkout");
  const rolesDir = join(directory, "roles");
  const nbp = Buffer.from("first-stage binary");
  const programs = options.bootAssets ?? ["snponly.efi"];
  writeFiles(root, {
    ...Object.fromEntries(programs.map((name) => [`boot-assets/${name}`, nbp.toString()])),
    "boot-assets/manifest.json": JSON.stringify({
      assets: programs.map((name) => ({
        name,
        arch: "x86_64",
        version: "1",
        sha256: sha256Of(nbp),
        source: "test",
      })),
    }),
  });
  writeFiles(join(root, "dist/web"), options.pages ?? {});
  symlinkSync(join(checkout, "templates"), join(root, "templates"));
  mkdirSync(rolesDir);
  mkdirSync(dataDir, { recursive: true });
  writeFiles(rolesDir, options.roles ?? {});

  const set = (key: string, value: unknown) => ({ key, value, argument: "test" });
  const { config } = loadConfig({
    defaultFiles: [],
    environment: {},
    overrides: [
      set("dataDir", dataDir),
      set("rolesDir", rolesDir),
      set("dhcp.mode", "off"),
      set("tftp.port", 0),
      set("http.port", 0),
      ...registryPorts.map((key) => set(key, 0)),
      set("unknownMachines", options.unknownMachines ?? "discover"),
      ...Object.entries(options.settings ?? {}).map(([key, value]) => set(key, value)),
    ],
  });
  const logged: string[] = [];
  const keep = (level: string) => (fields: Record<string, unknown>, message: string) =>
    void logged.push(
      `${level} ${message} ${JSON.stringify(fields, (_, value: unknown) => (value instanceof Error ? value.stack : value))}`,
    );
  const log: Log = { ...silentLog, info: keep("info"), warn: keep("warn"), error: keep("error") };
  const app: App = await createApp({
    ...options.orders,
    config,
    log,
    root,
    clock: options.clock ?? systemClock,
    ids: systemIds,
    udp: loopbackUdp,
    fileSender: await openFileSender(),
    interfaces: [{ address: "127.0.0.1" as Ipv4 }],
    readNeighbourTable: () =>
      neighbourTable([
        ...sampleNumbers.map((number) => [loopbackOf(number), macOf(number)] as const),
        ...(options.machineHere === undefined
          ? []
          : [["127.0.0.1" as Ipv4, macOf(options.machineHere)] as const]),
      ]),
    version: "0.0.0-test",
  });
  await app.start();
  const adminToken = (await app.ensureAdminToken()) ?? "";
  const port = app.addresses.httpPort;
  const url = `http://127.0.0.1:${port}`;

  const agents = new Map<string, Agent>();
  const agentFor = (localAddress: string) => {
    const known = agents.get(localAddress);
    if (known) return known;
    const agent = new Agent({ localAddress });
    agents.set(localAddress, agent);
    return agent;
  };
  let stopping: Promise<void> | undefined;
  const stop = () =>
    (stopping ??= (async () => {
      await Promise.all([...agents.values()].map((agent) => agent.close()));
      await app.stop();
    })());
  t.teardown(stop);

  async function ask(
    path: string,
    { method = "GET", headers = {}, body, from, token }: AskOptions = {},
  ): Promise<Answer> {
    const isPlain = body === undefined || typeof body === "string" || Buffer.isBuffer(body);
    const response = await request(`${url}${path}`, {
      method,
      dispatcher: agentFor(from === undefined ? "127.0.0.1" : loopbackOf(from)),
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(isPlain ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? null : isPlain ? body : JSON.stringify(body),
    });
    const bytes = Buffer.from(await response.body.arrayBuffer());
    const text = bytes.toString();
    return {
      status: response.statusCode,
      headers: response.headers as Record<string, string>,
      bytes,
      text,
      get json() {
        return JSON.parse(text) as Json;
      },
      get items() {
        return (JSON.parse(text) as { items: Json[] }).items;
      },
    };
  }
  const api = (
    method: Dispatcher.HttpMethod,
    path: string,
    body?: unknown,
    token: string | undefined = adminToken,
  ) => ask(`/api/v1${path}`, { method, body, token });

  const server = {
    app,
    url,
    port,
    dataDir,
    rolesDir,
    adminToken,
    logged,
    nbp,
    ask,
    api,
    stop,
    store: app.store,
    blobs: join(dataDir, "blobs"),
    /** Puts content into the store. @returns its digest */
    async put(content: Uint8Array | string): Promise<string> {
      const sha256 = sha256Of(content);
      const { status, text } = await ask(`/api/v1/contents/${sha256}`, {
        method: "PUT",
        body: Buffer.from(content),
        headers: { "content-type": "application/octet-stream" },
        token: adminToken,
      });
      if (status >= 300) throw new Error(text);
      return sha256;
    },
    /** Registers an image of three small files under the name that the shipped roles boot. */
    async addImage(
      version = "1",
      name = "debian-node",
    ): Promise<Record<"kernel" | "initrd" | "rootfs", string>> {
      const file = async (file: string) => {
        const content = `${file} of ${name} ${version}`;
        return { name: file, sha256: await server.put(content), sizeBytes: content.length };
      };
      const files = {
        kernel: await file("vmlinuz"),
        initrd: await file("initrd.img"),
        rootfs: await file("root.squashfs"),
      };
      const { status, text } = await api("POST", "/images/import", { name, version, arch: "x86_64", files });
      if (status !== 201) throw new Error(text);
      return { kernel: files.kernel.sha256, initrd: files.initrd.sha256, rootfs: files.rootfs.sha256 };
    },
    add: (number: number, name: string, facts: object = {}) =>
      api("POST", "/machines", { name, macs: [macOf(number)], ...facts }),
    assign: (machines: string, role: string, more: object = {}) =>
      api("POST", "/assignments", { machines, role, ...more }),
    script: (number: number, { from = number, query = "" }: { from?: number; query?: string } = {}) =>
      ask(`/boot/${macWithHyphens(macOf(number))}/boot.ipxe${query}`, { from }),
    grub: (
      number: number,
      {
        from = number,
        lockdown = "y",
        method = "GET",
        more = "",
      }: { from?: number; lockdown?: string; method?: "GET" | "HEAD"; more?: string } = {},
    ) =>
      ask(`/boot/${macOf(number)}/grub.cfg?uuid=&cpu=x86_64&lockdown=${lockdown}${more}`, { from, method }),
    /** The claim in the machine's script. */
    async claim(number: number): Promise<string> {
      const { text } = await server.script(number);
      const claim = /\/callback\/([a-z0-9]+)/.exec(text)?.[1];
      if (!claim) throw new Error(`no claim in the script:\n${text}`);
      return claim;
    },
  };
  return server;
}
export type TestServer = Awaited<ReturnType<typeof startServer>>;

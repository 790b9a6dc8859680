import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { writeDockerArchive } from "./docker-archive.ts";
import { temporaryDirectory } from "./samples.ts";

interface Test {
  teardown(fn: () => void | Promise<void>): unknown;
}

const runFile = promisify(execFile);

/** skopeo with a policy of its own, whatever this host's is. */
export async function skopeo(words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const env = { PATH: process.env["PATH"], HOME: "/nonexistent", ...environment };
  return (await runFile("skopeo", words, { env, maxBuffer: 1 << 26 })).stdout;
}

/** Debian's docker-registry on loopback, with its own data. @param auth lines of its configuration */
export async function startDockerRegistry(t: Test, auth = ""): Promise<{ origin: string; host: string }> {
  const directory = temporaryDirectory(t);
  const config = join(directory, "config.yml");
  writeFileSync(
    config,
    `version: 0.1
log: { level: info, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: ${directory}/data }, delete: { enabled: true } }
http: { addr: "127.0.0.1:0", secret: loopback }
${auth}`,
  );
  const child = spawn("docker-registry", ["serve", config], { stdio: ["ignore", "ignore", "pipe"] });
  t.teardown(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  for await (const line of createInterface({ input: child.stderr })) {
    const host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (host === undefined) continue;
    child.stderr.resume();
    return { origin: `http://${host}`, host };
  }
  throw new Error("docker-registry did not start");
}

export interface Passed {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

/**
 * What stands before a registry in these tests: it counts requests, spoils them as it is told, and with `signatures` keeps signatures as the
 * extension of containers/image says (docs/signature-protocols.md).
 */
export async function startProxy(
  t: Test,
  behind: string,
  options: {
    signatures?: boolean;
    /** The registry behind has signatures, and nobody is told. */
    withoutSignatures?: boolean;
    /** @returns true when it has dealt with the request itself */
    spoil?: (request: IncomingMessage, response: ServerResponse) => boolean;
  } = {},
): Promise<{
  origin: string;
  host: string;
  passed: Passed[];
  signatures: Map<string, Record<string, unknown>[]>;
}> {
  const passed: Passed[] = [];
  const signatures = new Map<string, Record<string, unknown>[]>();
  const server = createServer((incoming, response) => {
    const { method = "", url = "" } = incoming;
    response.on("finish", () => passed.push({ method, path: url, status: response.statusCode }));
    if (options.spoil?.(incoming, response)) return;
    if (options.signatures && url.startsWith("/extensions/v2/"))
      return void serveSignatures(incoming, response);
    const outgoing = request(`${behind}${url}`, { method, headers: incoming.headers }, (answer) => {
      if (options.withoutSignatures) delete answer.headers["x-registry-supports-signatures"];
      response.writeHead(answer.statusCode ?? 502, {
        ...answer.headers,
        ...(options.signatures ? { "x-registry-supports-signatures": "1" } : {}),
      });
      answer.pipe(response);
    });
    outgoing.on("error", () => response.destroy());
    incoming.on("error", () => outgoing.destroy());
    incoming.on("close", () => incoming.complete || outgoing.destroy());
    incoming.pipe(outgoing);
  });

  async function serveSignatures(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = incoming.url ?? "";
    const kept = signatures.get(path) ?? [];
    if (incoming.method === "GET") return void response.end(JSON.stringify({ signatures: kept }));
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    signatures.set(path, [...kept, JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>]);
    response.writeHead(201).end();
  }

  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { origin: `http://${host}`, host, passed, signatures };
}

/** An image of one small layer. */
export interface SampleImage {
  /** `c10f/pause:3.9` */
  readonly name: string;
  readonly content: string;
}

/**
 * An archive as podsec-save-oci makes it, by the same programs: `skopeo copy --dest-oci-accept-uncompressed-layers ... oci:`, then
 * `tar cCf DIR - ARCH | xz`. @returns its path; the layout stays beside it
 */
export async function makePodsecArchive(
  t: Test,
  arch: string,
  images: readonly SampleImage[],
): Promise<{ archive: string; layout: string }> {
  const directory = temporaryDirectory(t);
  const layout = join(directory, arch);
  mkdirSync(layout);
  for (const image of images) {
    const file = writeSample(directory, arch, image);
    const words = ["copy", "--quiet", "--dest-oci-accept-uncompressed-layers", `docker-archive:${file}`];
    await skopeo(["--insecure-policy", "--override-arch", arch, ...words, `oci:${layout}:${image.name}`]);
  }
  const archive = `${layout}.tar.xz`;
  execFileSync("sh", ["-c", 'tar cCf "$1" - "$2" | xz -1 > "$3"', "sh", directory, arch, archive]);
  return { archive, layout };
}

/** The same image as `docker save` has it. @returns its path */
export function writeSample(directory: string, arch: string, { name, content }: SampleImage): string {
  const source = join(directory, "content");
  writeFileSync(source, content);
  const file = join(directory, "image.tar");
  writeDockerArchive(
    { name, files: { "/content": source }, entrypoint: ["/content"], architecture: arch },
    file,
  );
  return file;
}

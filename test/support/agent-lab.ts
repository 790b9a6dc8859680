import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import type { Test } from "tap";
import { agentPart } from "../../server/node/agent.ts";
import { toShellScript } from "../../server/node/emit-shell.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { tar, type TarMember } from "../../server/node/tar.ts";
import { issueAgentCertificate } from "../../server/pki/agent-certificates.ts";
import {
  type Authority,
  createAuthority,
  dayMs,
  issueCertificate,
  validityFrom,
} from "../../server/pki/certificates.ts";
import { createPrivateKey, privateKeyPem } from "../../server/pki/key-pairs.ts";
import { createPublicKey } from "node:crypto";
import { sampleFacts } from "./node-samples.ts";

export const sampleClaim = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4";
const programs = "/usr/local/libexec/u7s";

/** What stands in for programs that would change this host; each writes down how it was called. */
const recorded = 'printf "%s\\n" "$(basename "$0") $*" >>/tmp/calls\n';
const stubs: Readonly<Record<string, string>> = {
  runuser: `${recorded}shift 3\nexec "$@"\n`,
  systemctl: recorded,
  date: `case "$*" in *-s*) ${recorded.trim()}; exit ;; esac\nexec /usr/bin/date "$@"\n`,
  // Columns as those of rootlesskit 1.1.
  rootlessctl: `shift
case $1 in
list-ports) echo "ID PROTO PARENTIP PARENTPORT CHILDIP CHILDPORT"; cat /tmp/ports ;;
add-ports)
	${recorded.trim()}
	id=$(($(cat /tmp/ports /tmp/calls | wc -l) + 100))
	echo "$2" | sed "s|^\\(.*\\):\\(.*\\):\\(.*\\)/\\(.*\\)|$id \\4 \\1 \\2  \\3|" >>/tmp/ports
	;;
remove-ports)
	${recorded.trim()}
	sed -i "/^$2 /d" /tmp/ports
	;;
esac
`,
  kubeadm: `${recorded}if [ -e /tmp/kubeadm-does ]; then . /tmp/kubeadm-does; fi\n`,
};

export interface AgentRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
  /** Of the client's certificate; undefined: none that the authority signed. */
  readonly client: string | undefined;
}
/** Answers a request; undefined: as the protocol has it. */
export type Answer = (
  request: AgentRequest,
  response: ServerResponse,
) => undefined | "answered" | Promise<undefined | "answered">;

export interface Instruction {
  readonly sequence: number;
  readonly lines: readonly string[];
  readonly files?: readonly TarMember[];
}

/** An authority and a certificate of it for the loopback address. @param now of the clock that they are made by */
export async function loopbackServer(now: number, authorityName = "rollcall-agent-ca") {
  const authority = await createAuthority(authorityName, await createPrivateKey("ECDSA-P256"), now, {
    pathLength: 0,
  });
  const key = await createPrivateKey("ECDSA-P256");
  const cert = await issueCertificate(
    authority,
    {
      commonName: "rollcall",
      organizations: [],
      usages: ["serverAuth", "clientAuth"],
      dnsNames: [],
      addresses: ["127.0.0.1"],
    },
    createPublicKey(key),
    validityFrom(now, dayMs, authority),
  );
  return { authority, key: privateKeyPem(key), cert };
}

/** The server's side of the agent's protocol, as far as an agent sees it. */
export async function agentServer(
  t: Test,
  { authority, key, cert }: Awaited<ReturnType<typeof loopbackServer>>,
  signing: Authority = authority,
) {
  const requests: AgentRequest[] = [];
  const heartbeats: AgentRequest[] = [];
  const events = new EventEmitter();
  const instructions: Instruction[] = [];
  let answer: Answer = () => undefined;

  const standard = async (request: AgentRequest, response: ServerResponse): Promise<void> => {
    if (request.path.endsWith("/join")) {
      const csr = new URLSearchParams(request.body).get("csr") ?? "";
      const identity = { machineId: "m_1", attempt: "b_1" };
      const issued = await issueAgentCertificate({ agent: signing }, csr, identity, Date.now());
      response.end(`name s5\nwait 1\n${issued}${signing.certificatePem}`);
    } else if (request.path === "/node/instruction") {
      const done = Number(request.query.get("done"));
      const next = () => instructions.find(({ sequence }) => sequence > done);
      while (next() === undefined && !response.destroyed) await once(events, "instruction");
      const found = next();
      if (!found) return;
      const text = [`sequence=${found.sequence}`, ...found.lines, ""].join("\n");
      response.setHeader("Content-Type", "application/x-tar");
      response.end(tar([{ name: "instruction", mode: 0o600, content: text }, ...(found.files ?? [])]));
    } else response.end();
  };
  const handle = async (message: IncomingMessage, response: ServerResponse) => {
    const { pathname, searchParams } = new URL(message.url ?? "/", "https://server");
    const socket = message.socket as TLSSocket;
    let body = "";
    for await (const chunk of message.setEncoding("utf8")) body += chunk;
    const request = {
      method: message.method ?? "",
      path: pathname,
      query: searchParams,
      body,
      client: socket.authorized ? String(socket.getPeerCertificate().subject?.CN) : undefined,
    };
    // It comes whenever an instruction takes its time, which on a busy host may be each.
    if (searchParams.get("wait") === "0") {
      heartbeats.push(request);
      events.emit("request");
      response.writeHead(204).end();
      return;
    }
    requests.push(request);
    events.emit("request");
    if ((await answer(request, response)) === undefined) await standard(request, response);
  };
  const server = createServer(
    { key, cert, ca: signing.certificatePem, requestCert: true, rejectUnauthorized: false },
    (message, response) => void handle(message, response).catch(() => response.destroy()),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    events.emit("instruction");
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    heartbeats,
    async untilHeartbeats(count: number): Promise<void> {
      while (heartbeats.length < count) await once(events, "request");
    },
    answerBy(by: Answer) {
      answer = by;
    },
    instruct(...more: Instruction[]) {
      instructions.push(...more);
      events.emit("instruction");
    },
    /** Waits until a request that fits has come. */
    async until(fits: (request: AgentRequest) => boolean): Promise<AgentRequest> {
      for (;;) {
        const found = requests.find(fits);
        if (found) return found;
        await once(events, "request");
      }
    },
    reports: () =>
      requests
        .filter(({ path }) => path === "/node/report")
        .map(({ query, body }) => ({
          told: ["sequence", "result", "phase"].map((name) => query.get(name)).join(" "),
          body,
        })),
  };
}

/**
 * A node's system as a layer over this host's, with all that the emitters write, and agents in it. What is not to be done for real is a stub.
 * @param shell `busybox`: its ash, and of programs its own with curl and openssl alone
 */
export async function agentMachine(
  t: Test,
  { url, authority }: { readonly url: string; readonly authority: Authority },
  shell: "dash" | "busybox" = "dash",
  cmdline = `quiet BOOTIF=01-52-54-00-AB-34-56 rollcall.callback=http://10.0.0.2:8080/callback/${sampleClaim}`,
) {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-agent-"));
  const part = agentPart("debian", { httpsUrl: url, authorityPem: authority.certificatePem });
  writeFileSync(
    join(directory, "node.sh"),
    toShellScript(rootlessNode("worker", "debian", sampleFacts(), part)),
  );
  writeFileSync(join(directory, "cmdline"), `${cmdline}\n`);
  const stubCommands = Object.entries(stubs).map(
    ([name, text]) => `cat >stubs/${name} <<'STUB'\n#!/bin/sh\n${text}STUB\nchmod 755 stubs/${name}`,
  );
  const setUp = [
    "set -e",
    `cd ${directory}`,
    "mkdir layer",
    "mount -t tmpfs tmpfs layer",
    "mkdir layer/upper layer/work layer/root",
    "mount -t overlay overlay -o lowerdir=/,upperdir=layer/upper,workdir=layer/work layer/root",
    "mount --rbind /proc layer/root/proc",
    "mount --rbind /dev layer/root/dev",
    "mount -t tmpfs tmpfs layer/root/run",
    "mount -t tmpfs tmpfs layer/root/tmp",
    "mount -t tmpfs tmpfs layer/root/sys",
    "mount --bind cmdline layer/root/proc/cmdline",
    "cp node.sh layer/root/tmp/",
    "cd layer/root",
    "chroot . sh /tmp/node.sh >/dev/null 2>&1",
    "mkdir -p sys/class/dmi/id sys/fs/cgroup/user.slice/user-771.slice/user@771.service stubs busybox",
    "echo 4C4C4544-0035-3510-8052-B4C04F4A3732 >sys/class/dmi/id/product_uuid",
    "echo cpu io memory pids >sys/fs/cgroup/user.slice/user-771.slice/user@771.service/cgroup.controllers",
    ...stubCommands,
    `printf '#!/bin/sh\\nexec "$@"\\n' >.${programs}/nsenter_u7s`,
    ...(shell === "busybox"
      ? [
          "chroot . busybox --install -s /busybox",
          "ln -s /usr/bin/curl /usr/bin/openssl busybox/",
          "ln -sf /usr/bin/busybox usr/bin/sh",
        ]
      : []),
    "echo ready",
    "exec cat",
  ].join("\n");
  const holder = spawn("unshare", ["--mount", "--propagation", "private", "/bin/sh", "-c", setUp], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.teardown(async () => {
    const ended = once(holder, "exit");
    holder.stdin.end();
    if (holder.exitCode === null) await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  const [said] = (await Promise.race([once(holder.stdout, "data"), once(holder, "exit")])) as [
    Buffer | number,
  ];
  if (String(said) !== "ready\n") throw new Error(`the layer was not made: ${String(said)}`);
  const inside = `${directory}/layer/root`;
  const root = `/proc/${holder.pid}/root${inside}`;
  const path = (name: string) => join(root, name);

  return {
    path,
    write: (name: string, text: string) => writeFileSync(path(name), text),
    read: (name: string) => (existsSync(path(name)) ? readFileSync(path(name), "utf8") : undefined),
    calls: () =>
      existsSync(path("tmp/calls")) ? readFileSync(path("tmp/calls"), "utf8").split("\n").slice(0, -1) : [],
    /** Runs a command of sh as the agent would be run. */
    command: (words: string, environment = "") =>
      spawn(
        "nsenter",
        [
          `--mount=/proc/${holder.pid}/ns/mnt`,
          "chroot",
          inside,
          "/bin/sh",
          "-c",
          `set -a; . /etc/rollcall/u7s/env; . /etc/rollcall/u7s/agent.env
PATH=${shell === "busybox" ? "/stubs:/busybox" : "/stubs:$PATH"}
ROLLCALL_RETRY_FIRST=0 ROLLCALL_RETRY_LAST=0 ROLLCALL_REFUSED_PAUSE=0 ROLLCALL_START_SECONDS=3 ${environment}
set +a; ${words}`,
        ],
        { stdio: ["pipe", "pipe", "pipe"], detached: true },
      ),
  };
}

/** A process whose lines can be waited for. It is ended with the test. */
export function watched(t: Test, child: ChildProcess) {
  const events = new EventEmitter();
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      events.emit("changed");
    });
  const ended = new Promise<number | null>((done) => {
    child.on("close", (code) => {
      done(code);
      events.emit("changed");
    });
  });
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  const kill = async () => {
    if (!isOver && child.pid !== undefined)
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It is gone already.
      }
    await ended;
  };
  t.teardown(kill);
  return {
    said: () => text,
    ended,
    kill,
    async until(what: RegExp): Promise<void> {
      while (!what.test(text)) {
        if (isOver) throw new Error(`it ended before it said ${what}: ${text}`);
        await once(events, "changed");
      }
    },
  };
}

/** The command lines of all processes of this host. */
export function commandLines(): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")];
      } catch {
        return [];
      }
    });
}

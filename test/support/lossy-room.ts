import { type ChildProcess, execFile, spawn } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { Test } from "tap";
import { createVirtualLab, type VirtualLab } from "../../server/demo/virtual-lab.ts";
import { startLabServer } from "../../server/demo/lab-server.ts";
import type { LossyBridgeCounts, LossyBridgeOptions } from "./lossy-bridge.ts";

export const clientPrograms = ["udhcpc", "dhclient", "dhcpcd"] as const;
export type ClientProgram = (typeof clientPrograms)[number];

export interface RoomClient {
  readonly name: string;
  readonly program: ClientProgram;
  readonly mac: string;
  /** Its network namespace. */
  readonly host: string;
}

/** What all three call with their news; the address and the server's identifier go into a file, one line for each lease. */
const onLease = `#!/bin/sh
case "$1$reason" in
  bound|renew|BOUND|RENEW|REBIND|REBOOT) ;;
  *) exit 0 ;;
esac
address=\${ip:-$new_ip_address}
ip address flush dev "$interface" scope global
ip address add "$address/24" dev "$interface"
echo "$address \${serverid:-$new_dhcp_server_identifier}" >> "$RESULT"
`;
/** dhclient waits up to 10 s before it says its first word, and minutes later on, unless it is told. */
const dhclientConfig = "initial-interval 1;\nbackoff-cutoff 2;\nretry 1;\nselect-timeout 0;\ntimeout 90;\n";
const clientLimitMs = 90_000;
/** dhcpcd doubles its wait up to 64 s, so under chance a lucky end may be minutes away: it is started anew instead. */
const attempts = 6;

/** Bridges `br0`, with a server in authoritative mode, and `br1`, with nothing; hosts are plugged into either. */
export async function createRoom(t: Test, namespace: string, config: string) {
  const lab = await createVirtualLab(namespace);
  t.teardown(() => lab.close());
  await lab.addBridge("br0", "10.77.0.1/24");
  await lab.addBridge("br1");
  const server = await startLabServer(lab, { dataDir: join(lab.directory, "data"), config });
  t.teardown(() => server.stop());
  const script = join(lab.directory, "on-lease.sh");
  writeFileSync(script, onLease);
  chmodSync(script, 0o755);
  const dhclientFile = join(lab.directory, "dhclient.conf");
  writeFileSync(dhclientFile, dhclientConfig);

  const commandOf = ({ program, name }: RoomClient): string[] => {
    const file = (suffix: string) => join(lab.directory, `${name}.${suffix}`);
    switch (program) {
      case "udhcpc":
        return ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-t", "5", "-T", "1", "-A", "1", "-s", script];
      case "dhclient":
        // prettier-ignore
        return [
          "dhclient", "-4", "-1", "-d", "-v", "-cf", dhclientFile, "-sf", script,
          "-lf", file("leases"), "-pf", file("pid"), "-e", `RESULT=${file("result")}`, "eth0",
        ];
      case "dhcpcd":
        // prettier-ignore
        return [
          "dhcpcd", "-4", "-1", "-B", "-t", "20", "--noarp", "--noipv4ll", "-f", "/dev/null",
          "-c", script, "-e", `RESULT=${file("result")}`, "-o", "dhcp_server_identifier", "eth0",
        ];
    }
  };

  return {
    lab,
    server,
    async addClients(bridge: "br0" | "br1", programs: readonly ClientProgram[]): Promise<RoomClient[]> {
      const clients: RoomClient[] = [];
      for (const [index, program] of programs.entries()) {
        const name = `${bridge}c${index}`;
        const mac = `02:00:00:00:${bridge === "br0" ? "00" : "01"}:${(index + 16).toString(16)}`;
        clients.push({ name, program, mac, host: await lab.addHost(name, bridge, mac) });
      }
      return clients;
    },
    /** Runs the client to its lease. @returns the address and the server that it says to have got it from */
    async lease(client: RoomClient): Promise<{ address: string; server: string }> {
      const result = join(lab.directory, `${client.name}.result`);
      writeFileSync(result, "");
      // dhcpcd keeps its socket and pid file in one directory of the whole machine, so each gets a /run of its own.
      const words = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"];
      const said: string[] = [];
      while (said.length < attempts) {
        const child = spawn("ip", ["netns", "exec", client.host, ...words, ...commandOf(client)], {
          stdio: ["ignore", "pipe", "pipe"],
          env: { ...process.env, RESULT: result },
        });
        said.push(await untilBound(child, () => readFileSync(result, "utf8").endsWith("\n")));
        const [address = "", server = ""] =
          readFileSync(result, "utf8").trim().split("\n").at(-1)?.split(" ") ?? [];
        if (address !== "") return { address, server };
      }
      throw new Error(`${client.program} got no lease; it said:\n${said.join("\n")}`);
    },
    /** Loads a file of the server into memory by curl, with a few tries, for its TFTP gives up easily. */
    fetch: async (client: RoomClient, url: string): Promise<Buffer> => {
      // Into a file: what a try that failed has already written to the standard output would stay before the next one's.
      const file = join(lab.directory, `${client.name}.fetched`);
      await fetchIn(client.host, url, file);
      return readFileSync(file);
    },
  };
}
export type Room = Awaited<ReturnType<typeof createRoom>>;

/** Ends the client when it has its lease: dhclient would stay. @returns what it said */
async function untilBound(child: ChildProcess, isBound: () => boolean): Promise<string> {
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const look = setInterval(() => isBound() && child.kill(), 20);
  const limit = setTimeout(() => child.kill(), clientLimitMs);
  await new Promise((done) => child.once("exit", done));
  clearInterval(look);
  clearTimeout(limit);
  return said;
}

async function fetchIn(host: string, url: string, file: string): Promise<void> {
  // prettier-ignore
  const words = [
    "curl", "--silent", "--show-error", "--max-time", "60", "--retry", "5", "--retry-all-errors",
    "--tftp-blksize", "1428", "--output", file, url,
  ];
  await promisify(execFile)("ip", ["netns", "exec", host, ...words]);
}

/** Every frame of these devices is lost with this probability, in both directions. @returns what tells how many were */
export async function dropAtRandom(
  run: VirtualLab["run"],
  devices: readonly string[],
  percent: number,
): Promise<() => Promise<number>> {
  const chain = (hook: string, device: string) =>
    `chain ${hook}-${device} { type filter hook ${hook} device "${device}" priority 0; numgen random mod 100 < ${percent} counter drop; }`;
  const chains = devices.flatMap((device) => [chain("ingress", device), chain("egress", device)]);
  await run("nft", `table netdev loss {\n${chains.join("\n")}\n}`);
  return async () => {
    const { stdout } = await run("nft", "list", "table", "netdev", "loss");
    return [...stdout.matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  };
}

/** A bad cable between the room's two bridges. @returns what ends it, with its counts */
export async function startLossyBridge(
  lab: VirtualLab,
  options: LossyBridgeOptions,
): Promise<() => Promise<LossyBridgeCounts>> {
  const script = resolve(import.meta.dirname, "lossy-bridge.ts");
  const child = spawn(
    "ip",
    ["netns", "exec", lab.namespace, process.execPath, script, JSON.stringify(options)],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.value !== "ready") throw new Error(`the lossy bridge said ${String(first.value)}`);
  return async () => {
    child.stdin.end();
    const { value } = await lines.next();
    return JSON.parse(String(value)) as LossyBridgeCounts;
  };
}

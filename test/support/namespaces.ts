import { type ChildProcess, execFileSync, spawn, type StdioOptions } from "node:child_process";
import type { Test } from "tap";

let made = 0;

/** Network namespaces of one test, gone with it and everything in them. Needs root. */
export interface Lan {
  /** The name of a host's namespace, for `ip netns exec`. */
  namespaceOf(host: string): string;
  /** Runs a program to its end in a host's namespace. @returns its standard output @throws when it fails */
  run(host: string, ...words: string[]): string;
  /** Starts a program in a host's namespace; it is killed at the end of the test. */
  start(host: string, words: readonly string[], stdio?: StdioOptions): ChildProcess;
}

const ip = (...words: string[]): string =>
  execFileSync("ip", words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/**
 * Hosts on one or more networks. `hosts` says which device of which host is on which network, and its address:
 * `{ server: { s0: "lan 10.72.0.1/24" }, client: { c0: "lan" } }`.
 */
export function createLan(t: Test, hosts: Readonly<Record<string, Readonly<Record<string, string>>>>): Lan {
  const prefix = `rc${process.pid}x${made++}`;
  const namespaceOf = (host: string): string => `${prefix}-${host}`;
  const children: ChildProcess[] = [];
  const namespaces = ["hub", ...Object.keys(hosts)].map(namespaceOf);
  t.teardown(async () => {
    await Promise.all(children.map(end));
    for (const namespace of namespaces) ip("netns", "del", namespace);
  });
  for (const namespace of namespaces) {
    ip("netns", "add", namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
  }
  const hub = namespaceOf("hub");
  const bridges = new Set<string>();
  let ports = 0;
  for (const [host, devices] of Object.entries(hosts)) {
    for (const [device, place] of Object.entries(devices)) {
      const [network = "", address] = place.split(" ");
      if (!bridges.has(network)) ip("-n", hub, "link", "add", network, "up", "type", "bridge");
      bridges.add(network);
      const port = `p${ports++}`;
      ip(
        "link",
        "add",
        port,
        "netns",
        hub,
        "type",
        "veth",
        "peer",
        "name",
        device,
        "netns",
        namespaceOf(host),
      );
      ip("-n", hub, "link", "set", port, "master", network, "up");
      if (address) ip("-n", namespaceOf(host), "addr", "add", address, "dev", device);
      ip("-n", namespaceOf(host), "link", "set", device, "up");
    }
  }
  return {
    namespaceOf,
    run: (host, ...words) => ip("netns", "exec", namespaceOf(host), ...words),
    start(host, words, stdio = ["pipe", "pipe", "inherit"]) {
      const child = spawn("ip", ["netns", "exec", namespaceOf(host), ...words], { stdio });
      children.push(child);
      return child;
    },
  };
}

function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

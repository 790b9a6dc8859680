import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t, { type Test } from "tap";
import { bridgeNetwork, type NetworkNode, tunnelMac } from "../../server/kubernetes/pod-network.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { createLan } from "../support/namespaces.ts";
import { temporaryDirectory } from "../support/samples.ts";

const podSubnet = "10.244.0.0/16";
const node = (number: number): NetworkNode => ({
  address: `10.0.0.${10 + number}` as Ipv4,
  podCidr: `10.244.${number}.0/24`,
});

t.test("the address of a tunnel's end follows from the pods' network", (t) => {
  t.equal(tunnelMac("10.244.3.0/24"), "02:52:0a:f4:03:00");
  t.throws(() => tunnelMac("10.244.3.1/24"));
  t.throws(() => tunnelMac("10.244.3.0/24; reboot"));
  const files = bridgeNetwork({ self: node(1), peers: [node(3), node(1), node(2)], podSubnet });
  t.same(
    files.map(({ path, mode }) => [path, mode]),
    [
      ["/etc/cni/net.d/10-rollcall.conflist", 0o644],
      ["/etc/rollcall/network.table", 0o644],
      ["/etc/rollcall/network.sh", 0o755],
    ],
  );
  t.equal(
    files[1]?.content,
    [
      "self 10.0.0.11 10.244.1.0/24 02:52:0a:f4:01:00 10.244.0.0/16 1450",
      "peer 10.0.0.12 10.244.2.0/24 02:52:0a:f4:02:00",
      "peer 10.0.0.13 10.244.3.0/24 02:52:0a:f4:03:00",
      "",
    ].join("\n"),
    "in one order, so that a change is a change",
  );
  t.end();
});

t.test("the script is sh for dash and busybox, and shellcheck finds no fault in it", (t) => {
  const script = join(temporaryDirectory(t), "network.sh");
  writeFileSync(script, bridgeNetwork({ self: node(1), peers: [], podSubnet })[2]?.content ?? "");
  for (const [program = "", ...words] of [
    ["dash", "-n"],
    ["busybox", "ash", "-n"],
    ["shellcheck", "--shell=sh", "--severity=style"],
  ]) {
    const { stdout, stderr } = spawnSync(program, [...words, script], { encoding: "utf8" });
    t.equal(stdout + stderr, "", program);
  }
  t.end();
});

/** Nodes on one network, each with a pod that Debian's own CNI plugins connect. */
function startNodes(t: Test, numbers: readonly number[]) {
  const directory = temporaryDirectory(t);
  const nodes = Object.fromEntries(
    numbers.flatMap((number) => [
      [`n${number}`, { tap0: `lan ${node(number).address}/24` }],
      [`p${number}`, {}],
    ]),
  );
  const lan = createLan(t, nodes);
  const configure = (number: number, peers: readonly number[], self = node(number)) => {
    const files = bridgeNetwork({ self, peers: peers.map(node), podSubnet });
    const [cni, table, script] = files.map(({ path, content, mode }) => {
      const file = join(directory, `n${number}-${path.slice(path.lastIndexOf("/") + 1)}`);
      writeFileSync(file, content, { mode });
      return file;
    });
    lan.run(`n${number}`, "sh", script ?? "", table ?? "");
    return cni ?? "";
  };
  return {
    lan,
    configure,
    /** What a runtime does with the first plugin of the file. */
    addPod(number: number, content: string): string {
      const { cniVersion, name, plugins } = JSON.parse(content) as {
        cniVersion: string;
        name: string;
        plugins: [{ ipam: object }];
      };
      const [bridge] = plugins;
      const ipam = { ...bridge.ipam, dataDir: join(directory, `n${number}-ipam`) };
      const result = execFileSync(
        "ip",
        ["netns", "exec", lan.namespaceOf(`n${number}`), "/usr/lib/cni/bridge"],
        {
          encoding: "utf8",
          input: JSON.stringify({ cniVersion, name, ...bridge, ipam }),
          env: {
            ...process.env,
            CNI_COMMAND: "ADD",
            CNI_CONTAINERID: `pod${number}`,
            CNI_NETNS: `/run/netns/${lan.namespaceOf(`p${number}`)}`,
            CNI_IFNAME: "eth0",
            CNI_PATH: "/usr/lib/cni",
          },
        },
      );
      const { ips } = JSON.parse(result) as { ips: [{ address: string }] };
      return ips[0].address.replace(/\/.*/, "");
    },
    /** Routes, neighbours and forwarding of the tunnel. */
    tunnel: (number: number) =>
      [
        lan.run(`n${number}`, "ip", "route", "show", "dev", "rollcall0"),
        lan.run(`n${number}`, "ip", "neigh", "show", "dev", "rollcall0", "nud", "permanent"),
        lan.run(`n${number}`, "bridge", "fdb", "show", "dev", "rollcall0"),
      ].map((text) =>
        text
          .split("\n")
          .map((line) => line.trim().replaceAll(/ +/g, " "))
          .filter((line) => line !== "")
          .sort(),
      ),
    ping: (from: string, to: string, ...words: string[]) =>
      spawnSync("ip", ["netns", "exec", lan.namespaceOf(from), "ping", "-c", "1", "-W", "5", ...words, to], {
        encoding: "utf8",
      }).status === 0,
  };
}

t.test("pods of different nodes reach each other by their own addresses, and full packets fit", (t) => {
  const { lan, configure, addPod, tunnel, ping } = startNodes(t, [1, 2, 3]);
  const conflists = [1, 2, 3].map((number) => configure(number, [1, 2, 3]));
  const [one = "", two = "", three = ""] = [1, 2, 3].map((number) =>
    addPod(number, String(bridgeNetwork({ self: node(number), peers: [], podSubnet })[0]?.content)),
  );
  t.equal(conflists.length, 3);
  t.same([one, two, three], ["10.244.1.2", "10.244.2.2", "10.244.3.2"]);
  t.ok(ping("p1", two), "pod to pod");
  t.ok(ping("p2", three));
  t.ok(ping("p3", one, "-M", "do", "-s", "1422"), "1450 octets in one piece");
  t.notOk(ping("p3", one, "-M", "do", "-s", "1423"), "and not one more");
  t.ok(ping("n1", two), "node to pod");
  const seen = lan.run("p2", "ip", "route", "get", one);
  t.match(seen, /via 10\.244\.2\.1/);

  const before = tunnel(1);
  t.same(before, [
    ["10.244.2.0/24 via 10.244.2.0 onlink", "10.244.3.0/24 via 10.244.3.0 onlink"],
    ["10.244.2.0 lladdr 02:52:0a:f4:02:00 PERMANENT", "10.244.3.0 lladdr 02:52:0a:f4:03:00 PERMANENT"],
    ["02:52:0a:f4:02:00 dst 10.0.0.12 self permanent", "02:52:0a:f4:03:00 dst 10.0.0.13 self permanent"],
  ]);
  configure(1, [1, 2, 3]);
  t.same(tunnel(1), before, "again changes nothing");
  t.equal(
    lan.run("n1", "iptables", "-t", "nat", "-S", "POSTROUTING").match(/MASQUERADE/g)?.length,
    1,
    "not even the rule for what leaves",
  );
  configure(1, [2]);
  t.same(
    tunnel(1),
    before.map(([first]) => [first]),
    "a node that is gone is forgotten",
  );
  t.ok(ping("p1", two), "and the others' pods are there as before");
  t.notOk(ping("p1", three, "-W", "1"));
  configure(1, [2, 3]);
  t.ok(ping("p1", three), "until it is back");

  // The same node with another address, as after a boot with another lease.
  lan.run("n3", "ip", "addr", "add", "10.0.0.33/24", "dev", "tap0");
  lan.run("n3", "ip", "addr", "del", "10.0.0.13/24", "dev", "tap0");
  const moved = { ...node(3), address: "10.0.0.33" as Ipv4 };
  configure(3, [1, 2], moved);
  t.match(lan.run("n3", "ip", "-d", "link", "show", "dev", "rollcall0"), /vxlan id 1 local 10\.0\.0\.33 /);
  t.end();
});

t.test("what leaves the pods goes as the machine, and what goes to other pods does not", async (t) => {
  const { lan, configure, addPod } = startNodes(t, [1, 2]);
  for (const number of [1, 2]) configure(number, [1, 2]);
  const [, two = ""] = [1, 2].map((number) =>
    addPod(number, String(bridgeNetwork({ self: node(number), peers: [], podSubnet })[0]?.content)),
  );
  for (const [listener, address, expected] of [
    ["p2", two, "10.244.1.2"],
    ["n2", node(2).address, "10.0.0.11"],
  ] as const) {
    const server = lan.start(listener, [
      "python3",
      "-c",
      "import socket; s = socket.create_server(('', 7000)); print('up', flush=True); print(s.accept()[1][0], flush=True)",
    ]);
    if (!server.stdout) throw new Error("no standard output");
    const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
    await lines.next();
    lan.run("p1", "python3", "-c", `import socket; socket.create_connection(('${address}', 7000), 10)`);
    t.equal((await lines.next()).value, expected, `${listener} is asked by ${expected}`);
  }
});

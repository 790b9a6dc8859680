import { execFile } from "node:child_process";
import { promisify } from "node:util";
import t from "tap";
import type { Mac } from "../server/net/mac.ts";
import { encodeEmptyAdvertisement, linkLocalOf } from "../server/ndp/router-advertisement.ts";
import { createRouterDiscovery, type Icmp6Sender } from "../server/ndp/router-discovery.ts";
import { silentLog } from "../server/platform/logger.ts";

const run = promisify(execFile);
const mac = "52:54:00:12:34:56" as Mac;

t.test("RFC 4861 s.4.2: the advertisement has router lifetime 0, no flag and no option", (t) => {
  t.equal(Buffer.from(encodeEmptyAdvertisement()).toString("hex"), `86${"00".repeat(15)}`);
  t.end();
});

t.test(
  "RFC 4291 appendix A: a link-local address is made of the MAC with its universal bit inverted",
  (t) => {
    t.equal(Buffer.from(linkLocalOf(mac)).toString("hex"), "fe80000000000000505400fffe123456");
    t.end();
  },
);

t.test(
  "each iPXE on a served device is told once per DHCPDISCOVER, by the device that it was heard on",
  async (t) => {
    const sent: string[] = [];
    const closed: string[] = [];
    const open = (device: string): Promise<Icmp6Sender> =>
      Promise.resolve({
        send: (_message, address) => void sent.push(`${device} ${Buffer.from(address).toString("hex", 8)}`),
        close: () => void closed.push(device),
      });
    const routers = await createRouterDiscovery(["lan0", "lan1"], { open, log: silentLog });
    routers.end("lan1", mac);
    routers.end("wan0", mac);
    t.same(sent, ["lan1 505400fffe123456"]);
    routers.close();
    t.same(closed, ["lan0", "lan1"]);
  },
);

t.test(
  "a host that is the network's IPv6 router never says that it is none (RFC 4861 s.6.3.4)",
  async (t) => {
    const sent: string[] = [];
    const open = (device: string): Promise<Icmp6Sender> =>
      Promise.resolve({ send: () => void sent.push(device), close: () => undefined });
    const isRouter = (device: string) => device === "lan0";
    const routers = await createRouterDiscovery(["lan0", "lan1"], { open, log: silentLog, isRouter });
    routers.end("lan0", mac);
    routers.end("lan1", mac);
    t.same(sent, ["lan1"]);
  },
);

t.test("where the system refuses, that is said once, and nobody fails by it", async (t) => {
  const said: string[] = [];
  const log = { info: (_: object, text: string) => void said.push(text), debug: () => undefined };
  const refused = await createRouterDiscovery(["lan0"], {
    open: () => Promise.reject(new Error("socket(ICMPv6): EPERM")),
    log,
  });
  refused.end("lan0", mac);
  t.match(said, [/CAP_NET_RAW/]);
  const broken = await createRouterDiscovery(["lan0"], {
    open: () =>
      Promise.resolve({
        send: () => {
          throw new Error("sendto: ENETUNREACH");
        },
        close: () => undefined,
      }),
    log,
  });
  broken.end("lan0", mac);
  t.equal(said.length, 1);
});

t.test("a neighbour on the link hears it from the kernel's own stack, with hop limit 255", async (t) => {
  const [here, there] = [`rcndp${process.pid}a`, `rcndp${process.pid}b`];
  for (const name of [here, there]) {
    await run("ip", ["netns", "add", name]);
    t.teardown(() => run("ip", ["netns", "delete", name]));
  }
  await run("ip", [
    "-n",
    here,
    "link",
    "add",
    "lan0",
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "netns",
    there,
  ]);
  await run("ip", ["-n", there, "link", "set", "eth0", "address", mac]);
  for (const [name, device] of [
    [here, "lan0"],
    [there, "eth0"],
  ] as const) {
    // A tentative address sends nothing; there is nobody here to collide with (RFC 4862 s.5.4).
    await run("ip", ["netns", "exec", name, "sysctl", "-q", `net.ipv6.conf.${device}.accept_dad=0`]);
    await run("ip", ["-n", name, "link", "set", device, "up"]);
  }
  const program = `
    import { openIcmp6 } from "./server/platform/icmp6-socket.ts";
    import { createRouterDiscovery } from "./server/ndp/router-discovery.ts";
    const log = { info: console.error, debug: console.error };
    const routers = await createRouterDiscovery(["lan0"], { open: openIcmp6, log });
    routers.end("lan0", "${mac}");
    routers.close();
  `;
  const listening = run("ip", [
    "netns",
    "exec",
    there,
    "timeout",
    "20",
    "tcpdump",
    "-i",
    "eth0",
    "-n",
    "-vv",
    "-c",
    "1",
    "--immediate-mode",
    "icmp6 and ip6[40] == 134",
  ]);
  // tcpdump says when it listens, on standard error.
  await new Promise<void>((resolve, reject) => {
    listening.child.stderr?.on("data", (text: Buffer) => text.includes("listening on") && resolve());
    listening.catch(reject);
  });
  const node = ["--disable-warning=ExperimentalWarning", "--input-type=module-typescript", "--eval", program];
  const { stderr } = await run("ip", ["netns", "exec", here, process.execPath, ...node], {
    cwd: `${import.meta.dirname}/..`,
  });
  t.equal(stderr, "");
  const { stdout } = await listening;
  t.match(stdout, /hlim 255, next-header ICMPv6/);
  t.match(stdout, /> fe80::5054:ff:fe12:3456: \[icmp6 sum ok\] ICMP6, router advertisement/);
  t.match(stdout, /Flags \[none\], pref medium, router lifetime 0s/);
});

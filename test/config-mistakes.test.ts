import { join } from "node:path";
import t, { type Test } from "tap";
import { type ConfigSources, loadConfig } from "../server/config/load.ts";
import { ConfigInvalid } from "../server/domain/error-catalogue.ts";

const nothing: ConfigSources = { defaultFiles: [], environment: {}, overrides: [] };

/** The problems, one a line, without the directory of the test. */
function problems(t: Test, text: string, sources: Partial<ConfigSources> = {}): string[] {
  const directory = t.testdir({ "rollcall.yaml": text });
  try {
    loadConfig({ ...nothing, file: join(directory, "rollcall.yaml"), ...sources });
  } catch (error) {
    if (!ConfigInvalid.is(error)) throw error;
    return error.message.replaceAll(`${directory}/`, "").split("\n");
  }
  return [];
}

t.test("what to do about a broken config is not the command that has just failed on it", (t) => {
  const fails = (file: string, advice: RegExp) => {
    try {
      loadConfig({ ...nothing, defaultFiles: ["rollcall.yaml"], file });
      t.fail("it is broken");
    } catch (error) {
      t.match(error, { code: "CONFIG_INVALID", advice });
    }
  };
  fails(join(t.testdir({ "a.yaml": "dhcp: 5\n" }), "a.yaml"), /^[^`]*docs\/configuration\.md[^`]*$/);
  fails("/nowhere/rollcall.yaml", /--config FILE.* rollcall\.yaml is read/);
  t.end();
});

t.test("each mistake in the file is told with file, line, key and what is allowed", (t) => {
  const mode = "must be off, proxy, authoritative";
  const subnet = (lines: string) => `dhcp:\n  mode: proxy\n  subnets:\n    - subnet: 10.0.0.0/24\n${lines}`;
  const cases: [name: string, text: string, expected: string][] = [
    [
      "a word that is not one of the choices",
      "dhcp:\n  mode: on\n",
      `rollcall.yaml:2: dhcp.mode: "on" is not allowed; it ${mode}`,
    ],
    [
      "a TFTP client network with host bits",
      "tftp:\n  clients: [10.0.0.0/8, 10.0.0.5/24]\n",
      'rollcall.yaml:2: tftp.clients[1]: "10.0.0.5/24" is not a network; write it as 10.0.0.0/8, host bits zero',
    ],
    [
      "a quantity that is none",
      "students:\n  quota:\n    memory: 2 GB\n",
      'rollcall.yaml:3: students.quota.memory: "2 GB" is not allowed; it must be a quantity of Kubernetes like "2" (a bare number in quotes), 500m, 256Mi or 1.5Gi',
    ],
    [
      "a number where Kubernetes has a text",
      "students:\n  quota:\n    cpu: 2\n",
      'rollcall.yaml:3: students.quota.cpu: 2 is not allowed; it must be a quantity of Kubernetes like "2" (a bare number in quotes), 500m, 256Mi or 1.5Gi',
    ],
    [
      "a container that no student's share has room for",
      "students:\n  quota:\n    memory: 128Mi\n",
      "default: students.container.memory: 256Mi is more than students.quota.memory, which is 128Mi: no container would start",
    ],
    [
      "a request beyond the limit",
      "students:\n  container:\n    cpu: 10m\n",
      "default: students.container.cpuRequest: 50m is more than students.container.cpu, which is 10m: no container would start",
    ],
    [
      "a switch that is neither on nor off",
      "tftp:\n  singlePort: maybe\n",
      'rollcall.yaml:2: tftp.singlePort: "maybe" is not allowed; it must be true or false',
    ],
    [
      "a key without a value",
      "dhcp:\n  mode:\n",
      `rollcall.yaml:2: dhcp.mode: an empty value is not allowed; it ${mode}`,
    ],
    [
      "a number out of range",
      "tftp:\n  port: 65536\n",
      "rollcall.yaml:2: tftp.port: 65536 is not allowed; it must be a whole number from 0 to 65535",
    ],
    [
      "a negative number",
      "tftp:\n  port: -1\n",
      "rollcall.yaml:2: tftp.port: -1 is not allowed; it must be a whole number from 0 to 65535",
    ],
    [
      "a fraction",
      "tftp:\n  port: 69.5\n",
      "rollcall.yaml:2: tftp.port: 69.5 is not allowed; it must be a whole number from 0 to 65535",
    ],
    [
      "a number in quotes",
      'tftp:\n  port: "69"\n',
      'rollcall.yaml:2: tftp.port: "69" is not allowed; it must be a whole number from 0 to 65535',
    ],
    [
      "a text for a list",
      "\n\ninterfaces: eth0\n",
      'rollcall.yaml:3: interfaces: "eth0" is not allowed; it must be a list of texts',
    ],
    [
      "an item of another type",
      "interfaces:\n  - eth0\n  - 5\n",
      'rollcall.yaml:3: interfaces[1]: 5 is not allowed; it must be a text of 1 to 15 characters; in quotes YAML takes it for a text: "5"',
    ],
    [
      "an interface name that Linux can't have",
      "interfaces: [abcdefghijklmnop]\n",
      'rollcall.yaml:1: interfaces[0]: "abcdefghijklmnop" is not allowed; it must be a text of 1 to 15 characters',
    ],
    [
      "an interface listed twice",
      "interfaces:\n  - br0\n  - br1\n  - br0\n",
      "rollcall.yaml:4: interfaces[2]: br0 is listed already",
    ],
    [
      "a port of another listener, by default",
      "dhcp:\n  port: 4011\n",
      "rollcall.yaml:2: dhcp.port: udp port 4011 is that of dhcp.pxePort already",
    ],
    [
      "two listeners on one port",
      "dhcp:\n  pxePort: 1069\ntftp:\n  port: 1069\n",
      "rollcall.yaml:4: tftp.port: udp port 1069 is that of dhcp.pxePort already",
    ],
    [
      "a host name for an address",
      "address: server\n",
      'rollcall.yaml:1: address: "server" is not allowed; it must be an IPv4 address',
    ],
    [
      "an address that is none",
      "services:\n  address: 10.0.0.300\n",
      'rollcall.yaml:2: services.address: "10.0.0.300" is not allowed; it must be an IPv4 address',
    ],
    [
      "an empty text",
      "dataDir: ''\n",
      'rollcall.yaml:1: dataDir: "" is not allowed; it must be a text that is not empty',
    ],
    [
      "a database of another kind",
      "store:\n  url: postgres://x\n",
      'rollcall.yaml:2: store.url: "postgres://x" is not allowed; it must be sqlite:FILE',
    ],
    [
      "a database without a file, which SQLite would forget at the end",
      "store:\n  url: 'sqlite:'\n",
      'rollcall.yaml:2: store.url: "sqlite:" is not allowed; it must be sqlite:FILE',
    ],
    [
      "a time zone that nobody knows",
      "timezone: Moscow\n",
      'rollcall.yaml:1: timezone: "Moscow" is no time zone; write its IANA name, like Europe/Moscow',
    ],
    [
      "a directory of roles that is not there",
      "rolesDir: /nonexistent/roles\n",
      "rollcall.yaml:1: rolesDir: there is no directory /nonexistent/roles",
    ],
    [
      "a data directory whose control socket no path can name",
      `dataDir: /${"x".repeat(95)}\n`,
      `rollcall.yaml:1: dataDir: too long: /${"x".repeat(95)}/control.sock has 109 octets, and Linux takes 107 in the path of a socket`,
    ],
    [
      "a name that is none",
      "http:\n  names: [lab.example.org, 'a b']\n",
      'rollcall.yaml:2: http.names[1]: "a b" is not allowed; it must be a DNS name',
    ],
    ["a value for a section", "dhcp: proxy\n", "rollcall.yaml:1: dhcp must be a mapping of keys"],
    ["a list for a section", "tftp:\n  - port\n", "rollcall.yaml:1: tftp must be a mapping of keys"],
    ["a list for the file", "- dhcp\n", "rollcall.yaml:1: the file must be a mapping of keys"],
    [
      "levels written with a dot",
      "\ndhcp.mode: off\n",
      "rollcall.yaml:2: write dhcp.mode as nested keys: dhcp: then, indented, mode:",
    ],
    [
      "no YAML at all",
      "dhcp:\n  mode: [\n",
      "rollcall.yaml:3: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    ["a key given twice", "dataDir: /a\ndataDir: /b\n", "rollcall.yaml:2: Map keys must be unique"],
    [
      "a tag that runs code elsewhere",
      "dataDir: !!js/function x\n",
      "rollcall.yaml:1: Unresolved tag: tag:yaml.org,2002:js/function",
    ],
    [
      "a version of Kubernetes that is none",
      "cluster:\n  kubernetesVersion: newest\n",
      'rollcall.yaml:2: cluster.kubernetesVersion: "newest" is no version of three numbers, like 1.31.0',
    ],
    [
      "a version of Kubernetes without its last number, in quotes",
      'cluster:\n  kubernetesVersion: "1.29"\n',
      'rollcall.yaml:2: cluster.kubernetesVersion: "1.29" is no version of three numbers, like 1.29.0',
    ],
    [
      "a version of Kubernetes that is too old",
      "cluster:\n  kubernetesVersion: 1.19.3\n",
      "rollcall.yaml:2: cluster.kubernetesVersion: the oldest that works is 1.20",
    ],
    [
      "an endpoint on the loopback device",
      "cluster:\n  kubernetesVersion: 1.31.0\n  endpoint: localhost:6443\n",
      "rollcall.yaml:3: cluster.endpoint: other machines can't reach a loopback address",
    ],
    [
      "pods and services in one network",
      "cluster:\n  kubernetesVersion: 1.31.0\n  podSubnet: 10.96.0.0/16\n",
      "rollcall.yaml:3: cluster.podSubnet: overlaps with serviceSubnet",
    ],
    [
      "an image without a tag",
      "cluster:\n  kubernetesVersion: 1.31.0\n  pauseImage: pause\n",
      'rollcall.yaml:3: cluster.pauseImage: "pause" is not like registry.local/k8s/pause:3.10',
    ],
    [
      "a place of etcd that is none",
      "cluster:\n  kubernetesVersion: 1.31.0\n  etcd: cloud\n",
      'rollcall.yaml:3: cluster.etcd: "cloud" is not allowed; it must be server, ephemeral, stacked',
    ],
    [
      "a passphrase in a file that is not there",
      "cluster:\n  kubernetesVersion: 1.31.0\n  passphraseFile: /nonexistent/passphrase\n",
      "rollcall.yaml:3: cluster.passphraseFile: there is no file /nonexistent/passphrase",
    ],
    [
      "a cluster without a version",
      "cluster:\n  endpoint: 10.0.0.1:6443\n",
      "rollcall.yaml:2: cluster.endpoint: means nothing without cluster.kubernetesVersion",
    ],
    [
      "a cluster's name without a version",
      "cluster:\n  name: lab\n",
      "rollcall.yaml:2: cluster.name: means nothing without cluster.kubernetesVersion",
    ],
    [
      "a version of Kubernetes that YAML takes for a number",
      "cluster:\n  kubernetesVersion: 1.31\n",
      "rollcall.yaml:2: cluster.kubernetesVersion: 1.31 is not allowed; it must be a version of three numbers, like 1.31.0",
    ],
    [
      "pods in the network of the machines",
      "dhcp:\n  subnets:\n    - subnet: 10.244.7.0/24\n      range: 10.244.7.10-10.244.7.20\ncluster:\n  kubernetesVersion: 1.31.0\n",
      "default: cluster.podSubnet: no address of the machines may be in it, and they are in 10.244.7.0/24",
    ],
    [
      "the server's address among those of the services",
      "address: 10.97.0.1\ncluster:\n  kubernetesVersion: 1.31.0\n  serviceSubnet: 10.96.0.0/12\n",
      "rollcall.yaml:4: cluster.serviceSubnet: no address of the machines may be in it, and they are in 10.97.0.1/32",
    ],
    [
      "the endpoint at the port of HTTP",
      "cluster:\n  kubernetesVersion: 1.31.0\n  endpoint: api.lab:8080\n",
      "rollcall.yaml:3: cluster.endpoint: tcp port 8080 is that of http.port already",
    ],
    [
      "HTTP at the port of HTTPS",
      "http:\n  port: 8443\ncluster:\n  kubernetesVersion: 1.31.0\n",
      "rollcall.yaml:2: http.port: tcp port 8443 is that of https.port already",
    ],
    [
      "authoritative without a network",
      "dhcp:\n  mode: authoritative\n",
      "rollcall.yaml:2: dhcp.mode: authoritative needs at least one entry in dhcp.subnets",
    ],
    [
      "a text for the networks",
      "dhcp:\n  subnets: 10.0.0.0/24\n",
      'rollcall.yaml:2: dhcp.subnets: "10.0.0.0/24" is not allowed; it must be a list of networks, each beginning with `- subnet: 10.0.0.0/24`',
    ],
    [
      "a text for a network",
      "dhcp:\n  subnets: [10.0.0.0/24]\n",
      'rollcall.yaml:2: dhcp.subnets[0]: "10.0.0.0/24" is not allowed; it must be a mapping of subnet, range, router, dns, domain, leaseSeconds, relay',
    ],
    [
      "a network without its address",
      "dhcp:\n  subnets:\n    - range: a-b\n",
      "rollcall.yaml:3: dhcp.subnets[0]: the key subnet is missing",
    ],
    [
      "an unknown key of a network",
      subnet("      rotuer: 10.0.0.1\n"),
      "rollcall.yaml:5: dhcp.subnets[0].rotuer: unknown key; known are subnet, range, router, dns, domain, leaseSeconds, relay",
    ],
    [
      "a lease that is too short",
      subnet("      leaseSeconds: 5\n"),
      "rollcall.yaml:5: dhcp.subnets[0].leaseSeconds: 5 is not allowed; it must be a whole number from 60 to 31536000",
    ],
    [
      "a DNS server that is no address",
      subnet("      dns:\n        - 10.0.0.1\n        - 10.0.0.256\n"),
      'rollcall.yaml:7: dhcp.subnets[0].dns[1]: "10.0.0.256" is not allowed; it must be an IPv4 address',
    ],
    [
      "one DNS server without a list",
      subnet("      dns: 10.0.0.1\n"),
      'rollcall.yaml:5: dhcp.subnets[0].dns: "10.0.0.1" is not allowed; it must be a list of IPv4 addresses',
    ],
    [
      "a relay that is no address",
      subnet("      relay: [relay]\n"),
      'rollcall.yaml:5: dhcp.subnets[0].relay[0]: "relay" is not allowed; it must be an IPv4 address',
    ],
    [
      "host bits in a network",
      "dhcp:\n  subnets:\n    - subnet: 10.0.0.1/24\n",
      'rollcall.yaml:3: dhcp.subnets[0].subnet: "10.0.0.1/24" is not a network; write it as 10.0.0.0/24, host bits zero',
    ],
    [
      "a router outside its network",
      subnet("      router: 10.0.1.1\n"),
      "rollcall.yaml:5: dhcp.subnets[0].router: 10.0.1.1 is not in 10.0.0.0/24",
    ],
    [
      "networks that overlap",
      subnet("    - subnet: 10.0.0.128/25\n"),
      "rollcall.yaml:5: dhcp.subnets[1].subnet: 10.0.0.128/25 overlaps with 10.0.0.0/24",
    ],
  ];
  for (const [name, text, expected] of cases) t.same(problems(t, text), [expected], name);
  for (const range of [
    "10.0.0.9-10.0.0.5",
    "10.0.1.5-10.0.1.9",
    "10.0.0.5",
    "10.0.0.5-9",
    "10.0.0.5-10.0.0.9-10.0.0.20",
  ])
    t.same(
      problems(t, subnet(`      range: ${range}\n`)),
      [
        `rollcall.yaml:5: dhcp.subnets[0].range: ${JSON.stringify(range)} must be two addresses of 10.0.0.0/24, the smaller first, like 10.0.0.100-10.0.0.199`,
      ],
      range,
    );
  t.end();
});

t.test("all mistakes are told at once, in the order of the file", (t) => {
  const told = problems(t, "tftp:\n  port: x\nfoo: 1\ndhcp:\n  mode: 5\n", {
    environment: { ROLLCALL_HTTP__PORT: "x" },
  });
  t.same(
    told.map((line) => /^.*?(?:tftp.port|foo|dhcp.mode|http.port)/.exec(line)?.[0]),
    [
      "rollcall.yaml:2: tftp.port",
      "rollcall.yaml:3: unknown key foo",
      "rollcall.yaml:5: dhcp.mode",
      "environment ROLLCALL_HTTP__PORT: http.port",
    ],
  );
  t.end();
});

t.test("an unknown key suggests what was meant", (t) => {
  const cases: [string, string][] = [
    ["intrefaces: [eth0]\n", "rollcall.yaml:1: unknown key intrefaces; did you mean interfaces?"],
    ["dhcp:\n  mod: off\n", "rollcall.yaml:2: unknown key dhcp.mod; did you mean dhcp.mode?"],
    ["dhcp:\n  pxeport: 1\n", "rollcall.yaml:2: unknown key dhcp.pxeport; did you mean dhcp.pxePort?"],
    ["unknownMachine: menu\n", "rollcall.yaml:1: unknown key unknownMachine; did you mean unknownMachines?"],
    ["subnets: []\n", "rollcall.yaml:1: unknown key subnets; did you mean dhcp.subnets?"],
    ["loglevel: info\n", "rollcall.yaml:1: unknown key loglevel; did you mean log.level?"],
  ];
  for (const [text, expected] of cases) t.same(problems(t, text), [expected]);
  t.match(problems(t, "foo: 1\n")[0], /unknown key foo; known are interfaces, .*log\.level$/);
  for (const name of ["__proto__", "constructor", "toString", "dhcp.__proto__"])
    t.match(
      problems(t, `${name.replace(".", ":\n  ")}: 1\n`)[0],
      `unknown key ${name};`,
      "prototype names are keys like others",
    );
  t.end();
});

t.test("a bad value of a lower source is told even when a higher one covers it", (t) => {
  t.match(
    problems(t, "tftp:\n  port: x\n", { environment: { ROLLCALL_TFTP__PORT: "69" } })[0],
    /rollcall.yaml:2: tftp.port/,
  );
  t.end();
});

t.test("ports that are no clash", (t) => {
  for (const text of [
    "dhcp:\n  port: 0\n  pxePort: 0\ntftp:\n  port: 0\n",
    "dhcp:\n  mode: off\n  port: 69\n",
    "tftp:\n  port: 8080\n",
    "http:\n  port: 8443\n",
  ])
    t.same(problems(t, text), [], text);
  t.end();
});

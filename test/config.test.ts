import { join } from "node:path";
import t, { type Test } from "tap";
import { type ConfigSources, describeConfig, loadConfig, type LoadedConfig } from "../server/config/load.ts";
import { type Config, configKeys } from "../server/config/schema.ts";
import { clusterOf } from "../server/configured-cluster.ts";
import type { Ipv4 } from "../server/net/ipv4.ts";

const nothing: ConfigSources = { defaultFiles: [], environment: {}, overrides: [] };

/** Loads one file of this text, called `rollcall.yaml` in messages. */
function load(t: Test, text: string, sources: Partial<ConfigSources> = {}): LoadedConfig {
  const directory = t.testdir({ "rollcall.yaml": text });
  return loadConfig({ ...nothing, file: join(directory, "rollcall.yaml"), ...sources });
}

const environmentProblems = (environment: Record<string, string>): string[] => {
  try {
    loadConfig({ ...nothing, environment });
  } catch (error) {
    return (error as Error).message.split("\n");
  }
  return [];
};

t.test("without any source every key of the contract has its default", (t) => {
  const { config, origins, file } = loadConfig(nothing);
  t.equal(file, undefined);
  t.same(config, {
    interfaces: [],
    dataDir: "./data",
    dhcp: {
      mode: "proxy",
      port: 67,
      pxePort: 4011,
      unknownSharePercent: 50,
      endRouterDiscovery: "auto",
      raspberryPiDelayMs: 1000,
      subnets: [],
    },
    tftp: { port: 69, singlePort: false, clients: [] },
    http: { port: 8080, names: [] },
    https: { port: 8443 },
    registry: {
      enabled: true,
      port: 80,
      tlsPort: 443,
      anonymousPull: true,
      insecurePush: false,
      users: [],
      pins: [],
      host: "registry.local",
      aliases: [],
      upstreams: [],
      cacheBytes: 64_000_000_000,
      graceSeconds: 3600,
      scrubBytesPerSecond: 8_000_000,
      repositories: [],
    },
    lookaside: { port: 81 },
    services: {},
    assets: { maxBytes: 64_000_000_000, keepVersions: 2 },
    unknownMachines: "discover",
    boot: { localBoot: "exit", driver: "auto", afterFailures: "reboot" },
    cluster: {
      name: "kubernetes",
      loadBalancer: true,
      etcd: "server",
      etcdProgram: "etcd",
      serviceSubnet: "10.96.0.0/12",
      podSubnet: "10.244.0.0/16",
      dnsDomain: "cluster.local",
      dns: "coredns",
      network: "bridge",
      certificateSans: [],
      keyAlgorithm: "ECDSA-P256",
      arming: "operator",
      workerSlots: 8,
    },
    students: {
      clusterRole: "admin",
      podSecurity: "baseline",
      quota: { cpu: "2", memory: "2Gi", pods: 10, services: 10, nodePorts: 2, volumeClaims: 0 },
      container: { cpu: "500m", memory: "256Mi", cpuRequest: "50m", memoryRequest: "64Mi" },
      networkPolicy: true,
      tokenHours: 8,
    },
    store: {},
    log: { level: "info" },
  } satisfies Config);
  const contract = [
    "interfaces address dataDir dhcp.mode dhcp.port dhcp.pxePort dhcp.subnets tftp.port http.port https.port",
    "registry.port registry.tlsPort lookaside.port services.address unknownMachines store.url rolesDir",
  ];
  const names = configKeys.map(({ name }) => name);
  for (const name of contract.join(" ").split(" ")) t.ok(names.includes(name), name);
  t.same([...new Set(origins.values())], ["default"]);
  t.same([...origins.keys()].sort(), [...names].sort(), "each key has an origin");
  for (const { key, meaning } of describeConfig(loadConfig(nothing))) t.ok(meaning, `${key} is explained`);
  t.end();
});

t.test("defaults are not shared between two configs of one process", (t) => {
  (loadConfig(nothing).config.interfaces as string[]).push("eth0");
  t.same(loadConfig(nothing).config.interfaces, []);
  t.end();
});

t.test(
  "file over default, environment over file, argument over environment; each value knows its origin",
  (t) => {
    const { config, origins } = load(
      t,
      "dataDir: /a\ninterfaces: [eth0]\nhttp:\n  port: 8000\ndhcp:\n  mode: off\n",
      {
        environment: { ROLLCALL_DATA_DIR: "/b", ROLLCALL_HTTP__PORT: "8001" },
        overrides: [{ key: "dataDir", value: "/c", argument: "--data" }],
      },
    );
    t.match(config, { dataDir: "/c", interfaces: ["eth0"], http: { port: 8001 }, dhcp: { mode: "off" } });
    t.equal(origins.get("dataDir"), "argument --data");
    t.equal(origins.get("http.port"), "environment ROLLCALL_HTTP__PORT");
    t.match(origins.get("dhcp.mode"), /^file .*rollcall\.yaml:6$/);
    t.match(origins.get("interfaces"), /^file .*rollcall\.yaml:2$/);
    t.equal(origins.get("dhcp.port"), "default");
    t.end();
  },
);

t.test("files", (t) => {
  t.test("the first default file that is there is read; none is fine", (t) => {
    const directory = t.testdir({ "b.yaml": "dataDir: /b\n", "c.yaml": "dataDir: /c\n" });
    const paths = ["a.yaml", "b.yaml", "c.yaml"].map((name) => join(directory, name));
    const { config, file } = loadConfig({ ...nothing, defaultFiles: paths });
    t.equal(config.dataDir, "/b");
    t.equal(file, paths[1]);
    t.end();
  });
  t.test("a file that was named must be there and be a file", (t) => {
    const directory = t.testdir({});
    t.throws(() => loadConfig({ ...nothing, file: join(directory, "x.yaml") }), {
      code: "CONFIG_INVALID",
      message: `${directory}/x.yaml: there is no such file`,
    });
    t.throws(() => loadConfig({ ...nothing, file: directory }), {
      message: `${directory}: it is a directory`,
    });
    t.end();
  });
  t.test("a default file that can't be read stops the start: its settings would be missing silently", (t) => {
    const directory = t.testdir({ "a.yaml": {} });
    t.throws(() => loadConfig({ ...nothing, defaultFiles: [join(directory, "a.yaml")] }), {
      code: "CONFIG_INVALID",
    });
    t.end();
  });
  t.test("an empty file, one of comments and empty sections mean the defaults", (t) => {
    for (const text of ["", "# nothing\n", "---\n", "dhcp:\nhttp:\n", "\ufeffdhcp: {}\n"])
      t.same(load(t, text).config, loadConfig(nothing).config, JSON.stringify(text));
    t.end();
  });
  t.end();
});

t.test("environment", (t) => {
  const load = (environment: Record<string, string>) => loadConfig({ ...nothing, environment }).config;

  t.test(
    "every key can be set by its variable: two underscores between levels, single ones for the eye",
    (t) => {
      const values: Record<string, string> = {
        "dhcp.mode": "off",
        "dhcp.endRouterDiscovery": "never",
        unknownMachines: "menu",
        "log.level": "debug",
        "boot.localBoot": "sanboot",
        "boot.driver": "ipxe",
        "boot.afterFailures": "exit",
        "tftp.singlePort": "true",
        "tftp.clients": "10.0.0.0/8,192.0.2.0/24",
        "registry.enabled": "false",
        "registry.insecurePush": "true",
        "registry.anonymousPull": "false",
        "registry.htpasswdFile": import.meta.filename,
        "registry.users": '[{"name":"anna","repositories":["p10/*"]}]',
        "registry.pins": "p10/*:v1.26.9",
        "cluster.kubernetesVersion": "1.31.0",
        "cluster.loadBalancer": "false",
        "cluster.etcd": "stacked",
        "cluster.pauseImage": "registry.local/pause:1",
        "cluster.serviceSubnet": "10.97.0.0/16",
        "cluster.podSubnet": "10.245.0.0/16",
        "cluster.dns": "none",
        "cluster.network": "flannel",
        "cluster.keyAlgorithm": "RSA-2048",
        "cluster.arming": "automatic",
        "cluster.passphraseFile": import.meta.filename,
        "cluster.objectsDir": import.meta.dirname,
        "students.podSecurity": "restricted",
        "students.networkPolicy": "false",
        "students.quota.cpu": "4",
        "students.quota.memory": "4Gi",
        "students.container.cpu": "1.5",
        "students.container.memory": "1Gi",
        "students.container.cpuRequest": "10m",
        "students.container.memoryRequest": "16Mi",
        "registry.upstreams": '[{"prefix":"docker.io/","url":"https://registry-1.docker.io"}]',
      };
      for (const { name, path, schema } of configKeys) {
        const words = path.map((part) => part.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase());
        const variable = `ROLLCALL_${words.join("__")}`;
        const text =
          values[name] ??
          (name === "registry.repositories"
            ? '[{"pattern":"p10/*","mode":"require-signed"}]'
            : name === "dhcp.subnets"
              ? '[{"subnet":"10.0.0.0/24"}]'
              : name === "store.url"
                ? "sqlite:/x"
                : name === "timezone"
                  ? "Europe/Moscow"
                  : name === "rolesDir"
                    ? "/"
                    : schema.type === "integer"
                      ? String(Math.min(1234, schema.maximum ?? 1234))
                      : "10.0.0.1");
        const needed: Record<string, string> = {
          ...(name.startsWith("cluster.") && { ROLLCALL_CLUSTER__KUBERNETES_VERSION: "1.31.0" }),
          ...(name === "registry.users" && { ROLLCALL_REGISTRY__HTPASSWD_FILE: import.meta.filename }),
        };
        const { origins } = loadConfig({ ...nothing, environment: { ...needed, [variable]: text } });
        t.equal(origins.get(name), `environment ${variable}`, variable);
      }
      t.end();
    },
  );
  t.test("lists are parted by commas, networks are JSON and get their defaults", (t) => {
    t.same(load({ ROLLCALL_INTERFACES: "eth0, eth1," }).interfaces, ["eth0", "eth1"]);
    t.same(load({ ROLLCALL_INTERFACES: "" }).interfaces, []);
    t.same(load({ ROLLCALL_DHCP__SUBNETS: '[{"subnet":"10.0.0.0/24"}]' }).dhcp.subnets, [
      { subnet: "10.0.0.0/24", leaseSeconds: 3600 },
    ]);
    t.end();
  });
  t.test("a mistake names the variable, the key and what is allowed", (t) => {
    t.match(environmentProblems({ ROLLCALL_REGISTRY__REPOSITORIES: '[{"pattern":"P 10","mode":"maybe"}]' }), [
      /repositories\[0\]\.pattern: "P 10" is not allowed; it must be a name of a repository, with \*/,
      /repositories\[0\]\.mode: "maybe" is not allowed; it must be open, warn, require-signed/,
    ]);
    t.same(environmentProblems({ ROLLCALL_DHCP__PORT: "67a" }), [
      'environment ROLLCALL_DHCP__PORT: dhcp.port: "67a" is not allowed; it must be a whole number from 0 to 65535',
    ]);
    t.match(
      environmentProblems({ ROLLCALL_DHCP__SUBNETS: "10.0.0.0/24" })[0],
      /^environment ROLLCALL_DHCP__SUBNETS: dhcp\.subnets: .*a list of networks/,
    );
    t.match(
      environmentProblems({ ROLLCALL_DHCP__SUBNETS: '[{"subnet":"10.0.0.1/24"}]' })[0],
      /^environment ROLLCALL_DHCP__SUBNETS: dhcp\.subnets\[0\]\.subnet: .*host bits zero/,
    );
    t.same(environmentProblems({ ROLLCALL_HTTP__PORT: "0x50" }).length, 1);
    t.end();
  });
  t.test("an unknown variable of ours is a mistake and suggests the right one", (t) => {
    t.same(environmentProblems({ ROLLCALL_DHCP_MODE: "off" }), [
      "environment ROLLCALL_DHCP_MODE: unknown key; did you mean ROLLCALL_DHCP__MODE?",
    ]);
    t.match(environmentProblems({ ROLLCALL_DHCP: "off" })[0], /did you mean ROLLCALL_DHCP__MODE or/);
    t.end();
  });
  t.test("variables of the command line tool and of others are left alone", (t) => {
    t.same(
      load({ ROLLCALL_TOKEN: "t", ROLLCALL_SERVER: "s", PATH: "/bin", DHCP__MODE: "off" }),
      loadConfig(nothing).config,
    );
    t.end();
  });
  t.end();
});

t.test("arguments are checked like everything else", (t) => {
  for (const [key, value, argument] of [
    ["dataDir", "", "--data"],
    ["interfaces", ["much-too-long-a-name"], "--interface"],
  ] as const)
    t.throws(() => loadConfig({ ...nothing, overrides: [{ key, value, argument }] }), {
      message: new RegExp(`^argument ${argument}: ${key}`),
    });
  t.end();
});

t.test("a network of the file gets the default lease and keeps its own", (t) => {
  const { config } = load(
    t,
    "dhcp:\n  mode: authoritative\n  subnets:\n    - subnet: 10.0.0.0/24\n    - { subnet: 10.1.0.0/16, leaseSeconds: 60, range: 10.1.0.5 - 10.1.0.9 }\n",
  );
  t.same(
    config.dhcp.subnets.map(({ leaseSeconds }) => leaseSeconds),
    [3600, 60],
  );
  t.end();
});

t.test("a cluster is configured by its version alone, and is then reached by this server's address", (t) => {
  const address = "10.0.0.1" as Ipv4;
  t.equal(clusterOf(loadConfig(nothing).config, address), undefined);
  const cluster = (text: string) =>
    clusterOf(load(t, `cluster:\n  kubernetesVersion: 1.31.0\n${text}`).config, address);
  const etcd = { kind: "external", endpoints: ["https://10.0.0.1:2379"] };
  t.match(cluster(""), {
    name: "kubernetes",
    version: { minor: 31, patch: 0 },
    endpoint: { host: "10.0.0.1", port: 6443 },
    criSocket: "unix:///run/containerd/containerd.sock",
    dns: "coredns",
    etcd,
  });
  t.match(cluster("  endpoint: api.lab:7443\n"), { endpoint: { host: "api.lab", port: 7443 } });
  t.match(cluster("  etcd: ephemeral\n"), { etcd });
  t.match(cluster("  etcd: stacked\n"), { etcd: { kind: "stacked", dataDirectory: "/var/lib/etcd" } });
  t.end();
});

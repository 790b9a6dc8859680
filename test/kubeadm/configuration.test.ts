import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { type ClusterInput, readCluster } from "../../server/domain/cluster.ts";
import { ClusterInvalid } from "../../server/domain/error-catalogue.ts";
import {
  initArguments,
  initConfiguration,
  joinConfiguration,
  kubeadmApiVersion,
} from "../../server/kubeadm/configuration.ts";
import {
  externalEtcd,
  sampleCluster,
  sampleMaster,
  sampleWorker,
  stackedEtcd,
} from "../support/cluster-samples.ts";

const golden = resolve(import.meta.dirname, "golden");
const token = { id: "abcdef", secret: "0123456789abcdef" };
const certificateKey = "5a".repeat(32);
const authorityHash = `sha256:${"ab".repeat(32)}`;

/** One for each change of what kubeadm or a kubelet reads. */
const goldenVersions = ["1.20.2", "1.22.17", "1.25.16", "1.31.0", "1.34.1", "1.36.4"];

/** All documents for a version, as plain values by kind; the worker's join is `Join`, the master's `JoinMaster`. */
function textsFor(version: string, input: Partial<ClusterInput> = {}) {
  const cluster = sampleCluster(version, { imageRepository: "registry.local/k8s", ...input });
  return {
    "init.yaml": initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_1" }),
    "join-worker.yaml": joinConfiguration({
      cluster,
      machine: sampleWorker,
      token,
      role: "worker",
      discovery: { kind: "file", path: "/run/rollcall/discovery.conf" },
    }),
    "join-master.yaml": joinConfiguration({
      cluster,
      machine: sampleMaster,
      token,
      role: "control-plane",
      discovery: { kind: "token", authorityHash },
      certificateKey,
    }),
  };
}

type Value = Record<string, unknown>;
function read(text: string): Record<string, Value> {
  // As Go's reader has it: YAML 1.1.
  const documents = parseAllDocuments(text, { version: "1.1" }) as { toJS(): Value; errors: unknown[] }[];
  return Object.fromEntries(
    documents.map((document) => {
      const value = document.toJS();
      return [String(value["kind"]), value];
    }),
  );
}

const initOf = (version: string, input: Partial<ClusterInput> = {}) =>
  read(textsFor(version, input)["init.yaml"]);
const clusterOf = (version: string) => initOf(version)["ClusterConfiguration"] ?? {};
const joinOf = (version: string, role: "worker" | "master" = "worker") =>
  read(textsFor(version)[`join-${role}.yaml`])["JoinConfiguration"] ?? {};

t.test("what each version of kubeadm is told is its golden file", (t) => {
  const made: string[] = [];
  for (const version of goldenVersions) {
    for (const [kind, etcd] of [
      ["external", externalEtcd],
      ["stacked", stackedEtcd],
    ] as const) {
      for (const [name, text] of Object.entries(textsFor(version, { etcd }))) {
        // Where etcd is says the init alone.
        if (kind === "stacked" && name !== "init.yaml") continue;
        const file = `${version}/${kind === "stacked" ? `stacked-${name}` : name}`;
        made.push(file);
        const path = join(golden, file);
        if (process.env["UPDATE_GOLDENS"] === "1") {
          mkdirSync(join(golden, version), { recursive: true });
          writeFileSync(path, text);
        }
        t.equal(
          text,
          existsSync(path) ? readFileSync(path, "utf8") : "(no golden file; npm run golden:update makes it)",
          file,
        );
      }
    }
  }
  const kept = readdirSync(golden).flatMap((version) =>
    readdirSync(join(golden, version)).map((name) => `${version}/${name}`),
  );
  t.same(kept.sort(), made.sort(), "and there is no other golden file");
  t.end();
});

t.test(
  "a cluster without DNS: by a field since v1beta4, before by a phase left out and an image not asked for",
  (t) => {
    const ignored = (version: string) => {
      const init = initOf(version, { dns: "none" })["InitConfiguration"] ?? {};
      return (init["nodeRegistration"] as Value)["ignorePreflightErrors"] as string[];
    };
    const dns = (version: string, value: "coredns" | "none") =>
      initOf(version, { dns: value })["ClusterConfiguration"]?.["dns"];
    t.same(dns("1.31.0", "none"), { disabled: true });
    t.notOk(ignored("1.31.0").includes("ImagePull"));
    t.same(initArguments(sampleCluster("1.31.0", { dns: "none" })), ["--skip-phases=kubelet-finalize"]);
    t.equal(dns("1.20.2", "none"), undefined);
    t.ok(ignored("1.20.2").includes("ImagePull"));
    t.same(initArguments(sampleCluster("1.20.2", { dns: "none" })), [
      "--skip-phases=kubelet-finalize,addon/coredns",
    ]);
    for (const version of ["1.20.2", "1.31.0"]) {
      t.equal(dns(version, "coredns"), undefined);
      t.same(initArguments(sampleCluster(version)), ["--skip-phases=kubelet-finalize"]);
    }
    t.end();
  },
);

t.test(
  "init does not ask the server's etcd for its version, which newer kubeadm would refuse in Debian 12",
  (t) => {
    const ignored = (version: string, etcd: ClusterInput["etcd"]) =>
      ((initOf(version, { etcd })["InitConfiguration"] ?? {})["nodeRegistration"] as Value)[
        "ignorePreflightErrors"
      ] as string[];
    for (const version of goldenVersions) {
      t.ok(ignored(version, externalEtcd).includes("ExternalEtcdVersion"), version);
      t.notOk(ignored(version, stackedEtcd).includes("ExternalEtcdVersion"), version);
    }
    t.end();
  },
);

t.test(
  "the controller manager is told the directory for volume plugins while kubeadm mounts one, to 1.35",
  (t) => {
    const words = (version: string) =>
      JSON.stringify((clusterOf(version)["controllerManager"] as Value)["extraArgs"]);
    for (const version of ["1.20.2", "1.31.0", "1.35.9"]) t.match(words(version), /flex-volume-plugin-dir/);
    t.notMatch(words("1.36.0"), /flex-volume-plugin-dir/);
    t.match(words("1.36.0"), /cluster-signing-duration/);
    t.end();
  },
);

t.test("the pause image is that of kubeadm of the version, from the repository of the cluster", (t) => {
  for (const [version, image] of [
    ["1.20.2", "k8s.gcr.io/pause:3.2"],
    ["1.24.17", "k8s.gcr.io/pause:3.7"],
    ["1.25.16", "registry.k8s.io/pause:3.8"],
    ["1.30.2", "registry.k8s.io/pause:3.9"],
    ["1.34.1", "registry.k8s.io/pause:3.10.1"],
    ["1.36.4", "registry.k8s.io/pause:3.10.2"],
  ] as const)
    t.equal(sampleCluster(version).pauseImage, image);
  t.equal(
    sampleCluster("1.31.0", { imageRepository: "registry.local/k8s" }).pauseImage,
    "registry.local/k8s/pause:3.10",
  );
  t.equal(
    sampleCluster("1.31.0", { pauseImage: "registry.local/pause:1" }).pauseImage,
    "registry.local/pause:1",
  );
  t.end();
});

t.test(
  "the newest configuration API that a version reads: v1beta2 to 1.21, v1beta3 to 1.30, v1beta4 since 1.31",
  (t) => {
    for (const [minor, api] of [
      [20, "v1beta2"],
      [21, "v1beta2"],
      [22, "v1beta3"],
      [30, "v1beta3"],
      [31, "v1beta4"],
      [37, "v1beta4"],
    ] as const) {
      t.equal(kubeadmApiVersion({ version: { minor, patch: 0 } }), api, `1.${minor}`);
      t.equal(joinOf(`1.${minor}.0`)["apiVersion"], `kubeadm.k8s.io/${api}`);
    }
    t.end();
  },
);

t.test("KubeletInUserNamespace is set since 1.22, where the gate exists, and always by name", (t) => {
  const gates = (version: string) =>
    (initOf(version)["KubeletConfiguration"]?.["featureGates"] ?? {}) as Record<string, boolean>;
  t.notOk("KubeletInUserNamespace" in gates("1.21.14"));
  for (const version of ["1.22.0", "1.31.0", "1.37.0"])
    t.equal(gates(version)["KubeletInUserNamespace"], true);
  t.end();
});

t.test("the isolation of local storage is off: by gate to 1.24, by field since 1.25", (t) => {
  for (const [version, gate, field] of [
    ["1.24.17", false, undefined],
    ["1.25.0", undefined, false],
    ["1.34.1", undefined, false],
  ] as const) {
    const kubelet = initOf(version)["KubeletConfiguration"] ?? {};
    t.equal((kubelet["featureGates"] as Value)["LocalStorageCapacityIsolation"], gate, version);
    t.equal(kubelet["localStorageCapacityIsolation"], field, version);
  }
  t.end();
});

t.test("rootless settings of kubelet and kube-proxy", (t) => {
  const all = initOf("1.31.0");
  t.match(all["KubeletConfiguration"], {
    cgroupDriver: "cgroupfs",
    failSwapOn: false,
    cgroupsPerQOS: true,
    enforceNodeAllocatable: ["none"],
    rotateCertificates: true,
  });
  t.match(all["KubeProxyConfiguration"], {
    mode: "iptables",
    clusterCIDR: "10.244.0.0/16",
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  });
  t.end();
});

t.test("extra arguments are a map to v1beta3 and a list in v1beta4", (t) => {
  const node = (version: string) => (joinOf(version)["nodeRegistration"] as Value)["kubeletExtraArgs"];
  t.same(node("1.30.0"), { "node-ip": "10.0.0.14" });
  t.same(node("1.31.0"), [{ name: "node-ip", value: "10.0.0.14" }]);
  const manager = (version: string) => (clusterOf(version)["controllerManager"] as Value)["extraArgs"];
  t.match(manager("1.30.0"), { "cluster-signing-duration": "24h0m0s" });
  t.match(manager("1.31.0"), [{ name: "cluster-signing-duration", value: "24h0m0s" }]);
  t.end();
});

t.test("timeouts stand where the version looks for them", (t) => {
  t.match(initOf("1.30.0")["ClusterConfiguration"], { apiServer: { timeoutForControlPlane: "10m0s" } });
  t.match(joinOf("1.30.0"), { discovery: { timeout: "10m0s" } });
  t.notOk("timeouts" in joinOf("1.30.0"));
  t.match(initOf("1.31.0")["InitConfiguration"], { timeouts: { controlPlaneComponentHealthCheck: "10m0s" } });
  t.match(joinOf("1.31.0"), { timeouts: { discovery: "10m0s", tlsBootstrap: "10m0s" } });
  t.notOk("timeout" in (joinOf("1.31.0")["discovery"] as Value));
  t.notOk("timeoutForControlPlane" in (clusterOf("1.31.0")["apiServer"] as Value));
  t.end();
});

t.test("the key algorithm is told since v1beta4; before, kubeadm makes RSA keys beside ours", (t) => {
  t.equal(initOf("1.31.0")["ClusterConfiguration"]?.["encryptionAlgorithm"], "ECDSA-P256");
  t.notOk("encryptionAlgorithm" in (initOf("1.30.0")["ClusterConfiguration"] ?? {}));
  t.end();
});

t.test(
  "the endpoint is always there, and the certificates stand where kubelets of all machines look",
  (t) => {
    for (const version of goldenVersions)
      t.match(initOf(version)["ClusterConfiguration"], {
        controlPlaneEndpoint: "api.lab:6443",
        certificatesDir: "/etc/kubernetes/pki",
      });
    t.end();
  },
);

t.test(
  "etcd outside is reached with the certificates of our layout; inside it knows that its disk is RAM",
  (t) => {
    t.same((initOf("1.31.0")["ClusterConfiguration"] ?? {})["etcd"], {
      external: {
        endpoints: ["https://10.0.0.1:2379"],
        caFile: "/etc/kubernetes/pki/etcd/ca.crt",
        certFile: "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        keyFile: "/etc/kubernetes/pki/apiserver-etcd-client.key",
      },
    });
    const stacked = initOf("1.30.0", { etcd: stackedEtcd })["ClusterConfiguration"]?.["etcd"] as Value;
    t.match(stacked, { local: { dataDir: "/var/lib/etcd", extraArgs: { "max-wals": "2" } } });
    t.notOk(JSON.stringify(stacked).includes("enable-v2"), "a flag that etcd 3.6 does not know");
    t.end();
  },
);

t.test(
  "a member of etcd joins as a learner where kubeadm has a gate for it, and by itself after that",
  (t) => {
    const gates = (version: string, etcd: ClusterInput["etcd"]) =>
      initOf(version, { etcd })["ClusterConfiguration"]?.["featureGates"];
    for (const version of ["1.20.2", "1.26.0", "1.29.0", "1.34.1"])
      t.equal(gates(version, stackedEtcd), undefined, version);
    for (const version of ["1.27.0", "1.28.5"])
      t.same(gates(version, stackedEtcd), { EtcdLearnerMode: true }, version);
    t.equal(gates("1.28.5", externalEtcd), undefined, "no member of ours joins there");
    t.end();
  },
);

t.test(
  "a token of the machine and the boot stands in every init, so that kubeadm makes none of its own",
  (t) => {
    t.match(initOf("1.31.0")["InitConfiguration"], {
      bootstrapTokens: [{ token: "abcdef.0123456789abcdef", ttl: "15m0s", description: "m/s1/b_1" }],
    });
    t.end();
  },
);

t.test("a worker joins by file, a master by token too; both name their token for the bootstrap", (t) => {
  t.match(joinOf("1.25.16"), {
    discovery: {
      file: { kubeConfigPath: "/run/rollcall/discovery.conf" },
      tlsBootstrapToken: "abcdef.0123456789abcdef",
    },
    controlPlane: undefined,
  });
  t.match(joinOf("1.25.16", "master"), {
    discovery: {
      bootstrapToken: {
        apiServerEndpoint: "api.lab:6443",
        token: "abcdef.0123456789abcdef",
        caCertHashes: [authorityHash],
      },
    },
    controlPlane: { localAPIEndpoint: { advertiseAddress: "10.0.0.11", bindPort: 6443 }, certificateKey },
  });
  t.end();
});

t.test("texts that YAML 1.1 takes for something else stay texts", (t) => {
  const cluster = sampleCluster("1.31.0");
  for (const name of ["on", "no", "y", "1e3", "0x10", "010", "12.5"]) {
    const text = joinConfiguration({
      cluster,
      machine: { ...sampleWorker, name },
      token: { id: "123456", secret: "1234567890123456" },
      role: "worker",
      discovery: { kind: "token", authorityHash },
    });
    const join = read(text)["JoinConfiguration"] ?? {};
    t.equal((join["nodeRegistration"] as Value)["name"], name);
    t.equal((join["discovery"] as Value)["tlsBootstrapToken"], "123456.1234567890123456");
  }
  t.end();
});

t.test("a cluster that can't be is refused with every reason", (t) => {
  const problemsOf = (input: Partial<ClusterInput>): string[] => {
    try {
      readCluster({ kubernetesVersion: "1.31.0", endpoint: "api.lab:6443", etcd: externalEtcd, ...input });
      return [];
    } catch (error) {
      if (!ClusterInvalid.is(error)) throw error;
      return error.details["problems"] as string[];
    }
  };
  t.same(problemsOf({}), []);
  const rows: readonly [Partial<ClusterInput>, RegExp][] = [
    [{ kubernetesVersion: "1.31" }, /no version of three numbers/],
    [{ kubernetesVersion: "v1.31.0-rc.1" }, /no version of three numbers/],
    [{ kubernetesVersion: "1.19.16" }, /oldest that works is 1\.20/],
    [{ endpoint: "127.0.0.1:6443" }, /loopback/],
    [{ endpoint: "localhost" }, /loopback/],
    [{ endpoint: "api.lab:0" }, /port/],
    [{ endpoint: "api.lab:6443:1" }, /port/],
    [{ endpoint: "API.lab" }, /no host name/],
    [{ endpoint: "10.0.0.300" }, /no host name/],
    [{ serviceSubnet: "10.96.0.1/12" }, /serviceSubnet/],
    [{ serviceSubnet: "10.96.0.0/28" }, /smallest/],
    [{ podSubnet: "10.96.0.0/16" }, /overlap/],
    [{ podSubnet: "10.244.0.0/25" }, /needs a \/24/],
    [{ name: "A b" }, /name/],
    [{ dnsDomain: "cluster..local" }, /dnsDomain/],
    [{ etcd: { kind: "external", endpoints: [] } }, /no endpoint/],
    [{ etcd: { kind: "external", endpoints: ["http://10.0.0.1:2379"] } }, /https/],
    [{ etcd: { kind: "stacked", dataDirectory: "/var/../etc" } }, /absolute path/],
    [{ certificateSans: ["a\nb"] }, /certificateSans/],
    [{ criSocket: "/run/crio/crio.sock" }, /criSocket/],
    [{ imageRepository: "registry.local/k8s\nx: y" }, /imageRepository/],
  ];
  for (const [input, problem] of rows) t.match(problemsOf(input).join("\n"), problem, JSON.stringify(input));
  t.equal(
    problemsOf({ kubernetesVersion: "x", endpoint: "", podSubnet: "y" }).length >= 3,
    true,
    "all at once",
  );
  t.end();
});

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { toCloudConfig } from "../../server/node/emit-cloud-config.ts";
import { toIgnition } from "../../server/node/emit-ignition.ts";
import { toInitrdOverlay } from "../../server/node/emit-initrd.ts";
import { toShellScript } from "../../server/node/emit-shell.ts";
import { familyTable } from "../../server/node/families.ts";
import { overlayChoice } from "../../server/node/kernel.ts";
import { machineIdFrom, type NodeFactsInput, readNodeFacts } from "../../server/node/node-facts.ts";
import type { NodeSpec } from "../../server/node/node-spec.ts";
import { nodeTree } from "../../server/node/node-tree.ts";
import { publicText, secretIn } from "../../server/node/public-text.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { runtimeSocket } from "../../server/node/runtime.ts";
import type { Signer } from "../../server/domain/signature.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { allSamples, sampleFacts, sampleImages, sampleInput, sampleSigner } from "../support/node-samples.ts";

const golden = resolve(import.meta.dirname, "golden");
const textOf = (spec: NodeSpec, path: string) =>
  nodeTree(spec).files.find((file) => file.path === path)?.text;
const worker = (changes: Partial<NodeFactsInput> = {}, family: "debian" | "alt" = "debian") =>
  rootlessNode("worker", family, sampleFacts(changes));

t.test("what each role and family is made of is its golden file", (t) => {
  const made = new Map<string, string>();
  for (const { name, spec } of allSamples()) {
    const { directories, files, links } = nodeTree(spec);
    const rows = [
      ...directories.map(({ path, owner, mode }) => `${path}/ ${mode.toString(8)} ${owner}`),
      ...files.map(
        ({ path, owner, mode, text }) => `${path} ${mode.toString(8)} ${owner} ${Buffer.byteLength(text)}`,
      ),
      ...links.map(({ path, target }) => `${path} -> ${target}`),
    ];
    made.set(`${name}.tree`, `${[spec.arguments.join(" "), ...rows.sort()].join("\n")}\n`);
    if (["debian-worker", "alt-master"].includes(name)) made.set(`${name}.sh`, toShellScript(spec));
  }
  mkdirSync(golden, { recursive: true });
  for (const [name, text] of made) {
    const path = join(golden, name);
    if (process.env["UPDATE_GOLDENS"] === "1") writeFileSync(path, text);
    t.equal(
      text,
      existsSync(path) ? readFileSync(path, "utf8") : "(no golden file; npm run golden:update makes it)",
      name,
    );
  }
  t.same(readdirSync(golden).sort(), [...made.keys()].sort(), "and there is no golden file of what is gone");
  t.end();
});

t.test("no secret is in what any emitter writes, and none gets into a spec", (t) => {
  const secrets = [
    "-----BEGIN EC PRIVATE KEY-----\nMHc=\n",
    "token: abcdef.0123456789abcdef\n",
    `certificateKey: ${"0a".repeat(32)}\n`,
    "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\n",
    "url = http://10.0.0.1/callback/claim1/joined\n",
    "url = http://10.0.0.1/boot/claims/claim1/ignition.json\n",
    `client-key-data: ${"QUJD".repeat(20)}\n`,
  ];
  for (const text of secrets) t.throws(() => publicText(text), /may not hold/, text);
  t.equal(
    publicText(`image@sha256:${"0a".repeat(32)}\n`),
    `image@sha256:${"0a".repeat(32)}\n`,
    "a digest is none",
  );
  // @ts-expect-error a file's text is no string of anybody's
  const file: NodeSpec["files"][number] = { path: "/etc/x", owner: "root", mode: 0o600, text: "x\n" };
  t.ok(file, "the compiler holds it");
  for (const { name, spec } of allSamples())
    for (const output of [
      ...(toIgnition(spec).storage?.files?.map(({ contents }) => decode(contents?.source ?? "")) ?? []),
      toCloudConfig(spec),
      Buffer.from(toInitrdOverlay(spec)).toString("latin1"),
      toShellScript(spec),
      spec.arguments.join(" "),
    ])
      t.equal(secretIn(output), undefined, name);
  t.end();
});

function decode(source: string): string {
  const [, isBase64, data = ""] = /^data:[^,]*?(;base64)?,(.*)$/s.exec(source) ?? [];
  return isBase64 === undefined ? decodeURIComponent(data) : Buffer.from(data, "base64").toString();
}

t.test("a fact of another form than its own is refused and not quoted", (t) => {
  const wrong: Record<string, readonly unknown[]> = {
    hostname: ["", "S5", "a b", "s5.lab", "-s", "s'5", "$(id)", "a".repeat(64)],
    machineId: ["", "0".repeat(32), "xyz", "0A".repeat(16), "0a".repeat(32)],
    address: ["", "10.0.0", "10.0.0.1; id", "::1"],
    kernelRelease: ["", "six", "6.1 x", "6.1-$(id)", "6"],
    kubernetesVersion: ["", "1.30", "2.0.0", "v1.30.2\n", "1.30.2;id"],
    controlPlaneEndpoint: ["api", "api:6443/x", "u:p@api:6443", "abcdef.0123456789abcdef:6443"],
    podNetwork: ["10.244.0.0", "10.244.0.1/16", "x"],
    innerNetwork: ["10.254.254.0/25", "10.254.0.0/16", "10.244.7.0/24", "10.0.0.0/24"],
    serviceNetwork: ["10.244.0.0/17", "10.0.0.0/24"],
    pauseImage: ["pause", "registry.local/pause", 'registry.local/pause:"3"', "Registry/pause:1"],
  };
  for (const [fact, values] of Object.entries(wrong))
    for (const value of values) {
      const { problems } = readNodeFacts({ ...sampleInput, [fact]: value });
      t.ok(problems.length > 0, `${fact}: ${JSON.stringify(value)}`);
      if (typeof value === "string" && value.length > 12 && !fact.endsWith("Network"))
        t.notOk(JSON.stringify(problems).includes(value), "not quoted");
    }
  const [key] = sampleSigner.keys;
  if (!key) throw new Error("no key");
  const trusting = (signer: Signer) => ({ trust: trustOf([signer], sampleImages.names, 1) });
  for (const one of [
    trusting({ ...sampleSigner, scopes: ['a"b'] }),
    // An OpenPGP secret key packet (tag 5).
    trusting({ ...sampleSigner, keys: [{ ...key, octets: Uint8Array.of(0x95, 1, 4) }] }),
    { names: { host: 'registry.local"', aliases: [] } },
    { names: { host: "registry.local", aliases: ["a b"] } },
    { unsignedImages: ["docker.io", "docker.io library"] },
    { port: 65_536 },
    { lookasidePort: -1 },
    { authorityPem: "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n" },
  ])
    t.same(readNodeFacts({ ...sampleInput, images: { ...sampleImages, ...one } }).problems.length, 1);
  t.same(readNodeFacts(sampleInput).problems, []);
  t.end();
});

t.test(
  "the overlay is the kernel's own from 6.6 on, else fuse-overlayfs for CRI-O and a file for containerd",
  (t) => {
    const choice = (major: number, minor: number, family: keyof typeof familyTable) =>
      overlayChoice({ major, minor }, familyTable[family]);
    t.equal(choice(6, 6, "debian"), "native");
    t.equal(choice(7, 0, "alt"), "native");
    t.equal(choice(6, 5, "debian"), "loop-file");
    t.equal(choice(5, 10, "alt"), "fuse-overlayfs");
    t.equal(choice(6, 1, "flatcar"), "loop-file");
    t.equal(overlayChoice({ major: 6, minor: 1 }, { runtime: "cri-o", hasFuseOverlay: false }), "loop-file");
    const old = { kernelRelease: "5.10.200-std-def-alt1" };
    t.match(
      textOf(worker(old, "alt"), "/etc/podsec/u7s/config/crio.conf"),
      /mount_program=\/usr\/bin\/fuse-overlayfs/,
    );
    t.match(textOf(worker({}, "alt"), "/etc/podsec/u7s/config/crio.conf"), /storage_option = \[\]/);
    t.match(
      textOf(worker({ kernelRelease: "6.1.0-37-amd64" }), "/usr/local/libexec/u7s/prepare.sh"),
      /mkfs\.ext4/,
    );
    t.match(
      textOf(worker(), "/usr/local/libexec/u7s/prepare.sh"),
      /= overlayfs \]; then\s+mount -t tmpfs/,
      "where the root is an overlay there can be no other on it, whatever the kernel",
    );
    t.notMatch(
      textOf(worker(old, "alt"), "/usr/libexec/podsec/u7s/bin/prepare.sh"),
      /mount/,
      "fuse-overlayfs lies on whatever there is",
    );
    t.end();
  },
);

t.test("what each role publishes, and what kubelet is told by version", (t) => {
  const environment = (role: "master" | "worker", family: "debian" | "alt", kubernetesVersion = "1.30.2") => {
    const spec = rootlessNode(role, family, sampleFacts({ kubernetesVersion }));
    return textOf(spec, `${familyTable[family].configuration}/env`) ?? "";
  };
  t.match(environment("worker", "debian"), /^U7S_PORTS="10250:10250\/tcp 10256:10256\/tcp 8472:8472\/udp"$/m);
  t.match(
    environment("master", "alt"),
    /^U7S_PORTS="2379:2379\/tcp 2380:2380\/tcp 6443:6443\/tcp 10250.*6053:53\/udp"$/m,
  );
  t.notMatch(environment("master", "alt"), /TOKEN|CERIFICATEKEY|10255/);
  t.match(environment("worker", "debian", "1.22.0"), /KubeletInUserNamespace=true/);
  t.notMatch(environment("worker", "debian", "1.20.2"), /feature-gates/);
  for (const { name, spec } of allSamples())
    t.same(
      nodeTree(spec).files.filter(
        ({ path, text }) => /\/patches\//.test(path) || /volumePluginDir/.test(text),
      ),
      [],
      `${name}: kubelet's configuration comes by kubeadm alone`,
    );
  t.equal(runtimeSocket("alt"), "unix:///run/crio/crio.sock");
  t.equal(runtimeSocket("debian"), "unix:///run/containerd/containerd.sock");
  t.end();
});

t.test("a part beside the node's own has its place, and may not take another's", (t) => {
  const unit = {
    name: "rollcall-agent.service",
    scope: "system",
    wantedBy: ["multi-user.target"],
    text: publicText("[Service]\nExecStart=/bin/true\n"),
  } as const;
  const spec = rootlessNode("worker", "debian", sampleFacts(), {
    units: [unit],
    modules: ["vxlan", "dm_crypt"],
  });
  const { links } = nodeTree(spec);
  t.ok(
    links.some(({ path }) => path === "/etc/systemd/system/multi-user.target.wants/rollcall-agent.service"),
  );
  t.match(
    textOf(spec, "/etc/rollcall/u7s/env"),
    /^U7S_SYSTEM_UNITS="u7s-prepare\.service rollcall-agent\.service"$/m,
    "started in a system that runs",
  );
  t.equal(spec.modules.filter((name) => name === "vxlan").length, 1);
  const withFile = (path: string, text = "x\n", owner: "root" | "u7s-admin" = "root") =>
    nodeTree(
      rootlessNode("worker", "debian", sampleFacts(), {
        files: [{ path, owner, mode: 0o644, text: publicText(text) }],
      }),
    );
  t.throws(() => withFile("/etc/hosts"), /\/etc\/hosts twice/);
  t.throws(() => withFile("/etc/hosts/x"), /is no directory/);
  t.throws(() => withFile("/etc/../x"), /no plain path/);
  t.throws(() => withFile("/etc/x y"), /no plain path/);
  t.throws(() => withFile("/etc/x", "no end"), /line feed/);
  t.throws(() => withFile("/var/lib/u7s-admin/new/x", "x\n", "u7s-admin"), /has no owner/);
  t.throws(() => withFile("/var/lib/u7s-admin/x"), /in a user's directory/);
  t.end();
});

t.test("names come on the kernel's command line; a machine-id has the form of a UUID of version 4", (t) => {
  t.same(worker().arguments, [`systemd.machine_id=${sampleInput.machineId}`, "systemd.hostname=s5"]);
  t.match(worker({}, "alt").arguments, [/machine_id/, /hostname/, "systemd.unified_cgroup_hierarchy=1"]);
  const id = machineIdFrom(new Uint8Array(32).fill(0xff));
  t.match(id, /^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
  t.throws(() => machineIdFrom(new Uint8Array(8)));
  t.end();
});

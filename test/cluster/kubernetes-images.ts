import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { programNames } from "../../server/image/recipe.ts";
import { sampleCluster } from "../support/cluster-samples.ts";
import { type ContainerImage, withLibraries, writeDockerArchive } from "../support/docker-archive.ts";
import { proofContainer } from "../support/proof-image.ts";

/**
 * Out of what build-kubernetes.sh made, or other programs of one version: a directory for `boot image build debian-node --programs`, with the node's programs, the container
 * images that this kubeadm looks for, one for pods of the tests, and their SHA256SUMS. No container engine is needed, and the same programs give the same octets.
 *
 *   node test/cluster/kubernetes-images.ts "$ROLLCALL_KUBERNETES" DIRECTORY
 *
 * kube-proxy's image takes iptables and conntrack of this host (Debian 12).
 */
const path = ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/** iptables goes by the name that it is called by. */
const iptablesNames = ["iptables", "ip6tables"].flatMap((name) =>
  ["", "-save", "-restore"].map((suffix) => `${name}${suffix}`),
);
const iptables = "/usr/sbin/xtables-nft-multi";
const iptablesModules = "/usr/lib/x86_64-linux-gnu/xtables";
const conntrack = "/usr/sbin/conntrack";
/** Its matches need more than it does itself: `statistic`, which shares requests out among pods, needs libm. */
function librariesOfModules(): Record<string, string> {
  const modules = readdirSync(iptablesModules).map((name) => join(iptablesModules, name));
  const found = Object.entries(withLibraries(...modules.filter((module) => module.endsWith(".so"))));
  return Object.fromEntries(found.filter(([path]) => !modules.includes(path)));
}

function imagesOf(programs: string): readonly ContainerImage[] {
  const short = ["version", "--output", "short"];
  const version = execFileSync(join(programs, "kubeadm"), short, { encoding: "utf8" }).trim();
  const { pauseImage } = sampleCluster(version);
  const repository = pauseImage.slice(0, pauseImage.indexOf("/"));
  const component = (name: string, files: Readonly<Record<string, string>> = {}): ContainerImage => ({
    name: `${repository}/${name}:${version}`,
    files: { [`/usr/local/bin/${name}`]: join(programs, name), ...files },
    entrypoint: [`/usr/local/bin/${name}`],
    environment: path,
  });
  return [
    {
      name: pauseImage,
      files: { "/pause": join(programs, "pause") },
      entrypoint: ["/pause"],
    },
    component("kube-apiserver"),
    component("kube-controller-manager"),
    component("kube-scheduler"),
    component("kube-proxy", {
      ...withLibraries(iptables, conntrack),
      ...Object.fromEntries(iptablesNames.map((name) => [`/usr/sbin/${name}`, iptables])),
      [iptablesModules]: iptablesModules,
      ...librariesOfModules(),
    }),
    proofContainer(),
  ];
}

const [programs, directory] = process.argv.slice(2);
if (programs === undefined || directory === undefined)
  throw new Error("usage: kubernetes-images.ts PROGRAMS DIRECTORY");
const missing = [iptables, conntrack].filter((program) => !existsSync(program));
if (missing.length > 0)
  throw new Error(
    `${missing.join(" and ")} not found: apt-get install --no-install-recommends iptables conntrack`,
  );
mkdirSync(directory, { recursive: true });
for (const image of imagesOf(resolve(programs))) {
  const file = `${/[^/:]+(?=:)/.exec(image.name)?.[0] ?? ""}.tar`;
  writeDockerArchive(image, join(directory, file));
}
for (const name of programNames.filter((name) => readdirSync(programs).includes(name))) {
  copyFileSync(join(programs, name), join(directory, name));
  chmodSync(join(directory, name), 0o755);
}
const lines = readdirSync(directory)
  .filter((name) => name !== "SHA256SUMS")
  .sort()
  .map(
    (name) =>
      `${createHash("sha256")
        .update(readFileSync(join(directory, name)))
        .digest("hex")}  ${name}\n`,
  );
writeFileSync(join(directory, "SHA256SUMS"), lines.join(""));
process.stdout.write(lines.join(""));

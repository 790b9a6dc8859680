import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { buildImage } from "../../server/image/build-image.ts";
import { ingredientsOf } from "../../server/image/ingredients.ts";
import { kubeletConfiguration } from "../../server/kubeadm/component-configuration.ts";
import { bootNode } from "../support/node-boot.ts";
import { sampleCluster } from "../support/cluster-samples.ts";
import { proofImage } from "../support/proof-image.ts";
import { kubernetesProgram } from "../support/kubernetes-programs.ts";
import { temporaryDirectory } from "../support/samples.ts";

const kubernetesVersion = execFileSync(kubernetesProgram("kubeadm"), ["version", "--output", "short"], {
  encoding: "utf8",
}).trim();
const cluster = sampleCluster(kubernetesVersion);
const { pauseImage } = cluster;
const proxyImage = `${pauseImage.slice(0, pauseImage.indexOf("/"))}/kube-proxy:${kubernetesVersion}`;
const runtimeEndpoint = "unix:///run/containerd/containerd.sock";

/** Pods of kubelet's own (static), so that no API server is needed. The first has a network of its own, the second the node's. */
const pods = [
  {
    metadata: { name: "web" },
    spec: {
      containers: [
        { name: "httpd", image: proofImage, command: ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"] },
      ],
    },
  },
  {
    metadata: { name: "rules", namespace: "kube-system" },
    spec: {
      hostNetwork: true,
      restartPolicy: "Never",
      containers: [
        {
          name: "iptables",
          image: proxyImage,
          command: [
            "/usr/sbin/iptables",
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-m",
            "comment",
            "--comment",
            "rules",
            "-j",
            "MASQUERADE",
          ],
          securityContext: { privileged: true },
        },
      ],
    },
  },
].map((pod) => ({ apiVersion: "v1", kind: "Pod", ...pod }));

/** Since 1.27 the runtime stands in the configuration, and whose pause it takes is the runtime's own affair. */
const hasRuntimeFlags = cluster.version.minor < 27;
const runtimeFlags = [
  "--container-runtime=remote",
  `--container-runtime-endpoint=${runtimeEndpoint}`,
  `--pod-infra-container-image=${pauseImage}`,
];
const kubelet = {
  ...kubeletConfiguration(cluster),
  ...(hasRuntimeFlags ? {} : { containerRuntimeEndpoint: runtimeEndpoint }),
  staticPodPath: "/etc/kubernetes/manifests",
  authentication: { webhook: { enabled: false } },
  authorization: { mode: "AlwaysAllow" },
};
const network = {
  cniVersion: "0.4.0",
  name: "pods",
  plugins: [
    {
      type: "bridge",
      bridge: "cni0",
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.244.1.0/24" }]], routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

const put = (path: string, value: unknown) => `put ${path} <<'TEXT'\n${JSON.stringify(value)}\nTEXT\n`;
const proof = String.raw`put() { inside tee "$1" >/dev/null; }
${put("/var/lib/kubelet/config.yaml", kubelet)}${put("/etc/cni/net.d/10-pods.conflist", network)}
${pods.map((pod) => put(`/etc/kubernetes/manifests/${pod.metadata.name}.json`, pod)).join("")}
say images "$(inside ctr -n k8s.io images list -q | grep -v sha256 | sort)"
# As kubeadm starts it, but for the API server.
put /var/lib/kubelet/kubeadm-flags.env <<'TEXT'
KUBELET_KUBEADM_ARGS="${["--bootstrap-kubeconfig=", "--kubeconfig=", ...(hasRuntimeFlags ? runtimeFlags : [])].join(" ")}"
TEXT
say kubeadm "$(inside kubeadm version -o short)"
say crictl "$(inside crictl -r ${runtimeEndpoint} inspecti ${pauseImage} && echo found)"
say kubelet "$(inside systemctl start kubelet.service 2>&1 && inside systemctl is-active kubelet.service)"
round=0
while [ "$round" -lt 90 ]; do
	address=$(inside sh -c 'ls /var/lib/cni/networks/pods 2>/dev/null' | grep '^10\.' | head -n 1)
	answer=$(inside curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "http://$address/id" || :)
	rules=$(inside iptables -t nat -S 2>/dev/null | grep -c 'comment rules')
	[ "$answer" = 200 ] && [ "$rules" -gt 0 ] && break
	round=$((round + 1))
	sleep 2
done
say uptime "$(cut -d. -f1 /proc/uptime)"
say address "$address"
say answer "$answer"
say rules "$rules"
say owner "$(stat -c %U "/proc/$(pgrep -f 'httpd -f -p 80' | tail -n 1)")"
say memory "$(free -m | awk '/^Mem:/ { print $3 "+" $5 }') MiB, $(df -m --output=used "$U7S_STATE" | tail -n 1) MiB in it"
[ "$answer" = 200 ] || user journalctl --user -u kubelet --no-pager -o cat | grep -E '^[EF]' | tail -n 25 | cut -c1-300
say end yes
`;

t.test("a real kubelet runs pods in the user namespace of a machine from the network", async (t) => {
  const directory = temporaryDirectory(t);
  const ingredients = join(directory, "kubernetes");
  const image = join(directory, "image");
  const programs = join(kubernetesProgram("kubelet"), "..");
  const maker = join(import.meta.dirname, "kubernetes-images.ts");
  execFileSync(process.execPath, [maker, programs, ingredients]);
  await buildImage({
    recipeDir: join(import.meta.dirname, "../../server/image/recipes/debian-node"),
    outputDir: image,
    ingredients: await ingredientsOf(ingredients),
  });
  const facts = { kubernetesVersion, pauseImage };
  const { said, log } = await bootNode(t, { image, memoryMiB: 3072, script: proof, facts });
  const expected = {
    started: "yes",
    images: `${proxyImage} ${pauseImage} ${proofImage}`,
    kubeadm: kubernetesVersion,
    crictl: "found",
    kubelet: "active",
    answer: "200",
    rules: "1",
    owner: "u7s-admin",
    end: "yes",
  };
  t.same(Object.fromEntries(Object.keys(expected).map((name) => [name, said.get(name)])), expected, log);
});

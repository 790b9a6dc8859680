import { hasUserNamespaceGate } from "../domain/cluster.ts";
import { formatCidr } from "../net/cidr.ts";
import { adminHome, stateDirectory } from "./accounts.ts";
import { type Family, familyTable } from "./families.ts";
import { overlayChoice } from "./kernel.ts";
import type { NodeFacts } from "./node-facts.ts";
import { adminUser, type NodePart, type NodeRole, type NodeUnit } from "./node-spec.ts";
import { publicText } from "./public-text.ts";
import { runtimeScripts } from "./runtime.ts";
import { innerKubeletScript, kubeletScript } from "./scripts/kubelet.ts";
import { activateScript, loopFileSteps, plainFileSteps, prepareScript } from "./scripts/system.ts";
import {
  childScript,
  crictlShim,
  enterScript,
  kubeadmShim,
  portsScript,
  rootlesskitScript,
  systemctlShim,
} from "./scripts/user-namespace.ts";

/** `outer:inner/protocol`: kubelet and kube-proxy's health, VXLAN; of a master etcd and the API server too. */
const portsOfRole: Readonly<Record<NodeRole, readonly string[]>> = {
  master: ["2379:2379/tcp", "2380:2380/tcp", "6443:6443/tcp"],
  worker: [],
};
const portsOfAll = ["10250:10250/tcp", "10256:10256/tcp", "8472:8472/udp"];

const systemPath = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const prepareUnit = "u7s-prepare.service";

/** Steps of root before the user's first process. */
function preparation(family: Family, facts: NodeFacts): readonly string[] {
  const row = familyTable[family];
  const storage = {
    native: plainFileSteps,
    "loop-file": loopFileSteps,
    "fuse-overlayfs": [],
  }[overlayChoice(facts.kernel, row)];
  return [...row.preparation, ...storage];
}

/** The environment of all scripts and user units, with podsec's names; what is secret there (token, certificate key) is not in it. */
function environment(role: NodeRole, family: Family, facts: NodeFacts, units: readonly string[]): string {
  const row = familyTable[family];
  const flags = [
    `--node-ip=${facts.address}`,
    `--hostname-override=${facts.hostname}`,
    ...(hasUserNamespaceGate(facts.kubernetes) ? ["--feature-gates=KubeletInUserNamespace=true"] : []),
  ];
  const values = {
    U7S_USER: adminUser,
    U7S_HOME: adminHome,
    U7S_STATE: stateDirectory,
    U7S_PROGRAMS: row.programs,
    U7S_CONFIGURATION: row.configuration,
    U7S_KUBERNETES_PROGRAMS: row.kubernetesPrograms,
    U7S_CNI_PLUGINS: row.cniPlugins,
    U7S_RUNTIME_SCRIPT: runtimeScripts(family).start.name,
    U7S_KUBEVERSION: `v${facts.kubernetes.version}`,
    U7S_KUBELET_FLAGS: flags.join(" "),
    U7S_PAUSE_IMAGE: facts.pauseImage,
    U7S_REGISTRY: "registry.local",
    U7S_CONTROLPLANE: role === "master" ? "master" : "",
    U7S_APISERVERENDPOINT: facts.controlPlaneEndpoint,
    U7S_EXTIP: facts.address,
    U7S_SERVICECIDR: formatCidr(facts.serviceNetwork),
    U7S_PODNETWORKCIDR: formatCidr(facts.podNetwork),
    U7S_CNI_PLUGIN: "flannel",
    U7S_SLIRP4NET: formatCidr(facts.inner.network),
    U7S_SLIRP4IP: facts.inner.address,
    U7S_SLIRP4ROUTER: facts.inner.router,
    U7S_PORTS: [...portsOfRole[role], ...portsOfAll, ...row.ports].join(" "),
    U7S_SYSTEM_UNITS: units.join(" "),
    _CONTAINERS_USERNS_CONFIGURED: "1",
    _CONTAINERS_ROOTLESS_UID: "771",
    PATH: [...new Set([row.kubernetesPrograms, ...systemPath])].join(":"),
  };
  // Quoted as both sh and systemd's EnvironmentFile= read it; no value has a quote, a dollar or a backslash.
  return Object.entries(values)
    .map(([name, value]) => `${name}="${value}"\n`)
    .join("");
}

function userUnits(family: Family): readonly NodeUnit[] {
  const { programs, configuration } = familyTable[family];
  const { whenUp } = runtimeScripts(family);
  const unit = (name: string, wantedBy: readonly string[], text: string): NodeUnit => ({
    name,
    scope: "user",
    wantedBy,
    text: publicText(text),
  });
  return [
    unit(
      "rootlesskit.service",
      ["default.target"],
      `[Unit]
Description=The user namespace of the Kubernetes node, with its container runtime
ConditionUser=${adminUser}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=${configuration}/env
ExecStart=${programs}/rootlesskit.sh
ExecStartPost=${programs}/rootlessctl.sh publish
${whenUp === undefined ? "" : `ExecStartPost=${programs}/nsenter_u7s ${programs}/${whenUp.name}\nTimeoutStartSec=10min\n`}\
Delegate=yes
KillMode=mixed
LimitNOFILE=65536
TasksMax=infinity
Restart=always
RestartSec=3

[Install]
WantedBy=default.target
`,
    ),
    unit(
      "kubelet.service",
      [],
      `[Unit]
Description=kubelet in the user namespace; kubeadm starts it
ConditionUser=${adminUser}
BindsTo=rootlesskit.service
After=rootlesskit.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=${configuration}/env
ExecStart=${programs}/kubelet.sh
KillMode=mixed
LimitNOFILE=65536
TasksMax=infinity
Restart=always
RestartSec=5
`,
    ),
  ];
}

/** The scripts, the environment that they share, and the units that run them. */
export function unitsPart(
  role: NodeRole,
  family: Family,
  facts: NodeFacts,
  otherUnits: readonly NodeUnit[],
): NodePart {
  const { programs, configuration } = familyTable[family];
  const file = (path: string, text: string, mode = 0o644) =>
    ({ path, owner: "root", mode, text: publicText(text) }) as const;
  const script = (name: string, text: string) => file(`${programs}/${name}`, text, 0o755);
  const steps = preparation(family, facts);
  const prepare: NodeUnit = {
    name: prepareUnit,
    scope: "system",
    wantedBy: ["multi-user.target"],
    text: publicText(`[Unit]
Description=What root does before the user of the Kubernetes node starts
After=local-fs.target systemd-modules-load.service
Before=systemd-user-sessions.service

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=${configuration}/env
ExecStart=${programs}/prepare.sh

[Install]
WantedBy=multi-user.target
`),
  };
  const systemUnits = [...(steps.length > 0 ? [prepare] : []), ...otherUnits];
  const started = systemUnits.filter(({ scope, wantedBy }) => scope === "system" && wantedBy.length > 0);
  const { start, whenUp } = runtimeScripts(family);
  return {
    files: [
      file(
        `${configuration}/env`,
        environment(
          role,
          family,
          facts,
          started.map(({ name }) => name),
        ),
      ),
      script("rootlesskit.sh", rootlesskitScript),
      script("child.sh", childScript),
      script(start.name, start.text),
      ...(whenUp === undefined ? [] : [script(whenUp.name, whenUp.text)]),
      script("nsenter_u7s", enterScript),
      script("rootlessctl.sh", portsScript),
      script("kubelet.sh", kubeletScript),
      script("_kubelet.sh", innerKubeletScript),
      script("systemctl", systemctlShim),
      script("kubeadm", kubeadmShim),
      ...(familyTable[family].runtime === "containerd" ? [script("crictl", crictlShim)] : []),
      script("activate.sh", activateScript(configuration)),
      ...(steps.length > 0
        ? [
            script("prepare.sh", prepareScript(steps)),
            file(
              "/etc/systemd/system/user@.service.d/u7s.conf",
              `[Unit]\nRequires=${prepareUnit}\nAfter=${prepareUnit}\n`,
            ),
          ]
        : []),
    ],
    units: [...userUnits(family), ...systemUnits],
  };
}

import { accounts, adminHome } from "./accounts.ts";
import { type Family, familyTable } from "./families.ts";
import { adminUser, type NodePart, type NodeUnit } from "./node-spec.ts";
import { publicText } from "./public-text.ts";
import { runtimeSocket } from "./runtime.ts";
import { agentScript } from "./scripts/agent.ts";
import { unpackScript } from "./scripts/agent-files.ts";
import { nodePortsScript } from "./scripts/agent-node-ports.ts";

/** How the agent finds its server, and knows that it is the right one. */
export interface AgentServer {
  /** `https://10.0.0.2:8443`, without a path. */
  readonly httpsUrl: string;
  /** Certificate of the authority that signs the server's for HTTPS, and the agents'. */
  readonly authorityPem: string;
}

export const agentUnit = "rollcall-agent.service";
const nodePortsUnit = "rollcall-nodeports.service";
const stateOfAgent = "/run/rollcall";

/** The settings of the agent's scripts; seconds where they are numbers. */
function settings(family: Family, httpsUrl: string, authorityFile: string): string {
  const values = {
    ROLLCALL_URL: httpsUrl,
    ROLLCALL_AUTHORITY: authorityFile,
    ROLLCALL_STATE: stateOfAgent,
    ROLLCALL_CRI_SOCKET: runtimeSocket(family),
    ROLLCALL_RETRY_FIRST: 2,
    ROLLCALL_RETRY_LAST: 30,
    ROLLCALL_REFUSED_PAUSE: 600,
    ROLLCALL_START_SECONDS: 300,
    ROLLCALL_NODE_PORTS_PAUSE: 2,
  };
  return Object.entries(values)
    .map(([name, value]) => `${name}="${value}"\n`)
    .join("");
}

function units(family: Family): readonly NodeUnit[] {
  const { programs, configuration } = familyTable[family];
  const [admin] = accounts(family).users;
  if (!admin) throw new Error("a node has no user");
  const unit = (name: string, wantedBy: readonly string[], text: string): NodeUnit => ({
    name,
    scope: "system",
    wantedBy,
    text: publicText(text),
  });
  const environment = `EnvironmentFile=${configuration}/env\nEnvironmentFile=${configuration}/agent.env`;
  return [
    unit(
      agentUnit,
      ["multi-user.target"],
      `[Unit]
Description=Brings this machine into its Kubernetes cluster, as its server says
Wants=network-online.target user@${admin.uid}.service
After=network-online.target u7s-prepare.service user@${admin.uid}.service
StartLimitIntervalSec=0

[Service]
${environment}
ExecStart=${programs}/agent.sh
StandardOutput=journal+console
StandardError=inherit
Restart=always
RestartSec=5
# The server refuses this boot: to ask again would be of no use.
RestartPreventExitStatus=77

[Install]
WantedBy=multi-user.target
`,
    ),
    unit(
      nodePortsUnit,
      [],
      `[Unit]
Description=Publishes the NodePorts of the cluster's services; ${agentUnit} starts it
StartLimitIntervalSec=0

[Service]
User=${adminUser}
${environment}
Environment=HOME=${adminHome} XDG_RUNTIME_DIR=/run/user/${admin.uid}
ExecStart=${programs}/nodeports.sh
Restart=always
RestartSec=5
`,
    ),
  ];
}

/**
 * The agent that calls back after the claim, joins the cluster and publishes NodePorts. The claim itself comes apart from it: in
 * /etc/rollcall/callback, else on the kernel's command line.
 * @throws Error for an address or a certificate of another form: the server's own, so it has no code for the user
 */
export function agentPart(family: Family, { httpsUrl, authorityPem }: AgentServer): NodePart {
  if (!/^https:\/\/[a-z0-9.-]{1,253}(?::[0-9]{1,5})?$/.test(httpsUrl))
    throw new Error(`the agent's server has no plain address: ${httpsUrl}`);
  if (
    !/^(?:-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----\n)+$/.test(
      authorityPem,
    )
  )
    throw new Error("the agent's authority is no certificate as PEM");
  const { programs, configuration } = familyTable[family];
  const file = (path: string, text: string, mode = 0o644) =>
    ({ path, owner: "root", mode, text: publicText(text) }) as const;
  const authorityFile = `${configuration}/agent-authority.pem`;
  return {
    files: [
      file(`${configuration}/agent.env`, settings(family, httpsUrl, authorityFile)),
      file(authorityFile, authorityPem),
      file(`${programs}/agent.sh`, agentScript, 0o755),
      file(`${programs}/unpack.sh`, unpackScript, 0o755),
      file(`${programs}/nodeports.sh`, nodePortsScript, 0o755),
    ],
    units: units(family),
  };
}

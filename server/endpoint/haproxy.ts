import type { Backend } from "./backend-health.ts";

/** A master, as names in configuration files and addresses go: both checked before they come here. */
export interface Master extends Backend {
  readonly name: string;
}

export interface HaproxyInput {
  /** Where it listens: the cluster's endpoint. */
  readonly bind: Backend;
  readonly masters: readonly Master[];
  /** The cluster's authority on that machine, PEM. */
  readonly authorityFile: string;
  /** That each API server's certificate has. */
  readonly serverName?: string;
}

/**
 * haproxy.cfg for whoever wants the endpoint outside of this server: TCP, and only API servers whose /readyz says 200 over TLS that is
 * checked against the cluster's authority. Sessions of one that fails are cut, as with our own. Haproxy 2.2 and later.
 */
export function renderHaproxy({
  bind,
  masters,
  authorityFile,
  serverName = "kubernetes",
}: HaproxyInput): string {
  for (const text of [bind.address, authorityFile, serverName]) checkWord(text);
  const lines = [
    "# The cluster's endpoint, made by Rollcall. The authority's certificate belongs into",
    `# ${authorityFile}`,
    "global",
    "    log stdout format raw local0",
    "    maxconn 8192",
    "",
    "defaults",
    "    mode tcp",
    "    log global",
    "    option tcplog",
    "    option dontlognull",
    "    timeout connect 5s",
    "    timeout check 3s",
    "    timeout client-fin 60s",
    "    timeout server-fin 60s",
    "    # A watch says nothing for hours, and a dead machine too: the kernel asks.",
    "    timeout client 24h",
    "    timeout server 24h",
    "    option clitcpka",
    "    option srvtcpka",
    "",
    "frontend kube-apiserver",
    `    bind ${bind.address}:${bind.port}`,
    "    default_backend kube-apiserver",
    "",
    "backend kube-apiserver",
    "    balance leastconn",
    "    option httpchk",
    "    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host " + serverName,
    "    http-check expect status 200",
    `    default-server check check-ssl verify required ca-file ${authorityFile} verifyhost ${serverName} check-sni ${serverName} inter 2s fall 2 rise 1 on-marked-down shutdown-sessions`,
    ...masters.map(({ name, address, port }) => {
      for (const text of [name, address]) checkWord(text);
      return `    server ${name} ${address}:${port}`;
    }),
    "",
  ];
  return lines.join("\n");
}

/** What stands in these files as a word of its own. @throws on anything else: it would be another line or option */
export function checkWord(text: string): void {
  if (!/^[A-Za-z0-9._:/-]{1,253}$/.test(text))
    throw new Error(`no word of a configuration: ${JSON.stringify(text)}`);
}

import type { Ipv4 } from "../net/ipv4.ts";

/** A single member talks to no peer: its peer port is any free one on loopback, where only it is let in by certificate. */
export const soleMember = { name: "rollcall", peerUrl: "https://127.0.0.1:0" } as const;

/** A cluster has some ten megabytes, octets: etcd stops writing before it fills a small disk. */
const quotaBytes = 512 * 1024 ** 2;

/** The token of a generation: members of two generations never take each other for their own. */
export const generationToken = (cluster: string, generation: number): string => `${cluster}-${generation}`;

/** How the server's own etcd is started; flags that etcd 3.4 to 3.6 have. */
export function etcdArguments({
  dataDirectory,
  address,
  port,
  token,
  memberFile,
  authorityFile,
}: {
  readonly dataDirectory: string;
  readonly address: Ipv4;
  readonly port: number;
  readonly token: string;
  /** Certificate and key in one file: the two change at one stroke. */
  readonly memberFile: string;
  readonly authorityFile: string;
}): string[] {
  const clientUrl = `https://${address}:${port}`;
  return [
    `--data-dir=${dataDirectory}`,
    `--name=${soleMember.name}`,
    `--listen-client-urls=${clientUrl}`,
    `--advertise-client-urls=${clientUrl}`,
    `--cert-file=${memberFile}`,
    `--key-file=${memberFile}`,
    "--client-cert-auth=true",
    `--trusted-ca-file=${authorityFile}`,
    `--listen-peer-urls=${soleMember.peerUrl}`,
    `--initial-advertise-peer-urls=${soleMember.peerUrl}`,
    `--peer-cert-file=${memberFile}`,
    `--peer-key-file=${memberFile}`,
    "--peer-client-cert-auth=true",
    `--peer-trusted-ca-file=${authorityFile}`,
    `--peer-cert-allowed-cn=${soleMember.name}`,
    `--initial-cluster=${soleMember.name}=${soleMember.peerUrl}`,
    `--initial-cluster-token=${token}`,
    "--initial-cluster-state=new",
    `--quota-backend-bytes=${quotaBytes}`,
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=1h",
    // A tenth of the default: a log that is short to read again, and a fraction of the memory.
    "--snapshot-count=10000",
    "--max-wals=2",
    "--logger=zap",
    "--log-outputs=stderr",
  ];
}

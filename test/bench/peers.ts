import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type BenchLab,
  roomFirst,
  roomLast,
  relayAddress,
  roomNetmask,
  roomNetwork,
  type Running,
  serverAddress,
  serverDevice,
} from "./bench-lab.ts";
import { conflicting } from "./packages.ts";

/** Kea 2.2 with its fastest lease database: in memory, with a file that is appended to and not synced. */
export async function startKea(lab: BenchLab): Promise<Running> {
  const work = lab.scratch("kea");
  const config = {
    Dhcp4: {
      "interfaces-config": { interfaces: [`${serverDevice}/${serverAddress}`], "dhcp-socket-type": "udp" },
      "lease-database": { type: "memfile", persist: true, name: join(work, "leases.csv"), "lfc-interval": 0 },
      "valid-lifetime": 3600,
      subnet4: [{ subnet: roomNetwork, pools: [{ pool: `${roomFirst} - ${roomLast}` }] }],
      loggers: [{ name: "kea-dhcp4", severity: "FATAL", output_options: [{ output: "stderr" }] }],
    },
  };
  writeFileSync(join(work, "kea.json"), JSON.stringify(config));
  return lab.serve(["kea-dhcp4", "-c", join(work, "kea.json")], {
    environment: { KEA_PIDFILE_DIR: work, KEA_LOCKFILE_DIR: work, KEA_LOGGER_DESTINATION: "stderr" },
  });
}

const dnsmasqBase = [
  "dnsmasq",
  "--no-daemon",
  "--conf-file=/dev/null",
  "--port=0",
  `--interface=${serverDevice}`,
  "--bind-interfaces",
  "--quiet-dhcp",
  "--user=root",
];

/** dnsmasq that gives addresses. No ping before an offer: relayed clients are not on its network. */
export function startDnsmasqDhcp(lab: BenchLab): Promise<Running> {
  const leases = join(lab.scratch("dnsmasq"), "leases");
  return lab.serve([
    ...dnsmasqBase,
    `--dhcp-range=${roomFirst},${roomLast},${roomNetmask},1h`,
    "--dhcp-lease-max=1000000",
    `--dhcp-leasefile=${leases}`,
    "--no-ping",
    "--dhcp-authoritative",
  ]);
}

export function startDnsmasqProxy(lab: BenchLab): Promise<Running> {
  return lab.serve([
    ...dnsmasqBase,
    `--dhcp-range=${relayAddress},proxy,${roomNetmask}`,
    "--pxe-service=x86PC,boot,undionly.kpxe",
    "--pxe-service=x86-64_EFI,boot,snponly.efi",
    `--dhcp-leasefile=${join(lab.scratch("dnsmasq"), "leases")}`,
  ]);
}

/** TFTP servers by name; each serves `root` on port 69. */
export const tftpPeers: Readonly<Record<string, (lab: BenchLab, root: string) => Promise<Running>>> = {
  dnsmasq: (lab, root) =>
    lab.serve([...dnsmasqBase, "--enable-tftp", `--tftp-root=${root}`, "--tftp-max=200"]),
  // The two packages exclude each other, so both are unpacked and not installed.
  atftpd: (lab, root) =>
    lab.serve([
      conflicting("atftpd"),
      "--daemon",
      "--no-fork",
      "--bind-address",
      serverAddress,
      "--maxthread",
      "200",
      "--user",
      "root.root",
      "--logfile",
      "/dev/null",
      "--verbose=0",
      root,
    ]),
  "tftpd-hpa": (lab, root) =>
    lab.serve([
      conflicting("in.tftpd"),
      "--foreground",
      "--address",
      `${serverAddress}:69`,
      "--secure",
      "--user",
      "root",
      root,
    ]),
};

/** One worker with sendfile, as our one process. */
export async function startNginx(lab: BenchLab, root: string): Promise<Running> {
  const work = lab.scratch("nginx");
  writeFileSync(
    join(work, "nginx.conf"),
    `daemon off; worker_processes 1; user root; pid ${work}/pid; error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path ${work}/body; proxy_temp_path ${work}/proxy; fastcgi_temp_path ${work}/fastcgi;
  uwsgi_temp_path ${work}/uwsgi; scgi_temp_path ${work}/scgi;
  server { listen ${serverAddress}:8080; root ${root}; } }
`,
  );
  return lab.serve(["nginx", "-c", join(work, "nginx.conf")]);
}

export const dockerRegistryPort = 5000;

/** As Debian configures it, with its cache in memory; without a log and without accounts. */
export async function startDockerRegistry(lab: BenchLab): Promise<Running> {
  const work = lab.scratch("docker-registry");
  writeFileSync(
    join(work, "config.yml"),
    `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { cache: { blobdescriptor: inmemory }, filesystem: { rootdirectory: ${work}/data } }
http: { addr: "${serverAddress}:${dockerRegistryPort}", secret: bench }
`,
  );
  return lab.serve(["docker-registry", "serve", join(work, "config.yml")]);
}

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Test } from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import { createEtcdCredentials } from "../../server/etcd/credentials.ts";
import { createEtcdGateway } from "../../server/etcd/gateway.ts";
import { createEtcdSupervisor, type EtcdTimings } from "../../server/etcd/supervisor.ts";
import { etcdMemberProfile } from "../../server/kubeadm/certificate-layout.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Authority } from "../../server/pki/certificates.ts";
import { issueWithKey } from "../../server/pki/master-files.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";

/** Of this process alone: etcd can't tell us which port it took, and nobody else listens on this address. */
export const labAddress =
  `127.${1 + ((process.pid >> 16) % 125)}.${(process.pid >> 8) & 255}.${process.pid & 255}` as Ipv4;
/** Those of masters, which all have the same ports. */
const masterAddress = (number: number): Ipv4 =>
  `127.${125 + number}.${(process.pid >> 8) & 255}.${process.pid & 255}` as Ipv4;
let nextPort = 2379;
export const freePort = (): number => nextPort++;
const keyAlgorithm = "ECDSA-P256";

export const labCredentials = (authority: Authority) =>
  createEtcdCredentials({ authority, keyAlgorithm, clock: systemClock });

export const labGateway = (authority: Authority, endpoint: string) =>
  createEtcdGateway({
    endpoint,
    authorityPem: authority.certificatePem,
    credentials: labCredentials(authority),
  });

/** Debian's own client. @returns what it says; it throws when that fails */
export async function etcdctl(authority: Authority, directory: string, endpoint: string) {
  const file = (name: string) => join(directory, name);
  const client = await labCredentials(authority)();
  mkdirSync(directory, { recursive: true });
  writeFileSync(file("ca.pem"), authority.certificatePem);
  writeFileSync(file("client.pem"), `${client.certificatePem}${client.privateKeyPem}`, { mode: 0o600 });
  return async (...words: string[]) => {
    const certificate = `--cert=${file("client.pem")}`;
    const trust = [`--cacert=${file("ca.pem")}`, certificate, `--key=${file("client.pem")}`];
    const { stdout } = await promisify(execFile)("etcdctl", [`--endpoints=${endpoint}`, ...trust, ...words], {
      env: { PATH: process.env["PATH"], ETCDCTL_API: "3" },
      timeout: 30_000,
    });
    return stdout.trim();
  };
}

/** How many keys a member has below `k/`. */
export async function countKeys(authority: Authority, directory: string, endpoint: string): Promise<number> {
  const ctl = await etcdctl(authority, join(directory, "count"), endpoint);
  const names = await ctl("get", "k/", "--prefix", "--keys-only");
  return names.split("\n").filter((name) => name !== "").length;
}

/** A supervisor on real etcd that ends with the test, and what it recorded. */
export function labSupervisor(
  t: Test,
  authority: Authority,
  directory: string,
  { program = "etcd", port = freePort(), timings = {} }: LabOptions = {},
) {
  const events: NewEvent[] = [];
  const waiting: { type: string; told: (event: NewEvent) => void }[] = [];
  const supervisor = createEtcdSupervisor({
    program,
    directory,
    address: labAddress,
    port,
    cluster: "lab",
    authority,
    keyAlgorithm,
    clock: systemClock,
    log: silentLog,
    record(event) {
      events.push(event);
      for (const one of waiting.filter(({ type }) => type === event.type)) one.told(event);
    },
    timings: { pauseMs: 10, ...timings },
  });
  t.teardown(() => supervisor.stop());
  /** Resolves with the next event of a type. */
  const next = (type: string) => new Promise<NewEvent>((told) => void waiting.push({ type, told }));
  return { supervisor, events, next };
}

interface LabOptions {
  readonly program?: string;
  readonly port?: number;
  readonly timings?: Partial<EtcdTimings>;
}

/** A member of etcd as a master has it, its data in a directory that can be wiped. */
export interface LabMember {
  readonly name: string;
  readonly address: Ipv4;
  readonly peerUrl: string;
  readonly endpoint: string;
  readonly dataDirectory: string;
  start(initialCluster: string, state: "new" | "existing", token?: string): void;
  /** Its whole output once it has ended by itself. */
  ended(): Promise<string>;
  /** The machine loses its power. */
  powerOff(): Promise<void>;
  wipe(): void;
}

export async function labMember(
  t: Test,
  authority: Authority,
  directory: string,
  name: string,
  { address, ports }: { address: Ipv4; ports: readonly number[] } = {
    address: labAddress,
    ports: [freePort(), freePort()],
  },
): Promise<LabMember> {
  const [endpoint, peerUrl] = ports.map((port) => `https://${address}:${port}`) as [string, string];
  const dataDirectory = join(directory, `${name}.etcd`);
  const issued = await issueWithKey(authority, etcdMemberProfile({ name, address }), {
    cluster: { keyAlgorithm },
    now: Date.now(),
    lifeMs: 3_600_000,
  });
  const [pem, trust] = [join(directory, `${name}.pem`), join(directory, "trust.pem")];
  writeFileSync(pem, `${issued.certificatePem}${issued.privateKeyPem}`, { mode: 0o600 });
  writeFileSync(trust, authority.certificatePem);
  let child: ChildProcess | undefined;
  let output = "";
  const powerOff = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  t.teardown(powerOff);
  return {
    name,
    address,
    peerUrl,
    endpoint,
    dataDirectory,
    start(initialCluster, state, token = "lab-1") {
      output = "";
      const tls = (prefix: string) => [
        `--${prefix}cert-file=${pem}`,
        `--${prefix}key-file=${pem}`,
        `--${prefix}trusted-ca-file=${trust}`,
        `--${prefix}client-cert-auth=true`,
      ];
      child = spawn(
        "etcd",
        [
          `--name=${name}`,
          `--data-dir=${dataDirectory}`,
          `--listen-client-urls=${endpoint}`,
          `--advertise-client-urls=${endpoint}`,
          `--listen-peer-urls=${peerUrl}`,
          `--initial-advertise-peer-urls=${peerUrl}`,
          `--initial-cluster=${initialCluster}`,
          `--initial-cluster-state=${state}`,
          `--initial-cluster-token=${token}`,
          ...tls(""),
          ...tls("peer-"),
          "--logger=zap",
          "--log-outputs=stderr",
        ],
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      child.stderr?.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    },
    async ended() {
      if (child && child.exitCode === null && child.signalCode === null) await once(child, "close");
      return output;
    },
    powerOff,
    wipe() {
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}

/** A member with an address of its own and the ports that kubeadm gives it. @param number from 1 on */
export const labMaster = (t: Test, authority: Authority, directory: string, number: number) =>
  labMember(t, authority, directory, `m${number}`, {
    address: masterAddress(number),
    ports: [2379, 2380],
  });

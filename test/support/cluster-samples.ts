import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Test } from "tap";
import { type ClusterInput, type ClusterMachine, readCluster } from "../../server/domain/cluster.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import type { NodeFile } from "../../server/pki/master-files.ts";
import { temporaryDirectory } from "./samples.ts";

export const sampleMaster: ClusterMachine = { name: "s1", address: "10.0.0.11" as Ipv4 };
export const sampleWorker: ClusterMachine = { name: "s4", address: "10.0.0.14" as Ipv4 };
export const externalEtcd = { kind: "external", endpoints: ["https://10.0.0.1:2379"] } as const;
export const stackedEtcd = { kind: "stacked", dataDirectory: "/var/lib/etcd" } as const;

export function sampleCluster(kubernetesVersion: string, input: Partial<ClusterInput> = {}) {
  return readCluster({ kubernetesVersion, endpoint: "api.lab:6443", etcd: externalEtcd, ...input });
}

/** Authorities of a server that starts for the first time, in a directory of the test's own. */
export async function sampleAuthorities(t: Test, keyAlgorithm: "ECDSA-P256" | "RSA-2048" = "ECDSA-P256") {
  const dataDirectory = temporaryDirectory(t);
  return openClusterAuthorities({ dataDirectory }, { now: Date.now(), keyAlgorithm });
}

/** Writes files as a machine would get them. */
export function writeNodeFiles(directory: string, files: readonly NodeFile[]): void {
  for (const { path, mode, content } of files) {
    const file = join(directory, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content, { mode });
  }
}

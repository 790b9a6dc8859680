import type { Test } from "tap";
import type { ClusterNode } from "../../server/domain/cluster-node.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { fakeApiServer } from "./fake-api-server.ts";
import { fakeCluster } from "./fake-cluster.ts";
import { loopbackOf, plain, type TestServer } from "./http-fixture.ts";

/**
 * Lets the server's cluster be up: its rows say that the machine 77 is its master, and at that machine's address stands `fakeCluster`, where
 * a master's API server would. For a server with `cluster.kubernetesVersion`.
 * @param from whose address that is: each test file has another one, since several run at a time
 */
export async function bringUpCluster(t: Test, server: TestServer, from = 77) {
  const now = Date.now();
  const authorities = await openClusterAuthorities(
    { dataDirectory: server.dataDir, passphrase: undefined },
    { now, keyAlgorithm: "ECDSA-P256" },
  );
  const cluster = fakeCluster();
  const address = loopbackOf(from);
  const { asked } = await fakeApiServer(t, authorities, cluster.answer, {
    at: { host: address, port: 6443 },
  });
  const { json } = await server.add(77, "m77");
  const machineId = plain(json["id"]);
  const kernelBootId = "00000077-0000-4000-8000-000000000000";
  for (const name of ["kube-system", "kube-public"]) cluster.put("Namespace", "namespaces", { name });
  cluster.put(
    "Node",
    "nodes",
    { name: "m77" },
    {
      status: {
        conditions: [{ type: "Ready", status: "True" }],
        nodeInfo: { bootID: kernelBootId, kubeletVersion: "v1.31.0" },
      },
    },
  );
  const node: ClusterNode = {
    machineId,
    name: "m77",
    role: "master",
    bootId: "b_77",
    claimHash: "none",
    agentKey: "none",
    certificate: "",
    armingCode: "",
    address,
    report: {
      kernelBootId,
      uuid: undefined,
      memoryKiB: 4_000_000,
      processors: 2,
      kernel: "6.1.0",
      controllers: ["cpu", "memory", "pids"],
      subordinateIds: 65_536,
      runtime: "containerd",
    },
    state: "ready",
    since: now,
    deadline: undefined,
    generation: 1,
    sequence: 1,
    doneSequence: 1,
    tokenId: undefined,
    approvedRequest: undefined,
    tries: 0,
    retryAt: 0,
    problem: undefined,
  };
  await server.store.cluster.updateNode(machineId, () => node, "test", now);
  await server.store.cluster.update(
    (record) => ({ ...record, generation: 1, state: "up", initializedAt: now, changedAt: now }),
    "test",
  );
  return { cluster, asked };
}

import { defineError } from "./errors.ts";

// --- the cluster --------------------------------------------------------------------------------------------------
export const NoClusterNode = defineError("NO_CLUSTER_NODE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) => `${d.machine} has no role that joins a cluster`,
  advice: "Assign it `worker` or `master`, or a role with `node:`, and power-cycle it.",
});
export const NodeNameHeld = defineError("NODE_NAME_HELD", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) => `another machine is in the cluster under the name ${d.machine}`,
  advice:
    "Two machines may not be one Node. Reset the one that had the name before (`boot cluster reset`), or give one of them another (`boot machine edit`).",
});
export const NoCluster = defineError("NO_CLUSTER", {
  kind: "user",
  httpStatus: 404,
  message: () => "this server keeps no cluster",
  advice:
    "Set `cluster.kubernetesVersion` in the config and start the server again; docs/cluster.md tells what for.",
});
export const ClusterNotUp = defineError("CLUSTER_NOT_UP", {
  kind: "user",
  httpStatus: 409,
  message: (d: { state: string }) =>
    d.state === "empty"
      ? "there is no cluster yet: no master has booted"
      : `the cluster is ${d.state}: no master answers`,
  advice: "Assign a machine the role of a master and boot it; `boot cluster show` tells how far it is.",
});
export const NodeNotFound = defineError("NODE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { machine: string; advice?: string }) =>
    `${d.machine} has not called back to join the cluster`,
  advice: "`boot cluster show` lists the machines that have; one that boots comes by itself.",
});
export const ArmingCodeWrong = defineError("ARMING_CODE_WRONG", {
  kind: "user",
  httpStatus: 403,
  message: (d: { machine: string }) => `that is not the code on the screen of ${d.machine}`,
  advice: "Read the six digits off the machine's own screen: each boot has its own.",
});
export const LastMaster = defineError("LAST_MASTER", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) =>
    `${d.machine} is the last master that answers: without it the cluster is down`,
  advice: "Boot another master first, or say --destroy-cluster if that is what you want.",
});
export const ClusterNameNotConfirmed = defineError("CLUSTER_NAME_NOT_CONFIRMED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { name: string }) =>
    `taking the cluster ${d.name} back to nothing destroys all that runs in it`,
  advice: "`boot cluster reset --destroy-cluster NAME`, with the cluster's name, says that you mean it.",
});
export const AgentNotKnown = defineError("AGENT_NOT_KNOWN", {
  kind: "user",
  httpStatus: 401,
  message: () => "this address needs the client certificate of a machine's agent",
  advice: "An agent gets one by its claim: POST /callback/<claim>/join.",
});
export const ClusterForeign = defineError("CLUSTER_FOREIGN", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { differences: readonly string[] }) =>
    `etcd has another cluster than the config says: ${d.differences.join("; ")}`,
  advice:
    "Name and networks of a cluster are made with it. Set them back, or begin anew: boot cluster reset --destroy-cluster NAME.",
});
export const NodeNotResettable = defineError("NODE_NOT_RESETTABLE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string; state: string }) =>
    `${d.machine} is ${d.state}: there is nothing to take out of the cluster`,
  advice:
    "Power-cycle it: it boots and calls back by itself. `boot cluster show` tells each machine's state.",
});

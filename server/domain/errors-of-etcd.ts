import { defineError } from "./errors.ts";

/** What goes wrong with the cluster's etcd: the one that this server runs, and the members on masters. */

export const EtcdNotFound = defineError("ETCD_NOT_FOUND", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { program: string }) => `there is no program ${d.program} that this server may run`,
  advice:
    "Install it: `apt install etcd-server etcd-client` on Debian and Ubuntu (and `systemctl disable --now etcd`, since this server runs its own), or say where it is with the config key cluster.etcdProgram.",
});
export const EtcdFailed = defineError("ETCD_FAILED", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { reason: string }) => `etcd does not run: ${d.reason}`,
  advice:
    "The reason is etcd's own last word; its other lines are in the log at level debug. `address already in use` is often Debian's etcd service: `systemctl disable --now etcd`. For a full disk make room (`df -h`).",
});
export const EtcdDirectoryHeld = defineError("ETCD_DIRECTORY_HELD", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { directory: string; pid: number }) =>
    `process ${d.pid} holds etcd's data in ${d.directory}, and it does not end`,
  advice: "Look at it with `ps -fp PID`, and end it: two etcds on the same data would destroy them.",
});
export const EtcdUnreachable = defineError("ETCD_UNREACHABLE", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { endpoint: string; reason: string }) => `no etcd answers at ${d.endpoint} (${d.reason})`,
  advice: "It may be starting: ask again in a moment. Then look whether its machine is up (`boot status`).",
});
export const EtcdRefused = defineError("ETCD_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { endpoint: string; call: string; reason: string; grpcCode: number }) =>
    `etcd at ${d.endpoint} refused ${d.call}: ${d.reason}`,
  advice: "The reason is etcd's own; nothing was changed.",
});
export const EtcdSnapshotBroken = defineError("ETCD_SNAPSHOT_BROKEN", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { file: string; problem: string }) => `the snapshot ${d.file} can't be used: ${d.problem}`,
  advice: "Take another one, or restore from an older one.",
});
export const EtcdSnapshotMissing = defineError("ETCD_SNAPSHOT_MISSING", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { directory: string }) => `there is no whole snapshot of etcd in ${d.directory}`,
  advice:
    "Put one there from a backup (`etcdctl snapshot save`), named like `etcd-00000001-20261121T155249.123Z-g1.db` (the largest first number is restored), and let the master try again: `boot cluster retry NAME`. Without one, make a new cluster: `boot cluster reset --destroy-cluster NAME`.",
});
export const EtcdRestoreFailed = defineError("ETCD_RESTORE_FAILED", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { snapshot: string; reason: string }) =>
    `the snapshot ${d.snapshot} could not be restored: ${d.reason}`,
  advice:
    "`etcdctl` (package etcd-client) or, since etcd 3.5, `etcdutl` does it: one of them has to be there, in the version of the etcd that runs.",
});
export const EtcdGenerationRefused = defineError("ETCD_GENERATION_REFUSED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { asked: number; current: number }) =>
    `generation ${d.asked} of the cluster can't follow generation ${d.current}`,
  advice: "Generations only count up: a node of an older one must never meet the data of a newer one.",
});

// --- members on masters: what is not done, and why ----------------------------------------------------------------
export const EtcdChangeUnderWay = defineError("ETCD_CHANGE_UNDER_WAY", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { what: string }) => `another change of etcd's members is under way: ${d.what}`,
  advice:
    "Members change one at a time. It goes on when that one has started; a machine that will not come is removed with its member first.",
});
export const EtcdMemberAlive = defineError("ETCD_MEMBER_ALIVE", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { member: string }) => `the member ${d.member} answers and is healthy: it has its data`,
  advice:
    "A machine that runs does not ask to join. If two machines have this name or address, give one of them another.",
});
export const EtcdQuorumLost = defineError("ETCD_QUORUM_LOST", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { healthy: number; voters: number; quorum: number }) =>
    `${d.healthy} of ${d.voters} voting members of etcd are healthy, and it takes ${d.quorum} to change anything`,
  advice:
    "If machines with their data in RAM still run, switch no other one off. Members that are only switched off may come back; if they lost their data, restore: from a snapshot of a member that is left, or else from the newest one here.",
});
export const EtcdQuorumAtRisk = defineError("ETCD_QUORUM_AT_RISK", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { member: string; healthy: number; quorum: number }) =>
    `without the member ${d.member} etcd would have ${d.healthy} healthy voting members, and it would take ${d.quorum}`,
  advice: "Bring another member back first.",
});
export const EtcdHasQuorum = defineError("ETCD_HAS_QUORUM", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { endpoints: readonly string[] }) =>
    `etcd at ${d.endpoints.join(", ")} has a quorum: no snapshot is restored beside it`,
  advice:
    "The cluster lives, but no API server answers this server. Look at its masters (`boot cluster show`, port 6443); this one joins as soon as one answers.",
});
export const EtcdClustersDiffer = defineError("ETCD_CLUSTERS_DIFFER", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { endpoints: readonly string[] }) =>
    `the members at ${d.endpoints.join(", ")} belong to different clusters`,
  advice:
    "One of these masters made a cluster of its own. Find the one with the wrong data and let it boot anew (`boot cluster reset`).",
});
export const EtcdNotInSync = defineError("ETCD_NOT_IN_SYNC", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { member: string; reason: string }) =>
    `the new member ${d.member} did not catch up in time: ${d.reason}`,
  advice: "It stays a learner, which votes in nothing and endangers nothing; the promotion is tried again.",
});
export const EtcdDataMissing = defineError("ETCD_DATA_MISSING", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { generation: number; found: number | undefined }) =>
    `the cluster is of generation ${d.generation}, and etcd's data here are ${d.found === undefined ? "none" : `of generation ${d.found}`}`,
  advice:
    "Is the disk mounted, and the data directory all of one backup? Bring `etcd/` of that generation back. To begin anew with nothing: `boot cluster reset --destroy-cluster NAME`.",
});

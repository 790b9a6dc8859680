import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { DurationMs } from "../domain/capabilities.ts";
import { EtcdRestoreFailed, EtcdSnapshotBroken } from "../domain/error-catalogue.ts";
import { findProgram } from "../platform/find-program.ts";
import { bareEnvironment } from "./etcd-process.ts";
import type { EtcdPeer } from "./membership.ts";
import { snapshotProblem } from "./snapshot-file.ts";

const run = promisify(execFile);
const restoreLimitMs: DurationMs = 5 * 60_000;
/**
 * Revisions that a restored cluster jumps ahead: who watches it, and has seen what came after the snapshot, must not meet the same numbers
 * again with other contents (etcd-io/etcd issue 16028).
 */
const revisionsAhead = 1_000_000_000;

/**
 * Makes the data of the first member of a new cluster from a snapshot; the others are added to it as if they were new.
 * @param into a directory that does not exist yet; when it fails there is none again
 * @param token names the generation of the cluster, so that members of the old one are strangers to it
 * @param program where etcd is: its tools lie beside it, or on the PATH
 * @throws EtcdSnapshotBroken, EtcdRestoreFailed
 */
export async function restoreSnapshot({
  snapshot,
  into,
  member: { name, peerUrl },
  token,
  program,
}: {
  readonly snapshot: string;
  readonly into: string;
  readonly member: EtcdPeer;
  readonly token: string;
  readonly program: string;
}): Promise<void> {
  const problem = await snapshotProblem(snapshot);
  if (problem !== undefined) throw EtcdSnapshotBroken({ file: snapshot, problem });
  const beside = (tool: string) =>
    findProgram(program.includes("/") ? join(dirname(program), tool) : tool) ?? findProgram(tool);
  // etcdctl no longer restores in 3.6; etcdutl is there since 3.5.
  const tool = beside("etcdutl") ?? beside("etcdctl");
  if (tool === undefined)
    throw EtcdRestoreFailed({ snapshot, reason: "there is neither etcdutl nor etcdctl" });
  const options = { env: { ...bareEnvironment(), ETCDCTL_API: "3" }, timeout: restoreLimitMs };
  try {
    const { stdout: help } = await run(tool, ["snapshot", "restore", "--help"], options);
    await run(
      tool,
      [
        "snapshot",
        "restore",
        snapshot,
        `--data-dir=${into}`,
        `--name=${name}`,
        `--initial-cluster=${name}=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster-token=${token}`,
        ...(help.includes("--bump-revision")
          ? [`--bump-revision=${revisionsAhead}`, "--mark-compacted"]
          : []),
      ],
      options,
    );
  } catch (error) {
    await rm(into, { recursive: true, force: true });
    const { stderr, message } = error as Error & { stderr?: string };
    const said = (stderr ?? "").trim().split("\n").at(-1) || message;
    throw EtcdRestoreFailed({ snapshot, reason: said.slice(0, 300) });
  }
}

import { type TftpProcess, tftpProcessWords } from "../../support/tftp-server-process.ts";
import { type BenchLab, type Running, serverAddress, serverDevice } from "../bench-lab.ts";

/**
 * Our TFTP server alone, as a process that serves a directory: the first stages of a whole server are a few hundred
 * kilobytes, too short to measure.
 */
export function startTftpRollcall(
  lab: BenchLab,
  root: string,
  profile: string | undefined,
  settings: Partial<TftpProcess> = {},
): Promise<Running> {
  const profiling = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
  // All clients of the benchmark have one address; in a building each has its own.
  const limits = { transfersPerClient: 64 };
  const what = { root, device: serverDevice, address: serverAddress, limits, ...settings };
  return lab.serve([process.execPath, ...profiling, ...tftpProcessWords(what)], { ready: /listening/ });
}

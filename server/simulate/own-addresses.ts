import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Cidr, formatCidr } from "../net/cidr.ts";
import { SimulationInvalid } from "./plan.ts";

const run = promisify(execFile);

/**
 * Makes every address of a network local to this host, so that each machine can speak from the one it was given. One route
 * does it, however many machines there are (Linux "AnyIP"). Loopback's own network is local already.
 *
 * @returns takes the route away again
 * @throws SimulationInvalid when this host does not allow it
 */
export async function makeLocal(network: Cidr): Promise<() => Promise<void>> {
  if (network.network.startsWith("127.")) return async () => {};
  const route = ["local", formatCidr(network), "dev", "lo"];
  try {
    await run("ip", ["route", "add", ...route]);
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    // Somebody made it local before: it is theirs, and stays.
    if (stderr.includes("File exists")) return async () => {};
    throw new SimulationInvalid(
      `--network ${formatCidr(network)} could not be made local to this host, which takes root and iproute2: ${(stderr || message).trim()}`,
    );
  }
  return async () => {
    await run("ip", ["route", "del", ...route]).catch(() => undefined);
  };
}

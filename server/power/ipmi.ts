import type { Clock } from "../domain/capabilities.ts";
import { BmcRefused, BmcUnreachable } from "../domain/error-catalogue.ts";
import type { PowerAction, PowerState } from "../domain/power.ts";
import type { Bmc, BmcTarget } from "./bmc.ts";
import { TimeIsUp, within } from "./pause.ts";
import { lastWord, type ProgramEnd, runProgram } from "./run-program.ts";

export interface IpmiDeps {
  readonly clock: Clock;
  readonly privateDirectory: string;
  readonly limitMs?: number;
  /** More for ipmitool, for a peer that does not negotiate its ciphers. */
  readonly options?: readonly string[];
}

/** Old boards take seconds to open a session. */
const usualLimitMs = 20_000;
const usualPort = 623;
const noSession =
  /Unable to establish|Get Auth Capabilities|Unable to send|Could not open socket|Address lookup/i;
const badLogin = /RAKP|unauthorized|Unauthorized|HMAC|privilege|password|insufficient/;

/** Boards that speak IPMI 2.0 over LAN (RMCP+), by Debian's ipmitool. */
export function createIpmi({ clock, privateDirectory, limitMs = usualLimitMs, options = [] }: IpmiDeps): Bmc {
  /** @throws BmcUnreachable, BmcRefused, PowerProgramMissing */
  async function chassis(target: BmcTarget, order: string, signal: AbortSignal): Promise<string> {
    const { machine, address } = target;
    let end: ProgramEnd;
    try {
      end = await within(clock, limitMs, signal, (signal) =>
        runProgram({
          program: "ipmitool",
          package: "ipmitool",
          // Operator is enough to switch (IPMI 2.0 appendix G), and all that some users have.
          words: (fileOf) => [
            "-I",
            "lanplus",
            "-H",
            address,
            "-p",
            String(target.port ?? usualPort),
            "-U",
            target.user ?? "",
            "-f",
            fileOf("password"),
            "-L",
            "OPERATOR",
            "-N",
            "2",
            "-R",
            "2",
            ...options,
            "chassis",
            "power",
            order,
          ],
          privateFiles: { password: `${target.password}\n` },
          privateDirectory,
          signal,
        }),
      );
    } catch (error) {
      if (error instanceof TimeIsUp)
        throw BmcUnreachable({ machine, method: "IPMI", address, reason: error.message });
      throw error;
    }
    if (end.code === 0) return end.stdout;
    const place = { machine, method: "IPMI", address };
    const reason = lastWord(end.stderr, `ipmitool ended with ${end.code ?? "a signal"}`);
    if (badLogin.test(end.stderr)) throw BmcRefused({ ...place, reason });
    if (noSession.test(end.stderr)) throw BmcUnreachable({ ...place, reason });
    throw BmcRefused({ ...place, reason });
  }

  async function status(target: BmcTarget, signal: AbortSignal): Promise<PowerState> {
    const told = await chassis(target, "status", signal);
    if (/Chassis Power is on/i.test(told)) return "on";
    return /Chassis Power is off/i.test(told) ? "off" : "unknown";
  }

  return {
    status,
    async act(target: BmcTarget, action: PowerAction, signal: AbortSignal): Promise<PowerState> {
      if (action !== "cycle") {
        await chassis(target, action, signal);
        return action;
      }
      // A machine that is off can't be cycled (IPMI 2.0 s.28.3).
      const order = (await status(target, signal)) === "off" ? "on" : "cycle";
      await chassis(target, order, signal);
      return "on";
    },
  };
}

import type { Ids, Log } from "../domain/capabilities.ts";
import { InternalError } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { type Mac, macWithHyphens } from "../net/mac.ts";
import { spread } from "../render/retry-plan.ts";
import type { LoaderLanguage } from "./loader-language.ts";

/** Machines that are remembered; a flood of MACs does not grow it. */
const capacity = 5000;
/** A machine whose script could not be made asks again after about this long. */
const errorRetrySeconds = 12;

export interface FaultScriptDeps {
  readonly ids: Ids;
  readonly log: Pick<Log, "error">;
  readonly record: RecordEvent;
}

/** Scripts in the place of those that could not be made: they tell the fault on the machine's screen and come back. */
export function createFaultScripts({ ids, log, record }: FaultScriptDeps) {
  /** A script that fails is asked for again every few seconds: the machine's last failure is not told anew. */
  const last = new Map<Mac, string>();
  return {
    make(
      error: unknown,
      mac: Mac | undefined,
      serverUrl: string,
      language: Pick<LoaderLanguage, "fault">,
    ): { readonly script: string; readonly error: RollcallError } {
      const reference = ids.id("e");
      const known = error instanceof RollcallError ? error : InternalError({ reference });
      if (known !== error) log.error({ err: error, reference }, "failed to make a script");
      const seed = mac ?? "unknown";
      const script = language.fault({
        code: known.code,
        message: known.message,
        advice: known.advice.replaceAll("`", "'"),
        mac: seed,
        retrySeconds: spread(errorRetrySeconds, seed),
        serverUrl,
        scriptUrl: mac ? `${serverUrl}/boot/${macWithHyphens(mac)}/boot.ipxe` : `${serverUrl}/boot.ipxe`,
      });
      return { script, error: known };
    },

    /** Tells people of a failure that is another one than the machine's last. */
    tell(
      error: RollcallError,
      at: { mac: Mac; address: Ipv4; machine: Machine | undefined; bootId: string | undefined },
    ): void {
      const { mac, address, machine, bootId } = at;
      const failure = `${bootId} ${address} ${error.code} ${error.message}`;
      if (last.get(mac) === failure) return;
      if (last.size >= capacity) last.clear();
      last.set(mac, failure);
      record({
        type: "script.failed",
        level: "warning",
        machineId: machine?.id,
        bootId,
        message: `${machine?.name ?? mac}: ${error.message}`,
        data: { code: error.code, address },
      });
    },
    forget: (mac: Mac): void => void last.delete(mac),
  };
}

import { pino } from "pino";
import type { Log } from "../domain/capabilities.ts";

/** One JSON line per entry on standard error: standard output belongs to what the user asked for. */
export function createLogger(level: string): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ["token", "claim", "secret", "password", "*.token", "*.claim", "*.secret", "*.password"],
    },
    pino.destination({ dest: 2, sync: true }),
  ) as unknown as Log;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

import { pino } from "pino";
import type { Log } from "../domain/capabilities.ts";
import { createLineWriter } from "./line-writer.ts";

/** In the shape of pino's own lines, level 40 being its warning. */
const lostLines = (dropped: number) =>
  `${JSON.stringify({ level: 40, time: new Date().toISOString(), dropped, msg: "log lines could not be written and are lost" })}\n`;

/** One JSON line per entry on standard error: standard output belongs to what the user asked for. */
export function createLogger(level: string): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ["token", "claim", "secret", "password", "*.token", "*.claim", "*.secret", "*.password"],
    },
    createLineWriter(2, lostLines),
  ) as unknown as Log;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

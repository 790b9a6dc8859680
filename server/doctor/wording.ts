import type { BootStep } from "../domain/boot.ts";
import type { DurationMs } from "../domain/capabilities.ts";
import type { Event } from "../domain/event.ts";
import type { SeenPacket, SeenRequest } from "../domain/sighting.ts";
import type { Seen } from "./diagnosis.ts";

/** `12 s`, `5 min`, `3 h`, `2 days` */
export function span(ms: DurationMs): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

export const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}

export function seenPacket(packet: SeenPacket): Seen {
  const { at, lastAt, times, speaker, message, port, secs, reply, silence, foreignServer, bootfile } = packet;
  const answer =
    reply === undefined
      ? foreignServer === undefined
        ? `not answered: ${silence ?? "no reason is known"}`
        : `it chose the server ${foreignServer}`
      : `answered by ${reply}${bootfile === undefined ? "" : ` with ${bootfile}`}`;
  const repeated = times > 1 ? `, ${times} times within ${span(lastAt - at)}` : "";
  return { at, what: `${message} of its ${speaker} on port ${port} (secs ${secs})${repeated}: ${answer}` };
}

export function seenStep({ at, step, detail }: BootStep): Seen {
  const details = Object.entries(detail).map(([key, value]) => `${key} ${value}`);
  return { at, what: `step ${step}${details.length === 0 ? "" : ` (${details.join(", ")})`}` };
}

export function seenEvent({ at, message }: Event): Seen {
  return { at, what: message };
}

export function seenRequest({ at, method, path, status, code }: SeenRequest): Seen {
  return { at, what: `${method} ${path}: ${status} ${code}` };
}

/** The lines of a log that the sign was found in: what is said of the cause. */
export function seenLine(at: number, text: string, sign: RegExp): Seen {
  const line = text.split("\n").findLast((one) => sign.test(one)) ?? "";
  return {
    at,
    what: `its log: ${line
      .replaceAll(/[^\x20-\x7e]+/g, " ")
      .trim()
      .slice(0, 240)}`,
  };
}

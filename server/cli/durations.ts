import { InvalidArgumentError } from "commander";

const unitsMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90m`, `2h`, `3d` in ms. @throws InvalidArgumentError */
export function durationMs(text: string): number {
  const [, count, unit = ""] = /^([0-9]{1,6})([smhd])$/.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError("write it like 90m, 2h or 3d");
  return Number(count) * (unitsMs[unit] ?? 0);
}

/** Times, durations and sizes as people read them in a language; pure. */

/** Of today: the time alone. @param iso ISO 8601 */
export function timeText(iso: string, now: number, language: string, timeZone?: string): string {
  const at = new Date(iso);
  const zone = timeZone === undefined ? {} : { timeZone };
  const day = new Intl.DateTimeFormat(language, { dateStyle: "short", ...zone });
  const isToday = day.format(at) === day.format(new Date(now));
  return new Intl.DateTimeFormat(language, {
    ...(isToday ? {} : { dateStyle: "medium" as const }),
    timeStyle: "medium",
    ...zone,
  }).format(at);
}

const spans = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
] as const;

/** `2 minutes ago`, `now`. @param ms how long ago; negative: how long until then */
export function agoText(ms: number, language: string): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const [unit, length] = spans.find(([, span]) => Math.abs(ms) >= span) ?? spans[3];
  return format.format(-Math.trunc(ms / length), unit);
}

/** `320 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min` */
export function durationText(ms: number, language: string): string {
  if (ms < 1000) return unitText(Math.round(ms), "millisecond", language);
  if (ms < 59_950) return unitText(Math.round(ms / 100) / 10, "second", language);
  const seconds = Math.round(ms / 1000);
  const [unit, part, inUnit, inPart] =
    seconds < 3600 ? (["minute", "second", 60, 1] as const) : (["hour", "minute", 3600, 60] as const);
  const rest = Math.floor((seconds % inUnit) / inPart);
  const whole = unitText(Math.floor(seconds / inUnit), unit, language);
  return rest === 0 ? whole : `${whole} ${unitText(rest, part, language)}`;
}

const sizes = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** `17 MB`, by thousands */
export function bytesText(bytes: number, language: string): string {
  const power = Math.min(Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)), sizes.length - 1);
  const value = bytes / 1000 ** power;
  return unitText(
    value < 10 && power > 0 ? Math.round(value * 10) / 10 : Math.round(value),
    sizes[power] ?? "byte",
    language,
  );
}

export function percentText(fraction: number, language: string): string {
  return new Intl.NumberFormat(language, { style: "percent" }).format(fraction);
}

function unitText(value: number, unit: string, language: string): string {
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(value);
}

/** Numbers within names are compared as numbers: s2 before s10. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;

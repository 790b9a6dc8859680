import { now } from "../live.ts";
import { locale } from "../words.ts";
import { agoText, bytesText, durationText, percentText, timeText } from "./format.ts";

/** Times and sizes in the language of the reader; null is a dash. */

export const time = (iso: string | null) => (iso === null ? "–" : timeText(iso, now.peek(), locale.value));
/** A component that says this is drawn anew every second. */
export const ago = (iso: string | null) =>
  iso === null ? "–" : agoText(Math.max(0, now.value - Date.parse(iso)), locale.value);
export const duration = (ms: number) => durationText(ms, locale.value);
export const bytes = (count: number) => bytesText(count, locale.value);
export const percent = (fraction: number) => percentText(fraction, locale.value);

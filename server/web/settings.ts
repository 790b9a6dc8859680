import { signal } from "@preact/signals";
import { type Language, languages, speak } from "./words.ts";

/** What a reader chose for this browser. */

export const themes = ["system", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

export const theme = signal<Theme>("system");

export function chooseTheme(next: Theme): void {
  theme.value = next;
  document.documentElement.dataset["theme"] = next;
  keep("theme", next);
}

export async function chooseLanguage(next: Language): Promise<void> {
  await speak(next);
  keep("language", next);
}

/** As it was chosen the last time; the language otherwise by the browser's own. */
export async function restoreSettings(): Promise<void> {
  chooseTheme(themes.find((one) => one === kept("theme")) ?? "system");
  const wanted = [kept("language"), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  const found = wanted.map((tag) => (isLanguage(tag) ? tag : undefined)).find((tag) => tag !== undefined);
  // Where the texts of a language can't be had, English is better than nothing.
  await speak(found ?? "en").catch(() => speak("en"));
}

const isLanguage = (tag: string | null): tag is Language => tag !== null && Object.hasOwn(languages, tag);

/** A browser may refuse to keep anything. */
function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`rollcall.${name}`, value);
  } catch {
    // It is chosen for this page alone then.
  }
}
function kept(name: string): string | null {
  try {
    return localStorage.getItem(`rollcall.${name}`);
  } catch {
    return null;
  }
}

import { computed, signal } from "@preact/signals";
import { en } from "./words/en.ts";
import { fill, type PlacesOf, type Translation } from "./words/phrase.ts";

export type Words = Translation<typeof en>;
export type WordKey = keyof typeof en;

/** Languages by their own names, as the menu shows them. */
export const languages = { en: "English", pl: "Polski", ru: "Русский" } as const;
export type Language = keyof typeof languages;

export const language = signal<Language>("en");
/** For times and numbers: the language as the reader's country writes it, where the browser knows which one. */
export const locale = computed(() => {
  const own = navigator.languages.find((tag) => tag.split("-")[0] === language.value && tag.includes("-"));
  return own ?? (language.value === "en" ? "en-GB" : language.value);
});
const words = signal<Words>(en);

const loaders: Readonly<Record<Language, () => Promise<Words>>> = {
  en: () => Promise.resolve(en),
  pl: async () => (await import("./words/pl.ts")).pl,
  ru: async () => (await import("./words/ru.ts")).ru,
};

/** All texts change at once, when those of the language are there. */
export async function speak(next: Language): Promise<void> {
  words.value = await loaders[next]();
  language.value = next;
  document.documentElement.lang = next;
}

/**
 * The text in the language of the reader: `say("room.selected", { count: 3 })`. What a component says with it follows the language.
 * Names of machines and the like go through `ForeignText` instead of a place where they may be hostile.
 */
export function say<Key extends WordKey>(
  key: Key,
  ...[places]: keyof PlacesOf<(typeof en)[Key]> extends never ? [] : [PlacesOf<(typeof en)[Key]>]
): string {
  return fill(words.value[key], places ?? {}, language.value);
}

/** For keys that are put together: say(keyOf("phase", machine.phase)). */
export function keyOf<Prefix extends string, Name extends string>(
  prefix: Prefix,
  name: Name,
): `${Prefix}.${Name}` {
  return `${prefix}.${name}`;
}

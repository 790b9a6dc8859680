/** Texts with places `{name}` in them, and their plural forms; pure. */

/** By the categories of Intl.PluralRules; `count` decides. A language has those that it needs, and `other`. */
export type PluralForms = { readonly other: string } & {
  readonly [category in Exclude<Intl.LDMLPluralRule, "other">]?: string;
};
export type Phrase = string | PluralForms;

/** The same keys in another language; where one has plural forms, the other has them too. */
export type Translation<English extends Readonly<Record<string, Phrase>>> = {
  readonly [Key in keyof English]: English[Key] extends string ? string : PluralForms;
};

type NamesIn<Text extends string> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | NamesIn<Rest>
  : never;
type TextOf<P> = P extends string
  ? P
  : P extends { readonly other: infer Other extends string }
    ? Other
    : never;
/** The places of a phrase; one with plural forms has `count`, a number. */
export type PlacesOf<P> = {
  readonly [Name in NamesIn<TextOf<P>> | (P extends string ? never : "count")]: Name extends "count"
    ? number
    : string | number;
};

/** @param language BCP 47 */
export function fill(
  phrase: Phrase,
  places: Readonly<Record<string, string | number>>,
  language: string,
): string {
  const text = typeof phrase === "string" ? phrase : formFor(phrase, Number(places["count"]), language);
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => {
    const value = places[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : value;
  });
}

function formFor(forms: PluralForms, count: number, language: string): string {
  return forms[new Intl.PluralRules(language).select(count)] ?? forms.other;
}

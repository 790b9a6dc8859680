import t from "tap";
import { en } from "../../server/web/words/en.ts";
import { fill, type Phrase } from "../../server/web/words/phrase.ts";
import { pl } from "../../server/web/words/pl.ts";
import { ru } from "../../server/web/words/ru.ts";

const textsOf = (phrase: Phrase): string[] => (typeof phrase === "string" ? [phrase] : Object.values(phrase));
const placesOf = (text: string) => new Set([...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
const english: Readonly<Record<string, Phrase>> = en;

for (const [language, words] of Object.entries({ pl, ru }))
  t.test(`${language} says all that English says, with the same places`, (t) => {
    const others: Readonly<Record<string, Phrase>> = words;
    t.same(Object.keys(others).toSorted(), Object.keys(english).toSorted());
    const categories = new Intl.PluralRules(language).resolvedOptions().pluralCategories.toSorted();
    for (const [key, phrase] of Object.entries(english)) {
      const other = others[key] ?? "";
      const places = placesOf(textsOf(phrase).join(" "));
      for (const text of textsOf(other)) {
        t.ok(text.trim() !== "", `${key} says something`);
        for (const place of placesOf(text)) t.ok(places.has(place), `${key}: {${place}} is no place`);
        for (const place of places)
          // `one` may say it in words.
          t.ok(place === "count" || text.includes(`{${place}}`), `${key}: ${text} lacks {${place}}`);
      }
      if (typeof phrase !== "string")
        t.same(Object.keys(other).toSorted(), categories, `${key} has the plural forms of ${language}`);
    }
    t.end();
  });

t.test("numbers take the form of their language", (t) => {
  const of = (phrase: Phrase, language: string) => (count: number) => fill(phrase, { count }, language);
  t.same([1, 2].map(of(en["machines.count"], "en")), ["1 machine", "2 machines"]);
  t.same([1, 3, 5, 22].map(of(pl["machines.count"], "pl")), [
    "1 komputer",
    "3 komputery",
    "5 komputerów",
    "22 komputery",
  ]);
  t.same([1, 3, 11, 21].map(of(ru["machines.count"], "ru")), [
    "1 компьютер",
    "3 компьютера",
    "11 компьютеров",
    "21 компьютер",
  ]);
  t.equal(fill("{a} {b}", { a: "{b}", b: "x" }, "en"), "{b} x", "what is filled in is not filled in again");
  t.end();
});

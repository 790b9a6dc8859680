import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { expandNames, knownNames } from "../../server/cli/student-names.ts";
import {
  isStudentName,
  readClassList,
  readStudentName,
  readStudentNames,
} from "../../server/domain/student-name.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("names of class lists come to DNS labels by their letters", (t) => {
  for (const [asked, name] of [
    ["anna", "anna"],
    ["s12345", "s12345"],
    ["Anna Kowalska", "anna-kowalska"],
    ["  Anna   Kowalska ", "anna-kowalska"],
    ["Łucja Żółć-Gęślą", "lucja-zolc-gesla"],
    ["Анна Щербакова", "anna-shcherbakova"],
    ["Юлия Цой", "iuliia-tsoi"],
    ["Подъячев Фёдор", "podieiachev-fedor"],
    ["Соловьёва", "soloveva"],
    ["Й", "i"],
    ["И\u0306", "i"],
    ["Ўладзімір", "uladzimir"],
    ["Їжакевич Євген", "izhakevich-ievgen"],
    ["José Nuñez", "jose-nunez"],
    ["Jose\u0301", "jose"],
    ["Jürgen Groß", "jurgen-gross"],
    ["O’Brien, Pat", "obrien-pat"],
    ["İpek Işık", "ipek-isik"],
    ["anna.kowalska_2", "anna-kowalska-2"],
    ["--anna--", "anna"],
  ] as const)
    t.match(readStudentName(asked), { asked, name }, asked);
  t.end();
});

t.test("what has no spelling is refused, with a name that would do where there is one", (t) => {
  for (const [asked, reason, suggestion] of [
    ["王小明", /Latin letters/, undefined],
    ["Anna 王", /王/, "anna"],
    ["", /no letter/, undefined],
    ["-- ..", /no letter/, undefined],
    ["default", /Kubernetes' own/, "student-default"],
    ["kube-system", /Kubernetes' own/, "student-kube-system"],
    ["Kube System", /Kubernetes' own/, "student-kube-system"],
    ["a".repeat(64), /64 letters/, "a".repeat(63)],
    [`${"a".repeat(62)}-bcd`, /66 letters/, "a".repeat(62)],
    ["anna\u0007", /Latin letters/, "anna"],
    ["anna🙂", /Latin letters/, "anna"],
  ] as const)
    t.match(readStudentName(asked), { asked, name: undefined, reason, suggestion }, JSON.stringify(asked));
  t.end();
});

t.test("two names that come to one are one too many: they may be two persons", (t) => {
  const readings = readStudentNames([
    "Anna Kowalska",
    "anna-kowalska",
    "Anna Kowalska",
    "anna-kowalska-2",
    "王",
    "Jan",
  ]);
  t.match(readings, [
    { name: "anna-kowalska" },
    {
      name: undefined,
      reason: /comes to anna-kowalska, as Anna Kowalska does/,
      suggestion: "anna-kowalska-3",
    },
    { name: undefined, reason: /stands in the list twice/, suggestion: "anna-kowalska-4" },
    { name: "anna-kowalska-2" },
    { name: undefined },
    { name: "jan" },
  ]);
  const long = "a".repeat(63);
  t.match(readStudentNames([long, long])[1]?.name, undefined);
  const second = readStudentNames([long, long])[1];
  t.ok(
    second && "suggestion" in second && isStudentName(second.suggestion ?? ""),
    "what is suggested would do",
  );
  t.end();
});

t.test("every suggestion and every name is a DNS label that is no namespace of Kubernetes'", (t) => {
  for (const asked of [
    "A-",
    "-",
    "kube-",
    "kube",
    "Kube--Dns",
    "ЬЬ",
    `${"ж".repeat(40)}`,
    "x".repeat(200),
    "ß",
    "0",
  ]) {
    const reading = readStudentName(asked);
    const name = reading.name ?? ("suggestion" in reading ? reading.suggestion : undefined);
    if (name !== undefined) t.ok(isStudentName(name), `${asked.slice(0, 20)} -> ${name.slice(0, 20)}`);
  }
  t.end();
});

t.test("a class list is a name a line, or the first column of a table", (t) => {
  const list = (text: string) => readClassList(text);
  t.same(list("\ufeff# group 12\r\n\r\nAnna Kowalska\r\n  Jan Nowak  \r\n# gone: Piotr\r\n").names, [
    "Anna Kowalska",
    "Jan Nowak",
  ]);
  t.same(list("Анна;22.01.2005;12\nБорис;;\n;nobody;\n").names, ["Анна", "Борис"]);
  t.same(list('"Kowalska, Anna",12\n"Jan ""Janek"" Nowak"\n"cut off').names, [
    "Kowalska, Anna",
    'Jan "Janek" Nowak',
    '"cut off',
  ]);
  t.same(list("Name\te-mail\nAnna\ta@x\n"), { names: ["Anna"], heading: "Name" });
  t.same(list("ФИО;группа\nАнна;12\n"), { names: ["Анна"], heading: "ФИО" });
  t.same(list("Imię,Nazwisko\nAnna,K\n").heading, "Imię");
  t.same(
    list("Name\nAnna\n").names,
    ["Name", "Anna"],
    "one column has no heading: somebody may be called so",
  );
  t.same(list("\r\n# nobody\n"), { names: [], heading: undefined });
  t.end();
});

t.test("on the command line stand names, lists of them and files", (t) => {
  const directory = temporaryDirectory(t);
  const write = (name: string, content: string | Buffer) => {
    writeFileSync(join(directory, name), content);
    return `@${join(directory, name)}`;
  };
  const notes: string[] = [];
  const group = write("group.csv", "Name,e-mail\nAnna Kowalska,a@x\nЯн,b@x\n");
  t.same(
    expandNames(["boris,cyril", "Eva Nowa", group], (text) => void notes.push(text)),
    ["boris", "cyril", "Eva Nowa", "Anna Kowalska", "Ян"],
  );
  t.match(notes, [/first line of .*group\.csv \(Name\)/]);
  t.same(
    knownNames([group, "anna-kowalska"]),
    ["anna-kowalska", "ian"],
    "those who are there have one name each",
  );
  const excel = write("excel.txt", Buffer.from("\ufeffŁucja\tx\r\n", "utf16le"));
  t.same(expandNames([excel]), ["Łucja"]);
  t.throws(() => expandNames([write("old.csv", Buffer.from([0xa3, 0x75, 0x63, 0x6a, 0x61]))]), {
    code: "INVALID_REQUEST",
    message: /old\.csv is not UTF-8/,
    advice: /CP1250/,
  });
  t.throws(() => expandNames([write("empty", "# nobody\n")]), { message: /no names in it/ });
  t.throws(() => expandNames(["@/nowhere/at/all"]), { message: /ENOENT/ });
  t.throws(() => expandNames([","]), { message: /no student is named/ });
  t.end();
});

import t from "tap";
import { InvalidHostSet } from "../server/domain/error-catalogue.ts";
import { expandRanges, resolveHostSet } from "../server/domain/host-set.ts";
import { isMachineName, type Machine, nameFromMac } from "../server/domain/machine.ts";
import { isRoleName } from "../server/domain/role.ts";
import type { Mac } from "../server/net/mac.ts";
import { sampleMachine } from "./support/samples.ts";

function machine(name: string, facts: Partial<Machine> = {}): Machine {
  const digits = Array.from(name).reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 0xffffff, 7);
  return sampleMachine(digits, { id: `m_${name}`, name, createdAt: 0, ...facts });
}

t.test("host sets", (t) => {
  const machines = [
    ...["s4", "s5", "s6"].map((name) => machine(name, { group: "lab225", labels: { room: "225" } })),
    machine("s09"),
    machine("s10", { macs: ["52:54:00:00:00:0a" as Mac, "52:54:00:00:00:0b" as Mac] }),
    machine("deadbeef0001", { labels: { "a.b/c": "x=y" } }),
  ];
  const names = (text: string, groups?: Set<string>) =>
    resolveHostSet(text, machines, groups).map(({ name }) => name);
  const refusal = (text: string, groups?: Set<string>): string => {
    try {
      return `chosen: ${names(text, groups).join(" ")}`;
    } catch (error) {
      if (!InvalidHostSet.is(error)) throw error;
      return error.message;
    }
  };

  t.test("names, ranges, groups, MACs and labels, joined by commas or blanks", (t) => {
    t.same(names("s4"), ["s4"]);
    t.same(names("s[4-6]"), ["s4", "s5", "s6"]);
    t.same(names(" s4,\ts6 ,,\n"), ["s4", "s6"]);
    t.same(names("lab225"), ["s4", "s5", "s6"]);
    t.same(names("52-54-00-00-00-0B"), ["s10"], "any MAC of the machine, any form");
    t.same(names("room=225 s10"), ["s4", "s5", "s6", "s10"]);
    t.same(names("a.b/c=x=y"), ["deadbeef0001"], "a value may have = in it");
    t.equal(names("all").length, machines.length);
    t.end();
  });
  t.test("a machine that is named twice is chosen once", (t) => {
    t.same(names("s4 s4 lab225 s[4-5]"), ["s4", "s5", "s6"]);
    t.end();
  });
  t.test("-part leaves out, wherever it stands; exclusions alone begin with all machines", (t) => {
    t.same(names("-s5 lab225"), ["s4", "s6"]);
    t.same(names("lab225,-s[4-5]"), ["s6"]);
    t.same(names("-lab225,-deadbeef0001"), ["s09", "s10"]);
    t.same(names("s4 -s4"), []);
    t.end();
  });
  t.test("leading zeros of a range are kept", (t) => {
    t.same(names("s[09-10]"), ["s09", "s10"]);
    t.same(expandRanges("r[1-2]s[01-02]x"), ["r1s01x", "r1s02x", "r2s01x", "r2s02x"]);
    t.end();
  });
  t.test("a part that names nothing is refused, since a typing error must not go by silently", (t) => {
    t.match(refusal("s4 s7"), /"s7": no machine or group is called s7/);
    t.match(refusal("s4 -s7"), /"s7": no machine/, "neither in an exclusion");
    t.match(refusal("s[5-7]"), /"s\[5-7\]": s7 is missing/);
    t.match(refusal("52:54:00:00:00:0c"), /no machine has this MAC/);
    t.match(refusal("room=226"), /no machine has this label/);
    t.match(refusal("toString=225"), /no machine has this label/, "no name of the prototype is a label");
    t.match(refusal("S4"), /no machine or group is called S4/, "names are lower case");
    t.match(refusal("-"), /no machine/);
    for (const text of ["", " , ,"]) t.match(refusal(text), /it is empty/);
    t.end();
  });
  t.test("a broken range says what is wrong with it", (t) => {
    t.match(refusal("s[4-"), /a bracket is not closed/);
    t.match(refusal("s4-9]"), /a bracket is not closed/);
    t.match(refusal("s[4]"), /a range of numbers/);
    t.match(refusal("s[a-z]"), /a range of numbers/);
    t.match(refusal("s[-1-3]"), /a range of numbers/);
    t.match(refusal("s[9-4]"), /runs backwards: write s\[4-9\]/);
    t.end();
  });
  t.test("a range can't eat the memory", (t) => {
    for (const text of ["s[0-10000]", "s[1-999999999]", "a[0-9999]b[0-9999]", "[0-99][0-99][0-99]"])
      t.match(refusal(text), /more than 10000 machines/, text);
    t.equal(expandRanges("s[1-10000]").length, 10_000);
    t.end();
  });
  t.test("a group that has no machines is empty and no fault", (t) => {
    t.same(names("lab226 s4", new Set(["lab226"])), ["s4"]);
    t.end();
  });
  t.test("a range names groups as well as machines", (t) => {
    const rooms = [machine("a1", { group: "lab1" }), machine("a2", { group: "lab2" })];
    t.same(
      resolveHostSet("lab[1-2]", rooms).map(({ name }) => name),
      ["a1", "a2"],
    );
    t.end();
  });
  t.test("a name of twelve hex digits is the machine of that name, not a MAC that nobody has", (t) => {
    t.same(names("deadbeef0001"), ["deadbeef0001"]);
    t.end();
  });
  t.test(
    "a word that is both a machine and a group is refused, since either guess boots the wrong one",
    (t) => {
      t.match(refusal("s4", new Set(["s4"])), /a machine and a group are both called s4/);
      t.match(refusal("s[4-5]", new Set(["s4"])), /both called s4/, "in a range too");
      t.end();
    },
  );
  t.end();
});

t.test("names", (t) => {
  const hostile = ["", "-a", "a-", "A", "a_b", "a b", "a.b", "a/b", "..", "a\n", "ä", "${a}", "a;b"];
  t.test("a machine's name is one host name label (RFC 1123 s.2.1)", (t) => {
    for (const name of ["a", "s4", "4", "a-b", "a".repeat(63)]) t.equal(isMachineName(name), true, name);
    for (const name of [...hostile, "a".repeat(64)])
      t.equal(isMachineName(name), false, JSON.stringify(name));
    t.equal(isMachineName(nameFromMac("52:54:00:00:00:01" as Mac)), true);
    t.end();
  });
  t.test("a role's name is one segment of a path and one word of the command line", (t) => {
    for (const name of ["a", "kiosk-2", "a".repeat(40)]) t.equal(isRoleName(name), true, name);
    for (const name of [...hostile, "a".repeat(41)]) t.equal(isRoleName(name), false, JSON.stringify(name));
    t.end();
  });
  t.end();
});

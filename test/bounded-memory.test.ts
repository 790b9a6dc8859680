import t from "tap";
import { createAddressBook } from "../server/boot/address-book.ts";
import { createServedIgnition } from "../server/boot/served-ignition.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { addressOf, macOf } from "./support/samples.ts";

t.test(
  "of 20,000 addresses the one learned longest ago gives way; a look at it does not keep it",
  async (t) => {
    const book = createAddressBook(new ManualClock(0));
    for (let number = 1; number <= 20_000; number++) book.learn(addressOf(number), macOf(number));
    book.learn(addressOf(1), macOf(1));
    t.equal(book.macAt(addressOf(2)), macOf(2));
    t.equal(book.addressOf(macOf(2)), addressOf(2));
    book.learn(addressOf(20_001), macOf(20_001));
    t.equal(book.macAt(addressOf(2)), undefined);
    t.equal(book.addressOf(macOf(2)), undefined);
    t.equal(book.macAt(addressOf(1)), macOf(1), "learned again meanwhile");
    t.equal(book.macAt(addressOf(20_001)), macOf(20_001));
  },
);

t.test("what Ignition was served is bounded in boots and in octets, the oldest first", async (t) => {
  const part = (octets: number) => ({
    machinePart: "",
    rolePart: "x".repeat(octets),
    nodePart: undefined,
    version: "3.4.0",
    isTooNew: false,
  });
  const served = createServedIgnition();
  const isKept = (key: string) => served.parts(key, () => undefined) !== undefined;
  for (let boot = 0; boot <= 2000; boot++) served.parts(`boot ${boot}`, () => part(0));
  t.notOk(isKept("boot 0"));
  t.ok(isKept("boot 1"));
  const large = 30 * 1024 * 1024;
  for (const key of ["large 1", "large 2", "large 3"]) served.parts(key, () => part(large));
  t.notOk(isKept("large 1"));
  t.ok(isKept("large 2") && isKept("large 3"));
});

import t from "tap";
import { BmcUnreachable } from "../../server/domain/error-catalogue.ts";
import type { PowerOutcome, PowerWishes } from "../../server/domain/power.ts";
import { createKnownStatus, knownForMs } from "../../server/power/known-status.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sampleMachine } from "../support/samples.ts";

/** A board that counts who logs in, and answers when it is told. */
function board() {
  const wishes: (PowerWishes | undefined)[] = [];
  const clock = new ManualClock(0);
  const asked: { answer(outcome: PowerOutcome): void; fail(error: Error): void }[] = [];
  let settings = "first";
  const known = createKnownStatus({
    clock,
    settingsOf: () => settings,
    power: {
      act: async (_machine, _action, _signal, wish) => {
        wishes.push(wish);
        return { method: "ipmi", state: "off" };
      },
      status: () => new Promise((resolve, reject) => void asked.push({ answer: resolve, fail: reject })),
    },
  });
  const machine = sampleMachine(1);
  return {
    clock,
    known,
    machine,
    asked,
    wishes,
    use: (next: string) => void (settings = next),
    look: () => known.of(machine),
  };
}

t.test(
  "many who look at a machine's power make one login, and what was found stands for a while",
  async (t) => {
    const { clock, asked, look } = board();
    const first = Promise.all([look(), look(), look()]);
    t.equal(asked.length, 1);
    asked[0]?.answer({ method: "ipmi", state: "on" });
    t.match(await first, [{ state: "on", askedAt: 0 }, { state: "on" }, { state: "on" }]);
    clock.advanceMs(knownForMs - 1);
    t.match(await look(), { state: "on", askedAt: 0 });
    t.equal(asked.length, 1);
    clock.advanceMs(1);
    const later = look();
    t.equal(asked.length, 2);
    asked[1]?.answer({ method: "ipmi", state: "off" });
    t.match(await later, { state: "off", askedAt: knownForMs });
  },
);

t.test("a board that does not answer is not asked again by each who looks", async (t) => {
  const { clock, asked, look } = board();
  const first = look();
  asked[0]?.fail(
    BmcUnreachable({ machine: "s1", method: "ipmi", address: "10.0.0.50", reason: "no answer" }),
  );
  await t.rejects(first, { code: "BMC_UNREACHABLE" });
  await t.rejects(look(), { code: "BMC_UNREACHABLE" });
  t.equal(asked.length, 1);
  clock.advanceMs(knownForMs);
  void look();
  t.equal(asked.length, 2);
});

t.test("an order to the machine, or another way to switch it, makes it asked anew", async (t) => {
  const { asked, known, machine, look, use } = board();
  const first = look();
  asked[0]?.answer({ method: "ipmi", state: "on" });
  await first;
  await known.orders.act(machine, "off", new AbortController().signal);
  void look();
  t.equal(asked.length, 2);
  use("second");
  void look();
  t.equal(asked.length, 3, "also while the other one is asked");
});

t.test("an order goes on with all that was said of it", async (t) => {
  const { known, machine, wishes } = board();
  await known.orders.act(machine, "cycle", new AbortController().signal, { prefersBoard: true });
  t.strictSame(wishes, [{ prefersBoard: true }]);
});

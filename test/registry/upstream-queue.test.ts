import t from "tap";
import { type Asker, Audience, SingleFlight, thisServer } from "../../server/upstream/audience.ts";
import { Orphans } from "../../server/upstream/orphans.ts";
import { Slots } from "../../server/upstream/slots.ts";

/** A client that goes when it is told to. */
function client(address: string): Asker & { leave(): void } {
  const tells = new Set<() => void>();
  let isGone = false;
  return {
    address,
    whenGone(tell) {
      if (isGone) tell();
      tells.add(tell);
      return () => void tells.delete(tell);
    },
    leave() {
      isGone = true;
      for (const tell of tells) tell();
    },
  };
}

const gone = { message: /has gone/ };
const full = { message: /too much is being fetched/ };
const of = (asker: Asker) => Audience.of(asker);
const limits = { atOnce: 2, waiting: 3, perAddress: { atOnce: 1, waiting: 2 } };

t.test("who waits for a slot and goes away leaves the queue", async (t) => {
  const slots = new Slots({ ...limits, perAddress: { atOnce: 2, waiting: 3 } });
  const [one, other] = [client("1"), client("2")];
  const leaves = [await slots.take(of(one)), await slots.take(of(one))];
  const waiting = [slots.take(of(one)), slots.take(of(one)), slots.take(of(one))];
  await t.rejects(slots.take(of(other)), full, "the queue is full");
  one.leave();
  for (const place of waiting) await t.rejects(place, gone);
  const next = slots.take(of(other));
  leaves[0]?.();
  const leave = await next;
  leave();
  leave();
  leaves[1]?.();
  await Promise.all([slots.take(of(other)), slots.take(of(other))]);
  await t.rejects(slots.take(of(one)), gone, "who has gone already gets none");
});

t.test(
  "one address has a part of the slots and of the waiting places; this server may have all",
  async (t) => {
    const slots = new Slots(limits);
    const [greedy, other] = [client("1"), client("2")];
    const held = await slots.take(of(greedy));
    const second = slots.take(of(greedy));
    const third = slots.take(of(greedy));
    await t.rejects(slots.take(of(greedy)), full);
    const leave = await slots.take(of(other));
    leave();
    held();
    (await second)();
    (await third)();
    await Promise.all([slots.take(of(thisServer)), slots.take(of(thisServer))]);
  },
);

t.test("work that waits gets the slot that is free for somebody who joins it", async (t) => {
  const slots = new Slots(limits);
  const [greedy, other] = [client("1"), client("2")];
  const held = await slots.take(of(greedy));
  const work = of(greedy);
  const waiting = slots.take(work);
  work.join(other);
  t.type(await waiting, "function");
  held();
});

t.test("one flight is for all who ask, and is given up when all of them have gone", async (t) => {
  const flights = new SingleFlight<number>();
  const [one, other] = [client("1"), client("2")];
  const end = Promise.withResolvers<number>();
  const signals: AbortSignal[] = [];
  const fly = (asker: Asker) =>
    flights.run("key", asker, ({ signal }) => {
      signals.push(signal);
      return end.promise;
    });
  const [first, second] = [fly(one), fly(other)];
  t.equal(signals.length, 1);
  one.leave();
  await t.rejects(first, gone);
  t.notOk(signals[0]?.aborted, "somebody still waits");
  other.leave();
  await t.rejects(second, gone);
  t.ok(signals[0]?.aborted);
  const third = fly(thisServer);
  t.equal(signals.length, 2, "who comes after that begins anew");
  end.resolve(7);
  t.equal(await third, 7);
});

t.test("downloads that nobody listens to are bounded in all, and for each who began them", async (t) => {
  const orphans = new Orphans({ inAll: 3, perAddress: 2 });
  const ends = ["1", "1"].map((address) => orphans.admit(address));
  t.equal(orphans.admit("1"), undefined);
  t.ok(orphans.admit("2"));
  t.equal(orphans.admit("3"), undefined);
  ends[0]?.();
  ends[0]?.();
  t.equal(orphans.count, 2);
  t.ok(orphans.admit("3"));
});

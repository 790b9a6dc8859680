import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t, { type Test } from "tap";
import type { Boot } from "../server/domain/boot.ts";
import { CommitQueue } from "../server/store/commit-queue.ts";
import { createEventLog, type EventLog } from "../server/store/events.ts";
import { migrate } from "../server/store/migrate.ts";
import { openStore } from "../server/store/open-store.ts";
import { ManualClock } from "./support/manual-clock.ts";
import {
  addressOf,
  contentOf,
  macOf,
  role,
  sampleAssignment,
  sampleClaim,
  sampleImage,
  sampleLease,
  sampleMachine,
  sampleTime,
  temporaryDirectory,
  sampleGroup,
} from "./support/samples.ts";

/** A store and a way to read it again from its file. */
function openTwice(t: Test) {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const clock = new ManualClock(sampleTime);
  const store = openStore(path, clock);
  t.teardown(() => store.close());
  return {
    store,
    clock,
    reopen() {
      const again = openStore(path, clock);
      t.teardown(() => again.close());
      return again;
    },
    isWhatIsStored(t: Test) {
      t.same(contentOf(store), contentOf(this.reopen()), "memory is what the database says");
    },
  };
}

t.test("machines", async (t) => {
  const opened = openTwice(t);
  const { machines, assignments, claims } = opened.store;
  await machines.add(sampleMachine(1, { name: "s1", labels: { room: "225" }, address: addressOf(1) }));
  await machines.add(sampleMachine(2, { name: "s2", macs: [macOf(2), macOf(12)] }));

  t.test("are found by name, by each MAC in any form, by address and by id", async (t) => {
    for (const text of ["s2", macOf(12), "52-54-00-00-00-0C", "52540000000c", "m_2"])
      t.equal(machines.findByNameOrMac(text)?.name, "s2", text);
    t.equal(machines.findByAddress(addressOf(1))?.name, "s1");
    t.throws(() => machines.get("s3"), { code: "MACHINE_NOT_FOUND" });
  });
  t.test("name, MAC and address belong to one machine each", async (t) => {
    await t.rejects(machines.add(sampleMachine(3, { name: "s1" })), { code: "MACHINE_NAME_TAKEN" });
    await t.rejects(machines.add(sampleMachine(3, { macs: [macOf(3), macOf(12)] })), {
      code: "MAC_TAKEN",
      advice: /`boot machine edit s2 --mac 52:54:00:00:00:02`/,
    });
    await t.rejects(machines.add(sampleMachine(3, { name: "s3", macs: [macOf(1)] })), {
      code: "MAC_TAKEN",
      advice: /`boot machine accept s1 --name s3`.*`boot machine remove s1`/,
    });
    await t.rejects(
      machines.update("m_2", (s2) => ({ ...s2, address: addressOf(1) })),
      { code: "ADDRESS_TAKEN" },
    );
    t.equal(machines.findByMac(macOf(3)), undefined);
    opened.isWhatIsStored(t);
  });
  t.test("two of the same name in one commit: the first wins", async (t) => {
    const outcomes = await Promise.allSettled(
      [4, 5].map((n) => machines.add(sampleMachine(n, { name: "twin" }))),
    );
    t.same(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected"],
    );
    t.equal(machines.get("twin").id, "m_4");
    opened.isWhatIsStored(t);
  });
  t.test("what one gives up in a commit another may take in the same", async (t) => {
    await Promise.all([
      machines.update("m_1", (s1) => ({ ...s1, name: "old", address: undefined })),
      machines.update("m_2", (s2) => ({ ...s2, name: "s1", address: addressOf(1), macs: [macOf(12)] })),
      machines.update("m_4", (twin) => ({ ...twin, macs: [macOf(4), macOf(2)] })),
    ]);
    t.equal(machines.get("s1").id, "m_2");
    t.equal(machines.findByMac(macOf(2))?.id, "m_4");
    t.equal(machines.findByAddress(addressOf(1))?.id, "m_2");
    opened.isWhatIsStored(t);
  });
  t.test("changes made at once do not undo each other", async (t) => {
    await Promise.all([
      machines.update("m_1", (machine) => ({ ...machine, phase: "ready" })),
      machines.update("m_1", (machine) => ({ ...machine, seat: "A1" })),
    ]);
    t.match(machines.get("m_1"), { phase: "ready", seat: "A1" });
  });
  t.test("a removed one takes its assignments, claims and boots with it", async (t) => {
    const subject = { kind: "machine", machineId: "m_4" } as const;
    await assignments.saveAll([sampleAssignment("m_4")]);
    await claims.mint(sampleClaim("m_4"));
    await machines.remove("m_4");
    assignments.forget(subject);
    claims.forgetMachine("m_4");
    t.equal(assignments.find(subject, "always"), undefined);
    t.equal(claims.find("hash of m_4"), undefined);
    const again = opened.reopen();
    t.equal(again.assignments.find(subject, "always"), undefined);
    t.equal(again.claims.find("hash of m_4"), undefined);
    t.equal(await machines.update("m_4", (machine) => machine), undefined, "a late change of it is none");
    opened.isWhatIsStored(t);
  });
});

t.test(
  "groups, tokens, images, leases and assignments are in memory what they are in the database",
  async (t) => {
    const opened = openTwice(t);
    const { groups, tokens, images, leases, assignments, machines } = opened.store;
    await machines.add(sampleMachine(1));

    t.test("a group that is saved again keeps the time it was made at", async (t) => {
      await groups.save(sampleGroup("lab225", "", sampleTime));
      await groups.save(sampleGroup("lab225", "second floor", sampleTime + 1));
      t.same(groups.all(), [sampleGroup("lab225", "second floor", sampleTime)]);
      opened.isWhatIsStored(t);
    });
    t.test("an image that comes again takes the place of its version", async (t) => {
      await images.save(sampleImage("1"));
      await images.save(sampleImage("2", { addedAt: sampleTime + 1 }));
      await images.save(sampleImage("1", { addedAt: sampleTime + 2, arch: "arm64" }));
      t.match(images.findCurrent("debian-node"), { version: "1", arch: "arm64" });
      t.same(images.all().filter((image) => image.isCurrent).length, 1);
      opened.isWhatIsStored(t);
    });
    t.test("when the current version of an image is removed, the newest other one is booted", async (t) => {
      await images.remove(sampleImage("1"));
      t.equal(images.findCurrent("debian-node")?.version, "2");
      opened.isWhatIsStored(t);
      await images.remove(sampleImage("2"));
      t.equal(images.findCurrent("debian-node"), undefined);
    });
    t.test("two tokens of one name in one commit: the second is refused as the caller's fault", async (t) => {
      const token = { scope: "viewer", createdAt: sampleTime, expiresAt: undefined } as const;
      const outcomes = await Promise.allSettled([
        tokens.add({ ...token, id: "t_1", name: "anna", hash: "one" }),
        tokens.add({ ...token, id: "t_2", name: "anna", hash: "two" }),
      ]);
      t.match(outcomes[1], { status: "rejected", reason: { httpStatus: /^4/ } });
      t.equal(tokens.findByHash("two"), undefined);
      opened.isWhatIsStored(t);
      const anna = tokens.findByName("anna");
      if (anna) await tokens.remove(anna);
      t.equal(tokens.findByHash("one"), undefined);
      opened.isWhatIsStored(t);
    });
    t.test("a lease takes the place of the MAC's former one and of the address's former one", async (t) => {
      await leases.save(sampleLease(1));
      await leases.save(sampleLease(2));
      await leases.save(sampleLease(1, { address: addressOf(2), hostname: "s1" }));
      t.same(
        [...leases.all()].map(({ mac, address }) => [mac, address]),
        [[macOf(1), addressOf(2)]],
      );
      t.equal(leases.findByAddress(addressOf(1)), undefined);
      t.equal(leases.findByMac(macOf(2)), undefined);
      opened.isWhatIsStored(t);
    });
    t.test("one assignment per machine and mode, the newest", async (t) => {
      const subject = { kind: "machine", machineId: "m_1" } as const;
      await assignments.saveAll([
        sampleAssignment("m_1"),
        sampleAssignment("m_1", { id: "once", mode: "once" }),
      ]);
      await assignments.saveAll([sampleAssignment("m_1", { id: "new", target: role("rescue") })]);
      t.same(
        assignments
          .all()
          .map(({ id }) => id)
          .sort(),
        ["new", "once"],
      );
      opened.isWhatIsStored(t);
      await assignments.removeAll([{ subject, mode: "once" }]);
      t.equal(assignments.find(subject, "once"), undefined);
      opened.isWhatIsStored(t);
    });
    t.test(
      "what is used up goes only if nothing took its place meanwhile, in the same turn too",
      async (t) => {
        const subject = { kind: "machine", machineId: "m_1" } as const;
        const used = sampleAssignment("m_1", { id: "used", mode: "once" });
        const newer = sampleAssignment("m_1", { id: "newer", mode: "once", target: role("rescue") });
        await assignments.saveAll([used]);
        const [, removed] = await Promise.all([
          assignments.saveAll([newer]),
          assignments.removeExactly([used]),
        ]);
        t.same(removed, [], "nothing was removed");
        t.equal(assignments.find(subject, "once")?.id, "newer");
        opened.isWhatIsStored(t);
        t.same(await assignments.removeExactly([used, newer]), [newer]);
        t.equal(assignments.find(subject, "once"), undefined);
        t.ok(assignments.find(subject, "always"), "the other mode stays");
        opened.isWhatIsStored(t);
      },
    );
    t.test(
      "an assignment to a machine that is gone is refused, and the rest of its commit stands",
      async (t) => {
        const outcomes = await Promise.allSettled([
          assignments.saveAll([sampleAssignment("m_gone")]),
          groups.save(sampleGroup("other", "", sampleTime)),
        ]);
        t.same(
          outcomes.map(({ status }) => status),
          ["rejected", "fulfilled"],
        );
        opened.isWhatIsStored(t);
      },
    );
  },
);

t.test("claims", async (t) => {
  const opened = openTwice(t);
  const { machines, claims } = opened.store;
  await machines.add(sampleMachine(1));
  t.test("a machine has one: a new one ends the earlier", async (t) => {
    await claims.mint(sampleClaim("m_1", { hash: "first" }));
    await claims.mint(sampleClaim("m_1", { hash: "second" }));
    t.equal(claims.find("first"), undefined);
    t.equal(opened.reopen().claims.find("first"), undefined);
    t.ok(claims.find("second"));
  });
  t.test("two uses at once are counted as two", async (t) => {
    const use = () =>
      claims.update("second", (claim) => ({
        ...claim,
        fetches: { ignition: (claim.fetches["ignition"] ?? 0) + 1 },
      }));
    await Promise.all([use(), use()]);
    t.same(opened.reopen().claims.find("second"), claims.find("second"));
    t.equal(claims.find("second")?.fetches["ignition"], 2);
  });
  t.test("long after they expired they are gone at the next start", async (t) => {
    opened.clock.advanceMs(24 * 3_600_000);
    t.equal(opened.reopen().claims.find("second"), undefined);
  });
});

t.test("events and boots", async (t) => {
  const { store } = openTwice(t);
  const { events, boots, machines } = store;
  t.test(
    "events are numbered in order, told when they are stored, and found by type, machine and number",
    async (t) => {
      const told: number[] = [];
      const stop = events.subscribe(({ seq }) => told.push(seq));
      await Promise.all([
        events.append({ type: "machine.added", machineId: "m_1", message: "one" }),
        events.append({ type: "machine.phase", machineId: "m_1", message: "two", data: { to: "ready" } }),
        events.append({ type: "boot.started", machineId: "m_2", message: "three" }),
      ]);
      stop();
      await events.append({ type: "machine.added", message: "four" });
      t.same(told, [1, 2, 3]);
      const messages = (filter: object) =>
        events.list({ limit: 10, ...filter }).map(({ message }) => message);
      t.same(messages({ since: 2 }), ["three", "four"]);
      t.same(messages({ newest: true, limit: 2 }), ["three", "four"]);
      t.same(messages({ type: "machine" }), ["one", "two", "four"]);
      t.same(messages({ type: "machine.phase" }), ["two"]);
      t.same(messages({ type: "mach%" }), [], "a wildcard of the database is a letter like any other");
      t.same(messages({ machineId: "m_2" }), ["three"]);
    },
  );
  t.test("boots come newest first, a page at a time", async (t) => {
    await machines.add(sampleMachine(1));
    const boot = (id: string, startedAt: number): Boot => ({
      id,
      machineId: "m_1",
      mac: macOf(1),
      startedAt,
      endedAt: undefined,
      outcome: "running",
      target: undefined,
      phases: [],
      steps: [],
      verdict: undefined,
    });
    for (const [id, at] of [
      ["b_1", 1],
      ["b_2", 2],
      ["b_3", 3],
    ] as const)
      await boots.save(boot(id, at));
    await boots.save({ ...boot("b_2", 2), outcome: "ready", endedAt: 9 });
    t.same(
      boots.ofMachine("m_1", 2).map(({ id }) => id),
      ["b_3", "b_2"],
    );
    t.same(
      boots.ofMachine("m_1", 2, { startedAt: 2, id: "b_2" }).map(({ id }) => id),
      ["b_1"],
    );
    await boots.save(boot("b_4", 3));
    t.same(
      [
        boots.ofMachine("m_1", 1).map(({ id }) => id),
        boots.ofMachine("m_1", 2, { startedAt: 3, id: "b_4" }).map(({ id }) => id),
      ],
      [["b_4"], ["b_3", "b_2"]],
      "of two that began in the same millisecond none is left out between pages",
    );
    t.same(
      boots.running().map(({ id }) => id),
      ["b_1", "b_3", "b_4"],
    );
    t.match(boots.find("b_2"), { outcome: "ready", endedAt: 9 });
  });
});

t.test("of each machine the newest 50 boots are kept", async (t) => {
  const { store } = openTwice(t);
  const { boots, machines } = store;
  const boot = (number: number, startedAt: number): Boot => ({
    id: `b_${number}_${startedAt}`,
    machineId: `m_${number}`,
    mac: macOf(number),
    startedAt,
    endedAt: startedAt + 1,
    outcome: "ready",
    target: undefined,
    phases: [],
    steps: [],
    verdict: undefined,
  });
  await machines.add(sampleMachine(1));
  await machines.add(sampleMachine(2));
  await boots.save(boot(2, 1));
  for (let startedAt = 1; startedAt <= 60; startedAt++) await boots.save(boot(1, startedAt));
  const { endedAt: _, ...running } = boot(1, 61);
  await boots.save({ ...running, endedAt: undefined, outcome: "running" });
  await boots.save(boot(1, 60));
  t.same(
    boots.ofMachine("m_1", 1000).map(({ startedAt }) => startedAt),
    Array.from({ length: 50 }, (_, index) => 61 - index),
  );
  t.equal(boots.ofMachine("m_2", 1000).length, 1, "another machine's are its own");
});

t.test("the event log keeps its newest events, and loses the oldest a slice at a time", async (t) => {
  const db = new Sqlite(":memory:");
  migrate(db, join(import.meta.dirname, "../db/migrations"));
  const queue = new CommitQueue(db);
  const append = async (log: EventLog, count: number) => {
    await Promise.all(
      Array.from({ length: count }, () => log.append({ type: "server.started", message: "" })),
    );
  };
  const numbers = (log: EventLog) => log.list({ limit: 100_000 }).map(({ seq }) => seq);
  const before = createEventLog(db, queue, new ManualClock());
  await append(before, 3100);
  t.equal(numbers(before).length, 3100);
  const log = createEventLog(db, queue, new ManualClock(), 600);
  await append(log, 400);
  t.same([numbers(log)[0], numbers(log).length], [1001, 2500], "a thousand at a time");
  await append(log, 1500);
  t.same([numbers(log)[0], numbers(log).length], [4001, 1000]);
  await append(log, 500);
  t.same([numbers(log)[0], numbers(log).length], [4901, 600]);
  await append(log, 499);
  t.equal(numbers(log).length, 1099, "now and then is enough");
  t.same(log.list({ since: 3, limit: 1 })[0]?.seq, 4901, "somebody far behind goes on with what is there");
});

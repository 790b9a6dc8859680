import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { chooseBootfile, driverOf, nbpNames } from "../../server/dhcp/policy/choose-bootfile.ts";
import { uefiLoaders } from "../../server/domain/uefi-loaders.ts";
import { classifyClient } from "../../server/dhcp/policy/classify-client.ts";
import { firmwareIsBack, noteProgress, offerDriver } from "../../server/dhcp/policy/switch-driver.ts";
import { StrategyBook } from "../../server/dhcp/strategy-book.ts";
import type { Driver, DriverChoice } from "../../server/domain/boot-preferences.ts";
import type { FirstStageProgress } from "../../server/domain/contact.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createDhcpLab } from "../support/dhcp-lab.ts";
import { clientOptions, defaultMac, ip, requestMessage } from "../support/dhcp-messages.ts";
import { ManualClock } from "../support/manual-clock.ts";

const everything = new Set(["undionly.kpxe", "ipxe.pxe", "snponly.efi", "ipxe.efi", "snponly-arm64.efi"]);

function bootfile(options: object, driver: Driver | undefined, available: ReadonlySet<string> = everything) {
  const client = classifyClient(requestMessage({ type: "Discover", options: options as never }));
  if (!client) throw new Error("no client");
  const urls = { script: "http://10.0.0.1/boot.ipxe", nbp: (name: string) => `http://10.0.0.1/nbp/${name}` };
  return chooseBootfile({
    client,
    available,
    serverAddress: ip("10.0.0.1"),
    urls,
    chainedBefore: false,
    driver,
  });
}

t.test(
  "the driver chosen for a machine is the one it gets, by TFTP and by HTTP (firmware-quirk Q36)",
  (t) => {
    const { bios, ovmf, ovmfHttp, ovmfArm64 } = clientOptions;
    t.match(bootfile(ovmf, undefined), { bootfile: "snponly.efi", drivers: ["snponly", "ipxe"] });
    t.match(bootfile(ovmf, "ipxe"), { bootfile: "ipxe.efi" });
    t.match(bootfile(ovmfHttp, "ipxe"), {
      bootfile: "http://10.0.0.1/nbp/ipxe.efi",
      drivers: ["snponly", "ipxe"],
    });
    t.match(bootfile(bios, undefined), { bootfile: "undionly.kpxe", drivers: ["undionly", "ipxe"] });
    t.match(bootfile(bios, "ipxe"), { bootfile: "ipxe.pxe" });
    t.match(bootfile(bios, "snponly"), { bootfile: "undionly.kpxe" }, "there is none for a BIOS");
    t.match(bootfile(ovmf, "undionly"), { bootfile: "snponly.efi" }, "nor this one for UEFI");
    t.match(
      bootfile(ovmfArm64, "ipxe"),
      { bootfile: "snponly-arm64.efi" },
      "what is not in boot-assets is not told",
    );
    for (const names of [nbpNames.bios, ...Object.values(uefiLoaders).map(({ ipxe }) => ipxe)])
      t.ok(
        names.every((name) => driverOf(name) !== undefined),
        names.join(" "),
      );
    t.equal(driverOf("start4.elf"), undefined);
    t.end();
  },
);

t.test(
  "a first stage that was loaded and not heard of twice gives way to the next; after the last the first",
  (t) => {
    const play = (progresses: readonly (FirstStageProgress | undefined)[], drivers: readonly Driver[]) => {
      let trial = offerDriver(undefined, drivers[0] ?? "ipxe", drivers);
      const switches: string[] = [];
      for (const progress of progresses) {
        const { trial: next, change } = firmwareIsBack(trial);
        trial = next;
        if (change) {
          switches.push(change.isWrapped ? `${change.to} again` : change.to);
          trial = offerDriver(trial, change.to, drivers);
        }
        if (progress) trial = noteProgress(trial, progress);
      }
      return switches;
    };
    const both: Driver[] = ["snponly", "ipxe"];
    t.same(play(["loaded", "loaded"], both), [], "once may be a hand at the switch");
    t.same(play(["loaded", "loaded", undefined], both), ["ipxe"]);
    t.same(play(["loaded", "loaded", "loaded", "loaded", "loaded"], both), ["ipxe", "snponly again"]);
    t.same(
      play(["loaded", "started", "loaded", "started", "loaded", undefined], both),
      [],
      "it had started between",
    );
    t.same(
      play(["loading", "loading", "loading", "loading"], both),
      [],
      "a download that breaks off is no hang",
    );
    t.same(
      play([undefined, undefined, undefined, undefined], both),
      [],
      "nor is a firmware that loads nothing",
    );
    t.same(play(["loaded", "loaded", "loaded", "loaded"], ["ipxe"]), [], "nothing else to try");
    t.end();
  },
);

/** A book with what it told. */
function openBook(file = ":memory:") {
  const clock = new ManualClock();
  const store = openStore(file, clock);
  const told: string[] = [];
  const book = new StrategyBook({
    clock,
    log: silentLog,
    strategies: store.bootStrategies,
    onSwitch: (_mac, { to, isWrapped }) => told.push(isWrapped ? `${to} again` : to),
    onDriverSwitch: (_mac, { to, isWrapped }) => told.push(isWrapped ? `${to} again` : to),
  });
  const discover = () => {
    book.onDiscover(defaultMac);
    book.onOffer(defaultMac, book.strategyFor(defaultMac) ?? "full-uefi");
    book.onProgram(defaultMac, book.driverFor(defaultMac) ?? "snponly", ["snponly", "ipxe"]);
  };
  return { clock, store, book, told, discover };
}

t.test("neither driver nor strategy is switched for a machine that boots, however often it is reset", (t) => {
  const step = fc.record({
    waitMs: fc.integer({ min: 0, max: 400_000 }),
    repeats: fc.integer({ min: 1, max: 2 }),
    rest: fc.constantFrom<readonly FirstStageProgress[]>(
      ["loaded", "started"],
      ["loading", "loaded", "started", "started"],
      ["started"],
    ),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (boots) => {
      const { clock, book, told, discover, store } = openBook();
      for (const { waitMs, repeats, rest } of boots) {
        clock.advanceMs(waitMs);
        for (let repeat = 0; repeat < repeats; repeat++) {
          discover();
          clock.advanceMs(4000);
        }
        book.onRequest(defaultMac);
        for (const progress of rest) book.onProgress(defaultMac, progress);
      }
      store.close();
      return told.length === 0;
    }),
    { numRuns: 60 },
  );
  t.end();
});

t.test("what was switched outlives the server, strategy and driver each for itself", async (t) => {
  const file = join(t.testdir(), "rollcall.db");
  const one = openBook(file);
  const hang = (opened: ReturnType<typeof openBook>) => {
    for (let n = 0; n < 2; n++) {
      opened.discover();
      opened.book.onProgress(defaultMac, "loaded");
      opened.clock.advanceMs(5000);
    }
    opened.discover();
  };
  hang(one);
  t.same(one.told, ["ipxe"]);
  for (let n = 0; n < 3; n++) {
    one.clock.advanceMs(5000);
    one.discover();
  }
  t.same(one.told, ["ipxe", "full-uefi-prompt"]);
  await one.store.probe();
  one.store.close();
  const two = openBook(file);
  t.equal(two.book.driverFor(defaultMac), "ipxe");
  t.equal(two.book.strategyFor(defaultMac), "full-uefi-prompt");
  hang(two);
  t.match(two.told, ["snponly again"]);
  await two.store.probe();
  t.match([...two.store.bootStrategies.all()], [{ strategy: "full-uefi-prompt", driver: undefined }]);
  two.store.close();
});

t.test(
  "on the wire: PXE and HTTP clients that hang get the other program, and people are told",
  async (t) => {
    for (const [options, progress] of [
      [clientOptions.ovmf, ["snponly.efi", "ipxe.efi"]],
      [clientOptions.ovmfHttp, ["http://127.0.0.1/nbp/snponly.efi", "http://127.0.0.1/nbp/ipxe.efi"]],
      [clientOptions.bios, ["undionly.kpxe", "ipxe.pxe"]],
    ] as const) {
      const events: NewEvent[] = [];
      const { relay, dhcp, clock, server } = await createDhcpLab(t, {
        record: (event) => events.push(event),
        nbp: { available: everything },
      });
      const discover = async () => {
        clock.advanceMs(60_000);
        const { file, options: sent } = await relay.ask({ type: "Discover", options }, dhcp);
        return file || Buffer.from(sent.get(67) ?? []).toString();
      };
      const [first, second] = progress;
      t.equal(await discover(), first);
      server.machineProgressed(defaultMac, "loaded");
      t.equal(await discover(), first);
      server.machineProgressed(defaultMac, "loaded");
      t.equal(await discover(), second);
      server.machineProgressed(defaultMac, "loaded");
      server.machineProgressed(defaultMac, "started");
      t.equal(await discover(), second, "what works stays");
      t.equal(server.driverFor(defaultMac), "ipxe");
      const told = events.filter(({ type }) => type === "boot.driver");
      t.match(told, [
        {
          level: "warning",
          message:
            /first-stage driver (snponly|undionly) -> ipxe: it loaded its program 2 times and came back/,
          data: { mac: defaultMac, to: "ipxe", hangs: 2 },
        },
      ]);
    }
  },
);

t.test(
  "iPXE's own DHCP is a sign of life of the program; a choice of people is never switched",
  async (t) => {
    const available = { available: everything };
    const alive = await createDhcpLab(t, { nbp: available });
    for (let boot = 0; boot < 4; boot++) {
      alive.clock.advanceMs(60_000);
      const { file } = await alive.relay.ask({ type: "Discover", options: clientOptions.ovmf }, alive.dhcp);
      t.equal(file, "snponly.efi");
      alive.server.machineProgressed(defaultMac, "loaded");
      await alive.relay.ask({ type: "Discover", options: clientOptions.ipxe }, alive.dhcp);
    }
    let choice: DriverChoice = "snponly";
    const chosen = await createDhcpLab(t, {
      nbp: available,
      machines: {
        reservationOf: () => undefined,
        ownerOf: () => undefined,
        mayNetboot: () => true,
        driverOf: () => choice,
      },
    });
    const ask = async () => {
      chosen.clock.advanceMs(60_000);
      const answer = await chosen.relay.ask({ type: "Discover", options: clientOptions.ovmf }, chosen.dhcp);
      chosen.server.machineProgressed(defaultMac, "loaded");
      return answer.file;
    };
    for (let boot = 0; boot < 4; boot++) t.equal(await ask(), "snponly.efi");
    choice = "ipxe";
    t.equal(await ask(), "ipxe.efi");
    t.equal(chosen.server.driverFor(defaultMac), undefined);
  },
);

import t from "tap";
import { ClaimRefused } from "../server/domain/error-catalogue.ts";
import { createBootLab, serverUrl } from "./support/boot-lab.ts";
import { addressOf, macOf, neighbourTable } from "./support/samples.ts";

const minutes = 60_000;

t.test("a claim", async (t) => {
  const refused = { code: ClaimRefused.code, message: "this claim is not valid here" };
  async function claimed(t: Parameters<typeof createBootLab>[0]) {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.add(2, "s2");
    await lab.assign("s1,s2", "worker");
    return { lab, claim: await lab.claim(1) };
  }
  t.test("opens the machine's documents again and again, since a reply may be lost", async (t) => {
    const { lab, claim } = await claimed(t);
    const first = await lab.config(claim, 1);
    t.match(first, { text: /^#cloud-config\n/, machine: { name: "s1" } });
    t.equal((await lab.config(claim, 1)).text, first.text);
    t.match((await lab.config(claim, 1, "meta-data")).text, /local-hostname: "s1"/);
    t.same(lab.alarms(), []);
  });
  t.test(
    "goes with its machine when another DHCP server gives the system another address than iPXE (Q33)",
    async (t) => {
      const later = addressOf(77);
      const table = new Map([[addressOf(1), macOf(1)]]);
      const lab = await createBootLab(t, { neighbours: () => neighbourTable([...table]) });
      await lab.add(1, "s1");
      await lab.assign("s1", "worker");
      const claim = await lab.claim(1);
      await t.rejects(
        lab.boots.config({ secret: claim, address: later, kind: "user-data", serverUrl }),
        refused,
      );
      t.match(
        lab.alarms(),
        [{ data: { reason: "wrong-address" } }],
        "as long as nothing shows that it is s1",
      );
      table.set(later, macOf(2));
      t.throws(() => lab.boots.reporter(claim, later, "its log"), refused, "another machine's address");
      table.set(later, macOf(1));
      t.match(
        (await lab.boots.config({ secret: claim, address: later, kind: "user-data", serverUrl })).text,
        /^#cloud-config/,
      );
      t.match(await lab.boots.joined(claim, later), { machine: { name: "s1" } });
      t.equal(lab.alarms().length, 2);
    },
  );
  t.test(
    "is refused to another machine that has taken the address over; not to another card of its own",
    async (t) => {
      const table = new Map([[addressOf(1), macOf(1)]]);
      const lab = await createBootLab(t, { neighbours: () => neighbourTable([...table]) });
      await lab.add(1, "s1");
      await lab.assign("s1", "worker");
      const claim = await lab.claim(1);
      table.set(addressOf(1), macOf(66));
      await t.rejects(lab.config(claim, 1), refused);
      t.throws(() => lab.boots.reporter(claim, addressOf(1), "its log"), refused);
      t.equal(lab.alarms().length, 2);
      await lab.inventory.edit(lab.machine("s1").id, { macs: [macOf(1), macOf(66)] }, "anna");
      t.match((await lab.config(claim, 1)).text, /^#cloud-config/);
    },
  );
  t.test(
    "is refused to another address, when expired, spent, unknown or asked for too often: in the same words, each with an alarm",
    async (t) => {
      const reasons: unknown[] = [];
      const expectRefusal = async (
        lab: Awaited<ReturnType<typeof createBootLab>>,
        attempt: () => Promise<unknown>,
      ) => {
        const before = lab.alarms().length;
        const error: unknown = await attempt().then(
          () => undefined,
          (error: unknown) => error,
        );
        t.match(error, refused);
        t.same((error as { details: unknown }).details, {});
        t.equal(lab.alarms().length, before + 1);
        reasons.push(lab.alarms().at(-1)?.data?.["reason"]);
      };
      const { lab, claim } = await claimed(t);
      await expectRefusal(lab, () => lab.config(claim, 2));
      await expectRefusal(lab, () => lab.config("guessed", 1));
      await expectRefusal(lab, () => lab.boots.joined(claim, addressOf(2)));
      for (let fetch = 0; fetch < 12; fetch++) await lab.config(claim, 1);
      await expectRefusal(lab, () => lab.config(claim, 1));
      await lab.config(claim, 1, "meta-data");
      await lab.boots.joined(claim, addressOf(1));
      await expectRefusal(lab, () => lab.config(claim, 1, "meta-data"));
      const second = await lab.claim(2);
      lab.clock.advanceMs(60 * minutes + 1);
      await expectRefusal(lab, () => lab.config(second, 2));
      await expectRefusal(lab, () => lab.boots.joined(claim, addressOf(1)));
      t.same(reasons, [
        "wrong-address",
        "unknown",
        "wrong-address",
        "too-many-fetches",
        "spent",
        "expired",
        "spent",
      ]);
      t.notOk(JSON.stringify(lab.events).includes(claim), "the secret is in no event");
    },
  );
  t.test("13 fetches at once: 12 are answered", async (t) => {
    const { lab, claim } = await claimed(t);
    const outcomes = await Promise.allSettled(Array.from({ length: 13 }, () => lab.config(claim, 1)));
    t.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 12);
  });
  t.test("ends with the machine's next script", async (t) => {
    const { lab, claim } = await claimed(t);
    const next = await lab.claim(1);
    await t.rejects(lab.config(claim, 1), refused);
    t.ok((await lab.config(next, 1)).text);
  });
  t.test("still lets the machine report for ten minutes after its callback", async (t) => {
    const { lab, claim } = await claimed(t);
    await lab.boots.joined(claim, addressOf(1));
    lab.clock.advanceMs(10 * minutes);
    t.match(lab.boots.reporter(claim, addressOf(1), "its log"), { machine: { name: "s1" } });
    lab.clock.advanceMs(1);
    t.throws(() => lab.boots.reporter(claim, addressOf(1), "its log"), refused);
  });
  t.test(
    "opens configs of the role that the script was made for, whatever is assigned meanwhile",
    async (t) => {
      const { lab, claim } = await claimed(t);
      await lab.assign("s1", "rescue");
      t.match((await lab.config(claim, 1)).text, /name: debian/);
      t.match((await lab.config(await lab.claim(1), 1)).text, /name: root/);
    },
  );
  t.test("is stored as its hash only", async (t) => {
    const { lab, claim } = await claimed(t);
    t.equal(lab.store.claims.find(claim), undefined);
  });
});

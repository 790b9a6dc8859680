import t, { type Test } from "tap";
import { createBootLab } from "../support/boot-lab.ts";
import { macOf } from "../support/samples.ts";

const csv = (...lines: string[]) => lines.join("\n");

async function room(t: Test) {
  const lab = await createBootLab(t);
  const plan = (text: string, group?: string) => lab.inventory.lists.plan({ text, group }).plan;
  const run = async (text: string, group?: string) => {
    const { plan } = await lab.inventory.lists.run({ text, group }, "anna");
    await lab.settle();
    return plan;
  };
  const actions = (text: string) => plan(text).lines.map(({ action }) => action);
  return { ...lab, plan, run, actions };
}

t.test("a list becomes machines, and the same list again changes nothing", async (t) => {
  const { plan, run, machine, inventory, of, actions } = await room(t);
  const list = csv(
    "name,mac,ip,seat,serial,labels",
    `S1.example.org,${macOf(1)},10.1.0.11,A1,SN1,os=alt`,
    `s2,${macOf(2)} ${macOf(102)},,A2,,`,
  );
  t.match(plan(list, "lab225"), {
    lines: [{ action: "new" }, { action: "new" }],
    problems: [],
    newGroups: ["lab225"],
  });
  t.equal(inventory.all().length, 0, "a plan does nothing");
  await run(list, "lab225");
  t.match(machine("s1"), {
    macs: [macOf(1)],
    address: "10.1.0.11",
    group: "lab225",
    seat: "A1",
    serial: "SN1",
    labels: { os: "alt" },
    phase: "accepted",
  });
  t.same(machine("s2").macs, [macOf(2), macOf(102)]);
  t.equal(of("machine.added").length, 2);
  t.equal(of("group.added").length, 1);
  t.same(
    inventory.lists.plan({ text: list, group: "lab225" }).plan.lines.map(({ action }) => action),
    ["same", "same"],
  );
  await run(list, "lab225");
  t.equal(of("machine.edited").length, 0);
  t.same(actions(csv("name,mac,seat", `s1,${macOf(1)},A9`, `s2,${macOf(2)},A2`)), ["changed", "same"]);
});

t.test("a machine that was met becomes the one of the list, with its name, and is accepted", async (t) => {
  const { run, machine, inventory, of } = await room(t);
  await inventory.meet(macOf(1), { serial: "SNX" });
  const plan = await run(csv("name,mac,serial", `s1,${macOf(1)},SN1`));
  t.match(plan, { lines: [{ action: "changed" }], notes: [{ line: 2, problem: /SN1.*SNX/ }] });
  t.match(machine("s1"), { phase: "accepted", serial: "SNX", acceptedAt: Number });
  t.match(of("machine.edited"), [{ message: /accepted/ }]);
  t.equal(inventory.all().length, 1);
});

t.test(
  "all problems of a list are told at once with their lines, and nothing of it is imported",
  async (t) => {
    const { plan, run, inventory, add } = await room(t);
    await add(50, "s5");
    await inventory.edit(
      inventory.get("s5").id,
      { group: "lab225", seat: "B1", address: "10.1.0.50" },
      "anna",
    );
    await inventory.editGroup(
      "lab225",
      {
        plan: {
          seats: [
            ["A1", "A2"],
            ["B1", null],
          ],
        },
      },
      "anna",
    );
    const before = inventory.groups().length;
    const list = csv(
      "name,mac,ip,seat,room",
      `s1,${macOf(1)},,A1,lab225`,
      `s1,${macOf(2)},,A2,lab225`,
      `s3,not-a-mac,10.1.0.300,,lab226`,
      `s4,${macOf(1)},,C9,lab225`,
      `s6,${macOf(6)},10.1.0.50,b1,lab225`,
      `s5,${macOf(7)},,,`,
      `no_name,${macOf(8)},,,`,
      `s9,,,,`,
      `s10,01:00:5e:00:00:01,,,`,
      `s11,${macOf(11)},,,lab9`,
    );
    const { problems, lines } = plan(list);
    t.same(
      lines.flatMap(({ line, action }) => (action === "conflict" ? [] : [line])),
      [11],
    );
    const told = problems.map(({ line, problem }) => `${line}: ${problem}`).join("\n");
    for (const wanted of [
      /^2: the name s1 is that of line 3 too/m,
      /^3: the name s1 is that of line 2 too/m,
      /^4: "not-a-mac" is not a MAC/m,
      /^4: "10.1.0.300" is not an IPv4/m,
      /^5: lab225 has no seat "C9"; its seats are A1, A2, B1/m,
      /^6: the address 10.1.0.50 is that of the machine s5 \(52:54:00:00:00:32\) too/m,
      /^6: the seat B1 of lab225 is that of the machine s5/m,
      /^7: the name s5 is that of the machine s5 \(52:54:00:00:00:32\) too/m,
      /^8: "no_name" is no host name/m,
      /^9: there is no machine called s9, and a new one needs a MAC/m,
      /^10: "01:00:5e:00:00:01" is no MAC of a single machine/m,
    ])
      t.match(told, wanted);
    await t.rejects(run(list), { code: "LIST_CONFLICTS", message: /line 2: .*and more/ });
    t.equal(inventory.all().length, 1);
    t.equal(inventory.groups().length, before, "nor is a group made");
  },
);

t.test("machines change names, addresses and seats among each other in one list", async (t) => {
  const { run, machine, store } = await room(t);
  const list = (first: string, second: string, third: string) =>
    csv(
      "name,mac,ip,seat,room",
      ...[first, second, third].map(
        (name, index) => `${name},${macOf(index + 1)},10.1.0.${name.slice(1)},A${name.slice(1)},lab225`,
      ),
    );
  await run(list("s1", "s2", "s3"));
  await run(list("s2", "s3", "s1"));
  t.match(machine("s2"), { macs: [macOf(1)], address: "10.1.0.2", seat: "A2" });
  t.match(machine("s1"), { macs: [macOf(3)], address: "10.1.0.1", seat: "A1" });
  t.equal(store.machines.findByAddress(machine("s3").address!)?.macs[0], macOf(2));
  t.equal(store.machines.findByMac(macOf(3))?.name, "s1");
  await run(csv("name,mac,ip", `s9,${macOf(1)},10.1.0.9`, `s2,${macOf(2)},10.1.0.2`));
  t.match(machine("s2"), { macs: [macOf(2)], address: "10.1.0.2" });
});

t.test("rows and columns are seats: those of the plan, or A1, A2, ... where there is none", async (t) => {
  const { run, machine, inventory, plan } = await room(t);
  await inventory.addGroup("lab225", "", "anna");
  await inventory.editGroup(
    "lab225",
    {
      plan: {
        seats: [
          ["W1", null, "W2"],
          ["W3", null, "W4"],
        ],
      },
    },
    "anna",
  );
  await run(
    csv(
      "name,mac,row,column,group",
      `s1,${macOf(1)},2,3,lab225`,
      `s2,${macOf(2)},A,1,lab225`,
      `s3,${macOf(3)},2,3,lab1`,
    ),
  );
  t.same(
    ["s1", "s2", "s3"].map((name) => machine(name).seat),
    ["W4", "W1", "B3"],
  );
  t.match(
    plan(csv("name,mac,row,column,group", `s4,${macOf(4)},1,2,lab225`, `s5,${macOf(5)},1,,lab1`)).problems,
    [
      { line: 2, problem: /no seat "A2"/ },
      { line: 3, problem: /go together/ },
    ],
  );
});

t.test("a list that fails at the commit leaves memory and database as they were", async (t) => {
  const { run, inventory, store, machine } = await room(t);
  await run(csv("name,mac", `s1,${macOf(1)}`, `s2,${macOf(2)}`));
  const s1 = machine("s1");
  await t.rejects(
    store.machines.saveAll(() => [
      { ...s1, name: "s9" },
      { ...machine("s2"), id: "m_new", name: "s3" },
    ]),
    { code: "MAC_TAKEN" },
  );
  t.same(machine("s1"), s1);
  t.equal(store.machines.findByMac(macOf(1))?.name, "s1");
  t.equal(store.machines.findByNameOrMac("s9"), undefined);
  t.same(
    inventory
      .all()
      .map(({ name }) => name)
      .sort(),
    ["s1", "s2"],
  );
  t.ok(await inventory.edit(s1.id, { name: "s9" }, "anna"), "the row is as it was too");
});

t.test("hosts of a dhcpd.conf that stand on one line are as many machines", async (t) => {
  const { run, inventory } = await room(t);
  const host = (number: number) => `host s${number} { hardware ethernet ${macOf(number)}; }`;
  await run(`${host(1)} ${host(2)}`);
  t.same(
    inventory
      .all()
      .map(({ name }) => name)
      .sort(),
    ["s1", "s2"],
  );
});

t.test("one machine five thousand times is told shortly at each line", async (t) => {
  const { plan, add } = await room(t);
  await add(1, "s1");
  const again = plan(csv("mac,serial", ...Array.from({ length: 5000 }, () => `${macOf(1)},`)));
  t.equal(again.problems.length, 5000);
  t.match(again.problems[0], { problem: /more than once: lines 2, 3, 4, 5 and 4996 more$/ });
  const alike = plan(
    csv("name,mac", ...Array.from({ length: 5000 }, (_, index) => `pc,${macOf(index + 2)}`)),
  );
  t.match(alike.problems[0], { problem: /the name pc is that of line 3, line 4, line 5, line 6 too$/ });
  t.match(alike.problems[4999], { problem: /that of line 2, line 3, line 4, line 5 too$/ });
});

t.test("a list of five thousand machines is one transaction", async (t) => {
  const { run, inventory } = await room(t);
  await run(csv("name,mac", ...Array.from({ length: 5000 }, (_, index) => `pc${index},${macOf(index + 1)}`)));
  t.equal(inventory.all().length, 5000);
});

t.test("of two imports at once that clash, the one that comes too late leaves nothing behind", async (t) => {
  const { inventory, of, settle } = await room(t);
  const lists = [1, 2].map((number) => ({
    text: csv("name,mac,group", `s1,${macOf(number)},lab${number}`),
  }));
  const done = await Promise.allSettled(lists.map((list) => inventory.lists.run(list, "anna")));
  await settle();
  t.match(done, [{ status: "fulfilled" }, { status: "rejected", reason: { code: "LIST_CONFLICTS" } }]);
  t.strictSame([...inventory.groupNames()], ["lab1"]);
  t.equal(of("group.added").length, 1);
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { nameBy, readNamingPattern } from "../../server/domain/naming-pattern.ts";
import { createBootLab } from "../support/boot-lab.ts";
import { boot } from "../support/boot-command.ts";
import { startServer } from "../support/http-fixture.ts";
import { macOf, temporaryDirectory } from "../support/samples.ts";

t.test("a pattern makes host names out of facts", (t) => {
  const name = (text: string, facts = {}, number = 7) => {
    const pattern = readNamingPattern(text);
    return typeof pattern === "string" ? pattern : nameBy(pattern, facts, number);
  };
  t.same(name("pc{n:02}"), { name: "pc07" });
  t.same(name("pc{n}", {}, 123), { name: "pc123" });
  t.same(name("Lab225-{seat}", { seat: "A1" }), { name: "lab225-a1" });
  t.same(name("{switch}-{port}", { switch: "sw1.example", port: "Gi1/0/12" }), {
    name: "sw1-example-gi1-0-12",
  });
  t.same(name("{serial}{seat}", { serial: " // " }), { missing: ["serial", "seat"] });
  for (const wrong of ["pc{n", "pc}", "pc{x}", "pc{seat:02}", "{__proto__}", "{n:0}"])
    t.type(readNamingPattern(wrong), "string", wrong);
  t.end();
});

t.test("machines are accepted with names in the order in which they were met, all or none", async (t) => {
  const lab = await createBootLab(t);
  const { inventory, clock } = lab;
  for (const number of [3, 1, 2]) {
    await inventory.meet(macOf(number), { serial: `SN-${number % 2}` });
    clock.advanceMs(1000);
  }
  const request = (pattern: string, start = 1) => ({ machines: inventory.all(), pattern, start });
  t.match(inventory.naming.plan(request("pc{n:02}")), [
    { machine: { macs: [macOf(3)] }, name: "pc01", problem: undefined },
    { machine: { macs: [macOf(1)] }, name: "pc02" },
    { machine: { macs: [macOf(2)] }, name: "pc03" },
  ]);
  t.match(inventory.naming.plan(request("{serial}-{seat}")), [{ problem: /no seat/ }, {}, {}]);
  t.match(inventory.naming.plan(request("{serial}")), [
    { name: "sn-1", problem: /2 machines/ },
    { name: "sn-1", problem: /2 machines/ },
    { name: "sn-0", problem: undefined },
  ]);
  await lab.add(9, "pc02");
  const met = inventory.all().filter(({ acceptedAt }) => acceptedAt === undefined);
  const named = { machines: met, pattern: "pc{n:02}", start: 1 };
  await t.rejects(inventory.naming.accept(named, "anna"), {
    code: "NAMES_REFUSED",
    message: /pc02 is the name of another machine/,
  });
  t.equal(lab.of("machine.accepted").length, 0);
  t.throws(() => inventory.naming.plan({ ...named, pattern: "pc" }), {
    code: "INVALID_REQUEST",
    message: /3 machines one name/,
  });
  await inventory.naming.accept({ ...named, start: 11 }, "anna");
  t.match(lab.machine("pc12"), { macs: [macOf(1)], phase: "accepted" });
  t.equal(lab.of("machine.accepted").length, 3);
  t.equal(lab.of("machine.phase").length, 3);
  const again = ["pc11", "pc12", "pc13"].map((name) => lab.machine(name));
  await inventory.naming.accept({ machines: again, pattern: "pc{n:02}", start: 12 }, "anna");
  t.equal(lab.machine("pc12").macs[0], macOf(3), "names move up among the machines themselves");
});

t.test("the command shows names before it gives them, and imports a list", async (t) => {
  const server = await startServer(t);
  for (const number of [1, 2]) await server.ask(`/boot/${macOf(number)}/boot.ipxe`, { from: number });
  const run = (...words: string[]) => boot(["--data", server.dataDir, ...words]);
  t.match(await run("machine", "accept", "--all", "--name", "pc{n}", "--dry-run"), {
    code: 0,
    out: /pc1[\s\S]*pc2[\s\S]*not?hing was accepted yet/i,
  });
  t.match(await run("machine", "accept", "--all", "--name", "pc"), { code: 1, err: /2 machines one name/ });
  t.match(await run("machine", "accept", macOf(1), "--name", "s1"), { code: 0, out: "Accepted s1.\n" });
  t.match(await run("machine", "accept"), { code: 2, err: /--all/ });
  const list = join(temporaryDirectory(t), "list.csv");
  const write = (text: string | Buffer) => writeFileSync(list, text);
  write(Buffer.from("\ufeffname;mac;room\r\nK\u00e9;52:54:00:00:00:09;lab1\r\n", "utf16le"));
  t.match(await run("machine", "import", list), {
    code: 1,
    out: /list\.csv:2: "K\u00e9" is no host name.*\n\nNothing was imported/,
  });
  write("name;mac;room\ns9;52:54:00:00:00:09;lab1\n");
  t.match(await run("machine", "import", list, "--dry-run"), {
    code: 0,
    out: /New groups: lab1\nWould import: 1 new/,
  });
  t.equal((await server.api("GET", "/machines/s9")).status, 404);
  t.match(await run("machine", "import", list), { code: 0, out: /Imported: 1 new, 0 changed/ });
  t.match((await server.api("GET", "/machines/s9")).json, { group: "lab1" });
  write(Buffer.alloc(2_000_000, 65));
  t.match(await run("machine", "import", list), { code: 2, err: /^error: \S+ has 2000000 octets/ });
  write(Buffer.from([0x6e, 0xe9]));
  t.match(await run("machine", "import", list), { code: 2, err: /not UTF-8/ });
});

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { CsvFault, readCsv } from "../../server/inventory/lists/csv.ts";
import { listFormats, maximumHosts, maximumProblems } from "../../server/inventory/lists/listed-host.ts";
import { formatOf, readList } from "../../server/inventory/lists/read-list.ts";

const fixtures = resolve(import.meta.dirname, "../fixtures/host-lists");
const fixture = (name: string) => readFileSync(join(fixtures, name), "utf8");

t.test("Debian's dhcpd and dnsmasq take the sample lists, so the samples are true", (t) => {
  const dhcpd = spawnSync("/usr/sbin/dhcpd", [
    "-t",
    "-4",
    "-cf",
    join(fixtures, "dhcpd.conf"),
    "-lf",
    "/dev/null",
  ]);
  t.equal(dhcpd.status, 0, dhcpd.stderr.toString());
  const dnsmasq = spawnSync("/usr/sbin/dnsmasq", ["--test", `--conf-file=${join(fixtures, "dnsmasq.conf")}`]);
  t.equal(dnsmasq.status, 0, dnsmasq.stderr.toString());
  t.end();
});

t.test("a list is known by its look", (t) => {
  t.equal(formatOf(fixture("room225.csv").slice(1)), "csv");
  t.equal(formatOf(fixture("dhcpd.conf")), "isc");
  t.equal(formatOf(fixture("dnsmasq.conf")), "dnsmasq");
  t.equal(formatOf(fixture("dnsmasq.hosts")), "dnsmasq");
  t.equal(formatOf("mac,name\n"), "csv");
  t.equal(formatOf("Dear all,\nsee you\n"), undefined);
  t.equal(formatOf(""), undefined);
  t.end();
});

t.test("hosts of an ISC dhcpd.conf are read in subnets and groups; strings and comments hide none", (t) => {
  const { hosts, problems, ignored } = readList(fixture("dhcpd.conf"), "isc");
  t.same(problems, []);
  t.match(hosts, [
    { line: 9, name: "s1", macs: ["52:54:00:00:00:01"], address: "10.1.0.11" },
    { line: 16, name: "s2", macs: ["52:54:00:00:00:02"], address: "10.1.0.12" },
    { line: 23, name: "s3", macs: ["52:54:00:00:00:03"], address: undefined },
    { line: 28, name: "s4", macs: ["52:54:00:00:00:04"], address: "10.1.0.14" },
  ]);
  t.equal(hosts.length, 4);
  t.equal(ignored.get("hosts with no hardware ethernet"), 1);
  t.equal(ignored.get("further addresses of a host"), 1);
  t.equal(ignored.get("filename"), 3);
  t.end();
});

t.test("hosts of dnsmasq are read with their fields in any order", (t) => {
  const { hosts, problems, ignored } = readList(fixture("dnsmasq.conf"), "dnsmasq");
  t.same(problems, []);
  t.match(hosts, [
    { line: 5, name: "s1", macs: ["52:54:00:00:00:01"], address: "10.1.0.11" },
    { line: 6, name: "s2", macs: ["52:54:00:00:00:02", "52:54:00:00:01:02"], address: "10.1.0.12" },
    { line: 7, name: undefined, macs: ["52:54:00:00:00:03"], address: "10.1.0.13" },
    { line: 8, name: "s4", macs: ["52:54:00:00:00:04"], address: "10.1.0.14" },
  ]);
  t.equal(hosts.length, 4);
  t.equal(ignored.get("hosts that dnsmasq ignores"), 1);
  t.equal(ignored.get("hosts with no MAC"), 1);
  t.equal(ignored.get("dhcp-range"), 1);
  t.match(readList(fixture("dnsmasq.hosts"), "dnsmasq").hosts, [
    { name: "s1" },
    { name: "s2", address: "10.1.0.12" },
  ]);
  t.match(readList("dhcp-host=52:54:00:00:00:*,s1\ndhcp-host=?,s2,52:54:00:00:00:01", "dnsmasq").problems, [
    { line: 1, problem: /many machines/ },
    { line: 2, problem: /"\?" is no MAC/ },
  ]);
  t.end();
});

t.test(
  "CSV of a spreadsheet is read: byte order mark, CRLF, semicolons, quotes and other words for the columns",
  (t) => {
    const { hosts, problems, ignored } = readList(fixture("room225.csv"), "csv");
    t.same(problems, []);
    t.match(hosts, [
      {
        line: 2,
        name: "PC-01.lab.example.org",
        macs: ["52-54-00-00-00-01"],
        address: "10.1.0.11",
        group: "lab225",
        seat: "A1",
        labels: { os: "alt", row: "front" },
      },
      { line: 3, macs: ["525400000002", "52:54:00:00:01:02"], seat: "a2", labels: undefined },
      { line: 5, name: "pc-03", address: undefined, serial: 'SN;"003"' },
    ]);
    t.equal(hosts.length, 3);
    t.same([...ignored], [["column Purchased", 1]]);
    t.end();
  },
);

t.test("CSV is read by RFC 4180, and each mistake has its line", (t) => {
  const records = (text: string) => [...readCsv(text, ",")].map(({ line, fields }) => [line, ...fields]);
  t.same(records('a,"b ""c"", d",e\n\n"x\ny",z'), [
    [1, "a", 'b "c", d', "e"],
    [3, "x\ny", "z"],
  ]);
  t.same(records("a,\n,b"), [
    [1, "a", ""],
    [2, "", "b"],
  ]);
  for (const [text, line] of [
    ['a,"b', 1],
    ['a\nb,"c"d', 2],
    ['a\n"b\nc",x"y', 3],
  ] as const)
    t.throws(() => records(text), Object.assign(new CsvFault(line, ""), { message: /quote/ }), text);
  t.match(readList("name,mac\ns1,52:54:00:00:00:01,extra\ns2,52:54:00:00:00:02", "csv"), {
    hosts: [{ name: "s2" }],
    problems: [{ line: 2, problem: /3 fields and the header 2/ }],
  });
  t.match(readList("name,mac,ip,address\ns1,52:54:00:00:00:01,,", "csv").problems, [
    { line: 1, problem: /two columns/ },
  ]);
  t.match(readList("what,ever\n1,2", "csv").problems, [{ line: 1, problem: /must name the columns/ }]);
  t.end();
});

t.test("a hostile file is told in a sentence and costs nothing", (t) => {
  const problemOf = (text: string, format: (typeof listFormats)[number]) => readList(text, format).problems;
  for (const format of listFormats) {
    t.match(
      problemOf(`\n${"x".repeat(1_000_000)}`, format),
      [{ line: 2, problem: /more than 4000 characters/ }],
      format,
    );
    t.match(problemOf("a\nb\0c", format), [{ line: 2, problem: /control character \(0x00\)/ }], format);
    t.match(problemOf("name,mac\u0085\n", format), [{ line: 1, problem: /0x85/ }], format);
  }
  const slow = ["dhcp-host=", " ".repeat(3900), "9".repeat(3900), "host ", "- ", '"'.repeat(3900), "#", ","];
  for (const format of listFormats)
    for (const piece of slow) {
      const text = `${piece.repeat(Math.floor(3900 / piece.length))}!\n`;
      // A reader that looks at each line again and again takes minutes for this, and the test its time limit.
      t.doesNotThrow(
        () => readList(text.repeat(Math.floor(1_000_000 / text.length)), format),
        `${format} ${piece.slice(0, 10)}`,
      );
    }
  const many = Array.from({ length: 100_000 }, (_, index) => {
    const hex = index.toString(16).padStart(6, "0");
    return `52:54:00:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}`;
  });
  const lists = {
    csv: `mac\n${many.join("\n")}`,
    isc: many.map((mac, index) => `host h${index} { hardware ethernet ${mac}; }`).join("\n"),
    dnsmasq: many.join("\n"),
  };
  for (const format of listFormats) {
    const { hosts, problems } = readList(lists[format], format);
    t.ok(hosts.length <= maximumHosts + 1, format);
    t.match(problems, [{ problem: /more than 5000 machines/ }], format);
  }
  t.match(problemOf("{".repeat(5000).replaceAll("{", "a {\n"), "isc"), [{ problem: /64 deep/ }]);
  t.match(problemOf('host a { hardware ethernet "52:54', "isc"), [
    { line: 1, problem: /quote is not closed/ },
  ]);
  t.match(problemOf("host a {\n hardware ethernet 52:54:00:00:00:01;\n", "isc"), [
    { line: 1, problem: /not closed/ },
  ]);
  t.match(problemOf("}", "isc"), [{ line: 1, problem: /closes nothing/ }]);
  t.equal(problemOf("52:54:00:00:00:01,?\n".repeat(1000), "dnsmasq").length, maximumProblems);
  const labels =
    readList("mac,labels\n52:54:00:00:00:01,__proto__=x;constructor=y", "csv").hosts[0]?.labels ?? {};
  t.same(Object.entries(labels).sort(), [
    ["__proto__", "x"],
    ["constructor", "y"],
  ]);
  t.equal(Object.getPrototypeOf(labels), Object.prototype);
  t.end();
});

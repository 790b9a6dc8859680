import t from "tap";
import { type Json, plain, startServer } from "./support/http-fixture.ts";
import { macOf } from "./support/samples.ts";

const named = (items: readonly Json[]) => items.map((item) => plain(item["name"]));

t.test("machines", async (t) => {
  const server = await startServer(t);
  const { api } = server;

  t.test("are added, read, changed and removed, by name or MAC", async (t) => {
    const made = await api("POST", "/machines", {
      name: "s1",
      macs: ["52-54-00-00-00-01", "5254.0000.000a"],
      group: "lab225",
      seat: "A1",
      labels: { room: "225" },
      address: "10.1.0.1",
    });
    t.equal(made.status, 201);
    t.match(made.json, {
      name: "s1",
      macs: [macOf(1), macOf(10)],
      group: "lab225",
      seat: "A1",
      labels: { room: "225" },
      address: "10.1.0.1",
      phase: "accepted",
      role: "discover",
      uuid: null,
      serial: null,
      arch: null,
      ramBytes: null,
      lastSeenAt: null,
    });
    t.match((await api("GET", "/groups/lab225")).json, { machines: ["s1"] }, "its group was made with it");
    for (const key of ["s1", "52:54:00:00:00:0A", "52540000000a"])
      t.equal((await api("GET", `/machines/${key}`)).text, made.text, key);
    t.match((await api("PATCH", "/machines/s1", { name: "s2", labels: {} })).json, {
      name: "s2",
      labels: {},
      seat: "A1",
    });
    t.equal((await api("GET", "/machines/s1")).status, 404);
    t.equal((await api("DELETE", "/machines/s2")).status, 204);
    t.match(await api("GET", "/machines/s2"), { status: 404, json: { code: "MACHINE_NOT_FOUND" } });
    t.equal((await api("DELETE", "/machines/s2")).status, 404);
  });
  t.test("null takes a fact away, a key that is left out leaves it", async (t) => {
    await server.add(1, "s1", { group: "lab225", seat: "A1", address: "10.1.0.1" });
    for (const key of ["group", "seat", "address"]) {
      const { status, json } = await api("PATCH", "/machines/s1", { [key]: null });
      t.match([status, json[key]], [200, null], key);
    }
    t.match((await api("PATCH", "/machines/s1", {})).json, { macs: [macOf(1)], name: "s1" });
  });
  t.test("a slip in a request is refused with the place of it, and nothing is changed", async (t) => {
    await server.add(2, "s2", { address: "10.1.0.2" });
    const before = (await api("GET", "/machines")).text;
    const slips: [string, string, unknown, RegExp][] = [
      ["POST", "/machines", { nmae: "s3", macs: [macOf(3)] }, /unknown key nmae; known are name, macs/],
      ["POST", "/machines", { name: "s3" }, /at least one MAC/],
      ["POST", "/machines", {}, /at least one MAC/],
      ["POST", "/machines", { name: "s3", macs: macOf(3) }, /macs: must be array/],
      ["POST", "/machines", { name: 3, macs: [macOf(3)] }, /name: must be string/],
      ["POST", "/machines", { name: "S 3", macs: [macOf(3)] }, /lower-case/],
      ["POST", "/machines", { name: "s3", macs: ["01:00:5e:00:00:01"] }, /is not a MAC/],
      ["POST", "/machines", { name: "s3", macs: ["hello"] }, /is not a MAC/],
      ["POST", "/machines", { name: "s3", macs: [macOf(3)], address: "10.0.0.256" }, /not an IPv4 address/],
      ["POST", "/machines", { name: "s3", macs: [macOf(3)], labels: { "a b": "c" } }, /labels/],
      ["POST", "/machines", { name: "s2", macs: [macOf(3)] }, /called s2 already/],
      ["POST", "/machines", { name: "s3", macs: [macOf(2)] }, /belongs to the machine s2/],
      ["PATCH", "/machines/s1", { address: "10.1.0.2" }, /reserved for the machine s2/],
      ["PATCH", "/machines/s1", { name: "s2" }, /called s2 already/],
      ["PATCH", "/machines/s1", { macs: [] }, /at least one MAC/],
      ["PATCH", "/machines/s1", { phase: "ready" }, /unknown key phase/],
      ["PATCH", "/machines/s1", { group: "Lab 225" }, /a name is lower-case/],
      ["POST", "/machines", [1], /must be object/],
      ["GET", "/machines?limit=0", undefined, /limit: must be >= 1/],
      ["GET", "/machines?limit=many", undefined, /limit: must be integer/],
      ["GET", "/machines?machine=s1", undefined, /unknown key machine; known are limit, cursor, machines/],
      ["GET", "/machines/s1/boots?since=1", undefined, /unknown key since/],
      ["GET", "/events?machines=s1", undefined, /unknown key machines; known are since, machine/],
      ["GET", "/roles?page=2", undefined, /unknown key page/],
    ];
    for (const [method, path, body, problem] of slips) {
      const { status, json } = await api(method as "GET", path, body);
      t.match([status, json["detail"]], [/^4/, problem], JSON.stringify(body));
    }
    t.equal((await api("GET", "/machines")).text, before);
  });
  t.test("a discovered one is accepted, with a name or without a word", async (t) => {
    for (const number of [21, 22]) await server.script(number);
    const named = await api("POST", `/machines/${macOf(21)}/accept`, { name: "s21" });
    t.match(named, { status: 200, json: { name: "s21", phase: "accepted" } });
    t.match(await api("POST", `/machines/${macOf(22)}/accept`), { status: 200, json: { phase: "accepted" } });
    t.equal((await api("POST", `/machines/${macOf(22)}/accept`, { name: "s21" })).status, 409);
  });
});

t.test("lists", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  const all = ["s1", "s01", "s2", "s10", "s9", "t1", "a1"];
  for (const [index, name] of all.entries())
    await server.add(index + 1, name, { group: index < 3 ? "left" : "right" });
  async function pages(path: string, limit: number): Promise<string[][]> {
    const found: string[][] = [];
    let cursor = "";
    do {
      const { status, items, json, text } = await api(
        "GET",
        `${path}${path.includes("?") ? "&" : "?"}limit=${limit}${cursor}`,
      );
      if (status !== 200) throw new Error(text);
      found.push(named(items));
      cursor = plain(json["next"]) === "null" ? "" : `&cursor=${encodeURIComponent(plain(json["next"]))}`;
    } while (cursor !== "");
    return found;
  }
  t.test("come in the order in which people count, each entry once, whatever the page's size", async (t) => {
    const sorted = ["a1", "s01", "s1", "s2", "s9", "s10", "t1"];
    for (const limit of [1, 2, 3, 7, 1000]) {
      const found = await pages("/machines", limit);
      t.same(found.flat(), sorted, `limit ${limit}`);
      t.ok(found.every((page) => page.length <= limit && page.length > 0));
    }
  });
  t.test("that change between two pages lose and repeat nothing else", async (t) => {
    const first = await api("GET", "/machines?limit=3");
    await api("DELETE", "/machines/s1");
    await server.add(20, "s1", { group: "left" });
    await server.add(21, "a0");
    const rest = await api("GET", `/machines?cursor=${encodeURIComponent(plain(first.json["next"]))}`);
    t.same(named(rest.items), ["s2", "s9", "s10", "t1"]);
  });
  t.test("of machines take a host set", async (t) => {
    t.same((await pages("/machines?machines=s[9-10],left,-s01", 2)).flat(), ["s1", "s2", "s9", "s10"]);
    t.same((await pages("/machines?machines=-right", 9)).flat(), ["a0", "s01", "s1", "s2"]);
    for (const set of ["nobody", "s[9-1]", "", "s[1-99999999]", "a=b", "s1,%00"])
      t.match(
        await api("GET", `/machines?machines=${encodeURIComponent(set)}`),
        { status: 400, json: { code: "INVALID_HOST_SET" } },
        set,
      );
  });
  t.test("of everything else are paged as well", async (t) => {
    const { items: roles } = await api("GET", "/roles");
    t.same((await pages("/roles", 2)).flat(), named(roles));
    t.ok(roles.length >= 5);
    t.same(await pages("/groups", 1), [["left"], ["right"]]);
    for (const version of ["1", "2", "3"]) await server.addImage(version);
    t.equal((await pages("/images", 2)).length, 2);
    for (const name of ["x", "y"]) await api("POST", "/tokens", { name, scope: "viewer" });
    t.same(await pages("/tokens", 2), [["admin", "x"], ["y"]]);
  });
});

t.test("assignments", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  await server.addImage();
  for (const number of [1, 2, 3])
    await server.add(number, `s${number}`, number < 3 ? { group: "lab225" } : {});
  const roleOf = async (name: string) => (await api("GET", `/machines/${name}`)).json["role"];

  t.test("a dry run tells before, after and why, and changes nothing", async (t) => {
    const events = (await api("GET", "/events")).text;
    const { json } = await server.assign("lab225", "rescue", { dryRun: true });
    t.match(json, {
      dryRun: true,
      plan: [
        { machine: "s1", before: "discover", after: "rescue", changes: true, why: /admin/ },
        { machine: "s2" },
      ],
    });
    t.equal(json["operation"], undefined);
    t.equal(await roleOf("s1"), "discover");
    t.equal((await api("GET", "/events")).text, events);
  });
  t.test("to a host set answer the plan and an operation that can be looked up", async (t) => {
    const { status, json } = await server.assign("s[1-2],-s2", "worker");
    t.match(
      [status, json],
      [200, { dryRun: false, plan: [{ machine: "s1", before: "discover", after: "worker" }] }],
    );
    t.match((await api("GET", `/operations/${plain(json["operation"])}`)).json, {
      kind: "assign",
      state: "done",
      machines: [{ machine: "s1", steps: [{ name: "assign", state: "done", message: "worker" }] }],
    });
    t.match((await server.assign("s1", "worker")).json["plan"], [{ changes: false }]);
    t.equal((await api("GET", "/machines/s1")).json["phase"], "assigned");
  });
  t.test("explain says which one counts and what would count without it", async (t) => {
    await api("PUT", "/groups/lab225/role", { role: "rescue" });
    await api("PUT", "/machines/s1/role", { role: "local", mode: "once" });
    t.match((await api("GET", "/machines/s1/explain")).json, {
      role: "local",
      source: "once",
      why: /assigned by admin on .* UTC, for one boot/,
      instead: [
        { role: "worker", source: "machine" },
        { role: "rescue", source: "group" },
        { role: "discover", source: "unknown-policy" },
      ],
    });
    t.match((await api("GET", "/machines/s2/explain")).json, {
      role: "rescue",
      source: "group",
      why: /its group lab225/,
    });
    t.match((await server.assign("s1", "master", { dryRun: true })).json["plan"], [
      { after: "local", why: /then master/ },
    ]);
  });
  t.test("are taken back one by one, by host set and by group", async (t) => {
    t.equal((await api("DELETE", "/machines/s1/role")).status, 204);
    t.equal(await roleOf("s1"), "rescue");
    await server.assign("s1,s3", "worker");
    t.same((await api("DELETE", "/assignments", { machines: "all" })).json, { released: ["s1", "s3"] });
    t.equal((await api("DELETE", "/groups/lab225/role")).status, 204);
    t.equal(await roleOf("s1"), "discover");
    t.match(await api("DELETE", "/groups/nobody/role"), { status: 404, json: { code: "GROUP_NOT_FOUND" } });
    t.equal((await api("GET", "/machines/s1")).json["phase"], "accepted");
  });
  t.test("that could not be booted are refused when they are made, all or none of a host set", async (t) => {
    const faults: [object, RegExp][] = [
      [{ role: "nothing" }, /there is no role nothing; there are: .*worker/],
      [{ role: "worker", params: { sshKey: [] } }, /sshKey.*unknown; this role has: sshKeys/],
      [{ role: "worker", params: { sshKeys: "one" } }, /sshKeys.*must be/],
      [{ url: "file:///etc/passwd" }, /not an http, https or tftp address/],
      [{ url: "http://a/x.ipxe\nshell" }, /not an http/],
      [{ url: "http://a/${x}" }, /not an http/],
      [{ role: "worker", url: "http://a/x" }, /one of the two/],
      [{}, /one of the two/],
      [{ role: "worker", mode: "twice" }, /mode: must be one of always, once/],
      [{ role: "worker", dryRun: "false" }, /dryRun: must be boolean/],
      [{ role: "worker", moed: "once" }, /unknown key moed/],
      [{ role: "worker", machines: "s1,nobody" }, /no machine or group is called nobody/],
    ];
    for (const [body, problem] of faults) {
      const { status, json } = await api("POST", "/assignments", { machines: "s1", ...body });
      t.match([status, json["detail"]], [/^4/, problem], JSON.stringify(body));
    }
    t.same(server.store.assignments.all(), []);
  });
  t.test("of a script of one's own chain to it, and come back when it can't be loaded", async (t) => {
    await api("PUT", "/machines/s3/role", { url: "http://10.0.0.1/my.ipxe?x=1&y=2" });
    t.equal(await roleOf("s3"), "http://10.0.0.1/my.ipxe?x=1&y=2");
    t.match(
      (await server.script(3)).text,
      /\nchain --replace --autofree http:\/\/10\.0\.0\.1\/my\.ipxe\?x=1&y=2 \|\| goto failed\n:again\n[\s\S]*\nchain --replace --autofree http:\/\/127/,
    );
  });
});

t.test("previews and boots", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  await server.addImage();
  await server.add(1, "s1");
  const key = "ssh-ed25519 AAAA anna@example";
  await server.assign("s1", "worker", { params: { sshKeys: [key] } });

  t.test("a preview shows each document with the claim masked", async (t) => {
    const claim = await server.claim(1);
    for (const [kind, content] of [
      ["ipxe", /^#!ipxe\n/],
      ["user-data", /anna@example/],
      ["meta-data", /"s1"/],
      ["vendor-data", /\*{8}/],
      ["network-config", /52:54/],
    ] as const) {
      const { status, text, headers } = await api("GET", `/machines/s1/preview/${kind}`);
      t.equal(status, 200, kind);
      t.match(text, content);
      t.notOk(text.includes(claim), kind);
      t.match(headers["content-type"], /^text\/plain/, "a browser runs nothing of it");
    }
    t.equal(
      (await server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 1 })).status,
      200,
      "the claim still holds",
    );
    t.match(await api("GET", "/machines/s1/preview/ignition"), {
      status: 400,
      json: { detail: /has no ignition/ },
    });
    t.match(await api("GET", "/machines/s1/preview/..%2f"), {
      status: 400,
      json: { detail: /there are ipxe, user-data/ },
    });
  });
  t.test("a boot is a timeline, in the list and by itself", async (t) => {
    const claim = await server.claim(1);
    await server.ask(
      `/assets/${server.store.images.findCurrent("debian-node")?.files.kernel.sha256}/vmlinuz`,
      { from: 1 },
    );
    await server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 1 });
    await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 1 });
    const [boot] = (await api("GET", "/machines/s1/boots")).items;
    t.match(boot, { machine: "s1", mac: macOf(1), outcome: "ready", target: "worker", verdict: null });
    t.same((await api("GET", `/boots/${plain(boot?.["id"])}`)).json, boot);
    const steps = boot?.["steps"] as unknown as Json[];
    t.same(steps.map((step) => step["step"]).slice(-4), ["script", "kernel", "config", "callback"]);
    t.ok(steps.slice(0, -1).every((step) => Number(step["serverMs"]) >= 0));
    const phases = boot?.["phases"] as unknown as Json[];
    t.same(
      phases.slice(1).map(({ phase }) => phase),
      ["netbooting", "booting", "configuring", "ready"],
    );
    t.match(await api("GET", "/boots/b_none"), { status: 404, json: { code: "BOOT_NOT_FOUND" } });
  });
  t.test("boots are paged, newest first, and a cursor that is none is refused", async (t) => {
    for (let power = 0; power < 3; power++) {
      const claim = await server.claim(1);
      await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 1 });
    }
    const ids: unknown[] = [];
    let next = "";
    do {
      const { items, json } = await api("GET", `/machines/s1/boots?limit=2${next}`);
      ids.push(...items.map((boot) => boot["id"]));
      next = plain(json["next"]) === "null" ? "" : `&cursor=${plain(json["next"])}`;
    } while (next !== "");
    t.same(
      ids,
      (await api("GET", "/machines/s1/boots")).items.map((boot) => boot["id"]),
    );
    t.equal(new Set(ids).size, ids.length);
    t.equal((await api("GET", "/machines/s1/boots?cursor=yesterday")).status, 400);
  });
  t.test("images: what is booted stays, what was removed is gone with its content", async (t) => {
    const { kernel } = await server.addImage("2");
    t.same(
      (await api("GET", "/images")).items.map((image) => [image["version"], image["current"]]),
      [
        ["1", false],
        ["2", true],
      ],
    );
    await server.claim(1);
    t.match(await api("DELETE", "/images/debian-node?version=2"), {
      status: 409,
      json: { code: "IMAGE_IN_USE" },
    });
    await server.addImage("1", "other");
    t.equal((await api("DELETE", "/images/other")).status, 204, "nobody boots this one");
    const claim = await server.claim(1);
    await server.ask(`/callback/${claim}/joined`, { method: "POST", from: 1 });
    t.equal((await api("DELETE", "/images/debian-node?version=2")).status, 204);
    t.equal((await server.ask(`/assets/${kernel}/vmlinuz`)).status, 404);
    t.match((await api("GET", "/images")).items, [{ version: "1", current: true }]);
    t.match(await api("DELETE", "/images/debian-node?version=2"), {
      status: 404,
      json: { code: "IMAGE_NOT_FOUND" },
    });
    const file = { name: "vmlinuz", sha256: kernel, sizeBytes: 1 };
    const lost = { name: "x", version: "1", arch: "x86_64", files: { kernel: file, initrd: file } };
    t.match(await api("POST", "/images/import", lost), { status: 404, json: { code: "ASSET_NOT_FOUND" } });
  });
});

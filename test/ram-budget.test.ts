import t from "tap";
import {
  ramAfterReport,
  ramNeed,
  ramOfMemoryDevices,
  ramOfMemTotal,
  ramOfMemsize,
  type RoleOffer,
  smallerRole,
} from "../server/domain/ram-budget.ts";
import type { Role } from "../server/domain/role.ts";
import { plain, startServer } from "./support/http-fixture.ts";
import { sampleImage } from "./support/samples.ts";

const mebibyte = 1024 ** 2;
const image = (rootfs: number, initrd: number) =>
  sampleImage("1", {
    files: {
      kernel: { name: "k", sha256: "a", sizeBytes: 8 * mebibyte },
      initrd: { name: "i", sha256: "b", sizeBytes: initrd * mebibyte },
      rootfs: { name: "r", sha256: "c", sizeBytes: rootfs * mebibyte },
    },
  });

t.test("the RAM that a role needs is what it says, or what its image takes at the least", (t) => {
  const role = (mebibytes: number | undefined) => ({
    minimumRamBytes: mebibytes === undefined ? undefined : mebibytes * mebibyte,
  });
  t.same(ramNeed(role(1024), image(115, 11)), { bytes: 1024 * mebibyte, because: "role" });
  t.same(ramNeed(role(256), image(115, 11)), { bytes: (115 + 22 + 256) * mebibyte, because: "image" });
  t.same(ramNeed(role(undefined), image(3000, 80)), { bytes: 3416 * mebibyte, because: "image" });
  t.same(ramNeed(role(undefined), undefined), { bytes: 0, because: "role" });
  const { kernel } = image(1, 1).files;
  t.same(
    ramNeed(role(undefined), { files: { kernel } }),
    { bytes: 0, because: "role" },
    "a memory test runs anywhere",
  );
  t.end();
});

t.test("of the roles that fit the one that needs most is offered", (t) => {
  const offer = (name: string, mebibytes: number, facts: Partial<Role> = {}): RoleOffer => ({
    role: { name, boot: "image", reports: true, minimumRamBytes: mebibytes * mebibyte, ...facts } as Role,
    image: image(1, 1),
  });
  const offers = [
    offer("small", 512),
    offer("middle", 900),
    offer("large", 4096),
    offer("waits", 950, { boot: "wait" }),
    offer("memtest", 1000, { reports: false }),
    { ...offer("without-image", 1000), image: undefined },
  ];
  t.equal(smallerRole(offers, 1024 * mebibyte), "middle");
  t.equal(smallerRole(offers, 600 * mebibyte), "small");
  t.equal(smallerRole(offers, 100 * mebibyte), undefined);
  t.end();
});

t.test("RAM by SMBIOS, DMTF DSP0134 s.7.18: Size and Extended Size of each memory device", (t) => {
  const cases: [string, string, number | undefined][] = [
    ["one device of 4096 MiB", "0010:00000000,:,:", 4096],
    ["two of 8 GiB, and an empty slot between", "0020:00000000,0000:00000000,0020:00000000", 16_384],
    ["32 GiB and more stand in Extended Size", "ff7f:00000100,ff7f:00000100", 131_072],
    ["in KiB where the top bit is set", "0080:,0084:,0040:00000000", 16_385],
    ["SMBIOS before 2.7 has no Extended Size", "0010:,:", 4096],
    ["an older SMBIOS without any size", ":,:", undefined],
    ["nothing", "", undefined],
    ["unknown to the firmware", "0010:00000000,ffff:00000000", undefined],
    ["Extended Size is missing", "ff7f:", undefined],
    ["what a hostile machine sends", "zz:,\u0000", undefined],
    ["more than there is", `${"ff7f:ffffff7f,".repeat(16)}:`, undefined],
    ["next to nothing", "0100:", undefined],
  ];
  for (const [what, text, mebibytes] of cases)
    t.equal(ramOfMemoryDevices(text), mebibytes === undefined ? undefined : mebibytes * mebibyte, what);
  t.equal(ramOfMemsize("2048"), 2048 * mebibyte);
  for (const text of ["", "0", "-5", "2048x", "99999999999"]) t.equal(ramOfMemsize(text), undefined, text);
  t.end();
});

t.test("RAM by the MemTotal of a booted system is what is built in, not the little less that it has", (t) => {
  const cases: [kibibytes: string, mebibytes: number | undefined][] = [
    ["1496036", 1536],
    ["469000", 512],
    ["987136", 1024],
    ["3905636", 4096],
    ["16303184", 16_384],
    ["", undefined],
    ["0", undefined],
    ["-1", undefined],
    ["1e9", undefined],
    ["4000", undefined],
    ["99999999999999", undefined],
  ];
  for (const [text, mebibytes] of cases)
    t.equal(ramOfMemTotal(text), mebibytes === undefined ? undefined : mebibytes * mebibyte, text);
  t.equal(ramAfterReport(undefined, 4), 4);
  t.equal(ramAfterReport(8, 7), 8, "firmware knows it better");
  t.equal(ramAfterReport(8, 16), 16, "memory was added");
  t.equal(ramAfterReport(8, 4), 4, "or taken out");
  t.end();
});

const roles = {
  "big/role.yaml": "description: needs much\nboot: image\nimage: debian-node\nminimumRam: 4 GiB\n",
  "small/role.yaml": "description: needs little\nboot: image\nimage: debian-node\nminimumRam: 512 MiB\n",
};

t.test("a machine with too little RAM is told so on its screen before it loads anything", async (t) => {
  const server = await startServer(t, { roles });
  await server.addImage();
  for (const number of [1, 2, 3, 4]) await server.add(number, `s${number}`, { group: "lab1" });
  await server.assign("s[1-4]", "big");
  const has = (number: number, hex: string) => server.script(number, { query: `?dimms=${hex}:00000000,:,:` });

  t.test("with its code, what it has and needs, and a smaller role", async (t) => {
    const { text } = await has(1, "0003");
    t.match(text, /echo Rollcall: MACHINE_TOO_SMALL/);
    t.match(text, /s1 has 768 MiB of RAM, and the role big needs 4096 MiB/);
    t.match(text, /The role small needs less: 'boot s1 small'/);
    t.notMatch(text, /\/assets\//);
    const [event] = (await server.api("GET", "/events?limit=1000")).items
      .filter((one) => plain(one["type"]) === "script.failed")
      .slice(-1);
    t.match(event, { level: "warning", machine: "s1", data: { code: "MACHINE_TOO_SMALL" } });
    t.match((await server.api("GET", "/machines/s1")).json, { ramBytes: 768 * mebibyte });
  });
  t.test("and boots when it has enough, or when nobody knows what it has", async (t) => {
    t.match((await has(2, "0010")).text, /^kernel /m);
    t.match((await server.script(3)).text, /^kernel /m);
    t.match((await server.script(3, { query: "?memsize=512" })).text, /MACHINE_TOO_SMALL/);
  });
  t.test("unless a person says that it may try: of the machine, its group or the assignment", async (t) => {
    const isRefused = async () => /MACHINE_TOO_SMALL/.test((await has(1, "0003")).text);
    await server.api("PATCH", "/machines/s1", { ramCheck: "ignore" });
    t.equal(await isRefused(), false, "machine");
    await server.api("PATCH", "/machines/s1", { ramCheck: null });
    t.equal(await isRefused(), true);
    await server.api("PATCH", "/groups/lab1", { ramCheck: "ignore" });
    t.equal(await isRefused(), false, "group");
    await server.api("PATCH", "/machines/s1", { ramCheck: "enforce" });
    t.equal(await isRefused(), true, "the machine goes before its group");
    await server.assign("s1", "big", { ramCheck: "ignore" });
    t.equal(await isRefused(), false, "assignment");
    await server.assign("s1", "small");
    t.equal(await isRefused(), false, "the smaller role");
  });
});

t.test(
  "what a booted system says of its RAM counts at the next boot, where firmware says nothing",
  async (t) => {
    const server = await startServer(t, { roles });
    await server.addImage();
    await server.add(1, "s1");
    await server.assign("s1", "big");
    const claim = await server.claim(1);
    const report = (ramKiB: string) =>
      server.ask(`/callback/${claim}/phase`, {
        method: "POST",
        from: 1,
        body: `phase=booting&step=network&ramKiB=${ramKiB}`,
        headers: { "content-type": "application/x-www-form-urlencoded" },
      });
    const known = async () => {
      await server.store.probe();
      return (await server.api("GET", "/machines/s1")).json["ramBytes"];
    };
    t.equal((await report("987136")).status, 204);
    t.equal(await known(), 1024 * mebibyte);
    t.match((await server.script(1)).text, /s1 has 1024 MiB of RAM, and the role big needs 4096 MiB/);
    t.match((await server.grub(1)).text, /MACHINE_TOO_SMALL/, "GRUB, which says nothing of it, is told too");
    for (const wild of ["", "x", "1", "9".repeat(20)]) {
      t.equal((await report(wild)).status, 204);
      t.equal(await known(), 1024 * mebibyte, "what no machine has is not believed");
    }
  },
);

t.test(
  "a boot whose system never calls back is over when firmware has its last file, and so is its assignment",
  async (t) => {
    const server = await startServer(t, { roles });
    const kernel = await server.put("a memory test");
    const file = { name: "memtest.bin", sha256: kernel, sizeBytes: 13 };
    await server.addImage();
    await server.api("POST", "/images/import", {
      name: "memtest",
      version: "1",
      arch: "x86_64",
      files: { kernel: file },
    });
    await server.add(1, "s1");
    await server.assign("s1", "worker");
    await server.assign("s1", "memtest", { mode: "once" });
    const { text } = await server.script(1);
    t.match(
      text,
      /^kernel \S+ console=ttyS0,115200 \|\| goto failed\nboot /m,
      "no initrd, and none of our arguments",
    );
    await server.script(1);
    t.match((await server.api("GET", "/machines/s1/boots")).items, [
      { outcome: "running", target: "memtest" },
    ]);
    await server.ask(`/assets/${kernel}/memtest.bin`, { from: 1 });
    for (;;) {
      const [boot] = (await server.api("GET", "/machines/s1/boots")).items;
      if (plain(boot?.["outcome"]) === "running") continue;
      t.match(boot, { outcome: "local", target: "memtest" });
      break;
    }
    t.match((await server.script(1)).text, /role worker/, "then it boots what it always boots");
  },
);

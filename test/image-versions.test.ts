import { readdirSync } from "node:fs";
import { Readable } from "node:stream";
import fc from "fast-check";
import t from "tap";
import type { Clock } from "../server/domain/capabilities.ts";
import { systemClock } from "../server/platform/clock.ts";
import { orphanGraceMs, planRetention, type RetentionFacts } from "../server/domain/asset-retention.ts";
import { filesOf, type Image, previousVersion } from "../server/domain/image.ts";
import { plain, sha256Of, startServer, type TestServer } from "./support/http-fixture.ts";
import { sampleImage, sampleTime } from "./support/samples.ts";

const digestOf = (name: string) => sha256Of(name);
const fileOf = (name: string, sizeBytes = 10) => ({ name, sha256: digestOf(name), sizeBytes });
/** A version with a kernel of its own, and an initrd that all versions share. */
const version = (number: number, facts: Partial<Image> = {}): Image =>
  sampleImage(String(number), {
    files: { kernel: fileOf(`kernel ${number}`), initrd: fileOf("initrd") },
    addedAt: sampleTime + number,
    currentSince: sampleTime + number,
    isCurrent: false,
    ...facts,
  });
const contentsOf = (images: readonly Image[], changedAt = sampleTime) =>
  [...new Map(images.flatMap(filesOf).map((file) => [file.sha256, file])).values()].map(
    ({ sha256, sizeBytes }) => ({
      sha256,
      sizeBytes,
      changedAt,
    }),
  );
const facts = (images: readonly Image[], more: Partial<RetentionFacts> = {}): RetentionFacts => ({
  contents: contentsOf(images),
  images,
  held: new Set(),
  now: sampleTime + 2 * orphanGraceMs,
  ...more,
});
const gone = (plan: { versions: readonly Image[] }) => plan.versions.map((image) => image.version);

t.test("what may go of the assets", (t) => {
  const images = [version(1), version(2), version(3), version(4, { isCurrent: true })];
  const rules = { maxBytes: 1000, keepVersions: 1 };
  t.same(gone(planRetention(facts(images), rules)), [], "within the limit all versions stay");
  t.same(
    gone(planRetention(facts(images), { ...rules, maxBytes: 45 })),
    ["1"],
    "over it the oldest goes first",
  );
  t.match(planRetention(facts(images), { ...rules, maxBytes: 45 }), { keptBytes: 40, overBytes: 0 });
  t.same(
    gone(planRetention(facts(images), { ...rules, maxBytes: 0 })),
    ["1", "2", "3"],
    "the current one never goes",
  );
  t.equal(
    planRetention(facts(images), { ...rules, maxBytes: 0 }).overBytes,
    20,
    "what stays all the same is told",
  );
  t.same(gone(planRetention(facts(images), { maxBytes: 0, keepVersions: 3 })), ["1"], "nor do the last ones");
  const held = new Set(Object.values(version(1).files).map(({ sha256 }) => sha256));
  t.same(
    gone(planRetention(facts(images, { held }), { ...rules, maxBytes: 0 })),
    ["2", "3"],
    "nor what a machine loads",
  );
  // As when a version is uploaded that has the kernel of an old one.
  const shared = new Set([digestOf("kernel 1")]);
  const plan = planRetention(facts(images, { held: shared }), { ...rules, maxBytes: 0 });
  t.same(gone(plan), ["1", "2", "3"], "one file of a version does not keep all of it");
  t.equal(plan.keptBytes, version(4).files.kernel.sizeBytes + 20, "but itself it stays");
  const back = [version(1, { currentSince: sampleTime + 9 }), version(2), version(3, { isCurrent: true })];
  t.same(
    gone(planRetention(facts(back), { ...rules, maxBytes: 35 })),
    ["2"],
    "a version that was used of late is no old one",
  );
  t.end();
});

t.test("content that no image names goes after an hour, and what is being loaded or uploaded stays", (t) => {
  const rules = { maxBytes: 1000, keepVersions: 2 };
  const old = { sha256: digestOf("old"), sizeBytes: 5, changedAt: sampleTime };
  const young = { ...old, sha256: digestOf("young"), changedAt: sampleTime + 2 * orphanGraceMs - 1 };
  const loaded = { ...old, sha256: digestOf("loaded") };
  const images = [version(1, { isCurrent: true })];
  const contents = [...contentsOf(images), old, young, loaded];
  const plan = planRetention(facts(images, { contents, held: new Set([loaded.sha256]) }), rules);
  t.same(plan.orphans, [old]);
  t.equal(plan.keptBytes, 30);
  t.end();
});

t.test("the way back leads to the version that was booted before", (t) => {
  const images = [
    version(1, { currentSince: sampleTime + 5 }),
    version(2, { isCurrent: true }),
    version(3, { currentSince: undefined }),
  ];
  t.equal(previousVersion(images, "debian-node")?.version, "1");
  t.equal(previousVersion([version(3, { currentSince: undefined })], "debian-node"), undefined);
  t.end();
});

const roles = {
  "told/role.yaml":
    "description: tells its image\nboot: image\nimage: debian-node\ntemplates:\n  user-data: u.hbs\n",
  "told/u.hbs": "#cloud-config\nversion: {{image.version}}\n",
};
const currentOf = async (server: TestServer) =>
  (await server.api("GET", "/images")).items.find((image) => image["current"])?.["version"];

t.test("the version that machines boot", async (t) => {
  const server = await startServer(t, { roles });
  const { api } = server;
  await server.addImage("1");
  await server.addImage("2");
  await server.add(1, "s1");
  await server.assign("s1", "told");
  const claim = await server.claim(1);

  t.test("is switched in one step, gone back to, and forward again", async (t) => {
    t.match(await api("PUT", "/images/debian-node/current", { version: "1" }), {
      status: 200,
      json: { current: true },
    });
    t.equal(await currentOf(server), "1");
    t.match((await api("POST", "/images/debian-node/rollback", {})).json, { version: "2" });
    t.match((await api("POST", "/images/debian-node/rollback", {})).json, { version: "1" });
    t.match(await api("PUT", "/images/debian-node/current", { version: "9" }), {
      status: 404,
      json: { code: "IMAGE_NOT_FOUND" },
    });
    t.match((await api("POST", "/images/nobody/rollback", {})).json, { code: "IMAGE_NOT_FOUND" });
    t.match((await api("DELETE", "/images/debian-node?version=9")).json, {
      detail: /no image debian-node 9 in/,
    });
    await server.addImage("1", "alone");
    t.match((await api("POST", "/images/alone/rollback", {})).json, { code: "NO_PREVIOUS_VERSION" });
    const types = (await api("GET", "/events?limit=1000")).items.map((event) => event["type"]);
    t.equal(types.filter((type) => plain(type) === "image.switched").length, 3);
  });
  t.test("is the former one to a machine in the middle of its boot, in its documents too", async (t) => {
    const config = () => server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 1 });
    t.match((await config()).text, /version: "2"/);
    await server.stop();
    const again = await startServer(t, { roles, dataDir: server.dataDir });
    t.match(
      (await again.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: 1 })).text,
      /version: "2"/,
      "after the server's restart as well",
    );
    t.match((await again.script(1)).text, /image debian-node 1/, "its next script has the new one");
  });
});

t.test("IMAGE_IN_USE names every version in use and who boots it; the others can be removed", async (t) => {
  const server = await startServer(t);
  const { api } = server;
  for (const number of [1, 2, 3]) await server.add(number, `s${number}`);
  await server.addImage("1");
  await server.assign("s[1-3]", "worker");
  await server.claim(1);
  await server.claim(2);
  await server.addImage("2");
  await server.claim(3);
  await server.addImage("3");
  t.match(await api("DELETE", "/images/debian-node"), {
    status: 409,
    json: {
      code: "IMAGE_IN_USE",
      detail: "machines are booting the image debian-node: version 1 by s1, s2; version 2 by s3",
    },
  });
  t.match((await api("DELETE", "/images/debian-node?version=2")).json, { detail: /version 2 by s3$/ });
  t.equal((await api("DELETE", "/images/debian-node?version=3")).status, 204);
});

t.test(
  "the last version of an image that roles boot goes only by force; of the others each may go",
  async (t) => {
    const server = await startServer(t, { roles });
    const { api } = server;
    await server.addImage("1");
    await server.addImage("2");
    await server.addImage("1", "alone");
    for (const number of [1, 2, 3]) await server.add(number, `s${number}`);
    await server.assign("s[1-2]", "told");
    const refused = {
      status: 409,
      json: {
        code: "IMAGE_NEEDED",
        detail: /image debian-node .*rescue, told, worker.*: the role of 2 machines$/,
      },
    };
    t.match(await api("DELETE", "/images/debian-node"), refused);
    t.equal((await api("DELETE", "/images/debian-node?version=2")).status, 204);
    t.match(await api("DELETE", "/images/debian-node?version=1"), refused);
    t.equal((await api("DELETE", "/images/alone")).status, 204, "no role boots this one");
    t.equal((await api("DELETE", "/images/debian-node?force=true")).status, 204);
    t.same(server.store.images.all(), []);
  },
);

t.test("a version that is put beside the others is not booted until it is chosen", async (t) => {
  const server = await startServer(t);
  const { kernel, initrd } = await server.addImage("1");
  const files = {
    kernel: { name: "k", sha256: kernel, sizeBytes: "vmlinuz of debian-node 1".length },
    initrd: { name: "i", sha256: initrd, sizeBytes: "initrd.img of debian-node 1".length },
  };
  const body = { name: "debian-node", version: "2", arch: "x86_64", files, current: false };
  t.match(await server.api("POST", "/images/import", body), { status: 201, json: { current: false } });
  t.equal(await currentOf(server), "1");
  await server.api("POST", "/images/import", { ...body, version: "1" });
  t.equal(await currentOf(server), "1", "the current one stays so when it comes again");
});

const blobsOf = (server: TestServer) =>
  readdirSync(`${server.blobs}/sha256`).flatMap((prefix) => readdirSync(`${server.blobs}/sha256/${prefix}`));

t.test(
  "over the limit old versions give way to an upload; what is needed does not, and the upload is refused",
  async (t) => {
    const server = await startServer(t, { settings: { "assets.maxBytes": 250, "assets.keepVersions": 2 } });
    for (const number of [1, 2, 3, 4]) await server.addImage(String(number));
    const versions = async () =>
      (await server.api("GET", "/images")).items.map((image) => plain(image["version"]));
    t.same(await versions(), ["2", "3", "4"], "four versions of 81 octets are too much");
    t.equal(blobsOf(server).length, 9);
    const dry = await server.api("POST", "/assets/gc", { dryRun: true });
    t.match(dry.json, { versions: [], contents: [], maxBytes: 250, overBytes: 0 });
    await t.rejects(server.put("x".repeat(180)), { message: /ASSET_BUDGET_EXCEEDED/ });
    const types = (await server.api("GET", "/events?limit=1000")).items.map((event) => event["type"]);
    t.ok(types.some((type) => plain(type) === "image.removed"));
  },
);

t.test("an upload without a length is refused, since it can't be weighed against the limit", async (t) => {
  const server = await startServer(t, { settings: { "assets.maxBytes": 250 } });
  const content = Buffer.alloc(1000);
  const answer = await server.ask(`/api/v1/contents/${sha256Of(content)}`, {
    method: "PUT",
    body: Readable.from([content]),
    token: server.adminToken,
  });
  t.match([answer.status, answer.json], [400, { code: "UPLOAD_REJECTED" }]);
  t.equal((await server.ask(`/assets/${sha256Of(content)}/file`)).status, 404);
});

t.test(
  "an image of which a size is not that of its content is refused: machines would refuse it",
  async (t) => {
    const server = await startServer(t);
    const kernel = { name: "vmlinuz", sha256: await server.put("kernel"), sizeBytes: 7 };
    const image = { name: "kiosk", version: "1", arch: "x86_64", files: { kernel } };
    const answer = await server.api("POST", "/images/import", image);
    t.match([answer.status, answer.json], [400, { code: "IMAGE_INVALID", detail: /6/ }]);
  },
);

t.test(
  "whatever is uploaded, switched, removed and collected meanwhile: a boot under way finds every file of its script",
  async (t) => {
    let offsetMs = 0;
    const clock: Clock = {
      ...systemClock,
      now: () => systemClock.now() + offsetMs,
      monotonicMs: () => systemClock.monotonicMs() + offsetMs,
    };
    const settings = { "assets.maxBytes": 420, "assets.keepVersions": 1 };
    const server = await startServer(t, { clock, settings });
    const machines = [1, 2, 3, 4];
    for (const number of machines) await server.add(number, `s${number}`);
    await server.addImage("0");
    await server.assign("s[1-4]", "worker");
    let made = 0;

    interface Underway {
      readonly paths: readonly string[];
      readonly claim: string;
    }
    const underway = new Map<number, Underway>();
    const actions: Readonly<Record<string, (number: number) => Promise<void>>> = {
      async script(number) {
        const { text } = await server.script(number);
        const claim = /\/callback\/([a-z0-9]+)/.exec(text)?.[1];
        if (!claim) throw new Error(`no boot for ${number}:\n${text}`);
        const paths = [...text.matchAll(/\/assets\/[0-9a-f]{64}\/[^ \n]+/g)].map(([path]) => path);
        if (paths.length !== 3) throw new Error(`the script has not three files:\n${text}`);
        underway.set(number, { paths, claim });
      },
      async load(number) {
        const boot = underway.get(number);
        if (!boot) return;
        for (const path of boot.paths) {
          const answer = await server.ask(path, { from: number });
          const sha256 = /[0-9a-f]{64}/.exec(path)?.[0];
          if (answer.status !== 200 || sha256Of(answer.bytes) !== sha256)
            throw new Error(`${path}: ${answer.status} ${answer.text.slice(0, 200)}`);
        }
      },
      async joined(number) {
        const boot = underway.get(number);
        underway.delete(number);
        if (boot) await server.ask(`/callback/${boot.claim}/joined`, { method: "POST", from: number });
      },
      // Where everything is in use there is no room for another version, which is as it should be.
      upload: () =>
        server.addImage(String(++made)).then(
          () => undefined,
          () => undefined,
        ),
      async switch(number) {
        const { items } = await server.api("GET", "/images");
        const chosen = items[number % Math.max(1, items.length)];
        if (chosen) await server.api("PUT", "/images/debian-node/current", { version: chosen["version"] });
      },
      rollback: () => server.api("POST", "/images/debian-node/rollback", {}).then(() => undefined),
      async remove(number) {
        const { items } = await server.api("GET", "/images");
        const old = items.filter((image) => !image["current"]).at(number);
        if (old) await server.api("DELETE", `/images/debian-node?version=${plain(old["version"])}`);
      },
      async collect() {
        await server.api("POST", "/assets/gc", {});
      },
    };
    // A machine does one thing after another; machines, people and the collector do theirs at the same time.
    const ofMachine = fc.array(fc.constantFrom("script", "load", "load", "joined"), {
      minLength: 3,
      maxLength: 8,
    });
    const ofPeople = fc.array(
      fc.tuple(
        fc.constantFrom("upload", "upload", "switch", "rollback", "remove", "collect", "collect"),
        fc.nat(3),
      ),
      { minLength: 4, maxLength: 10 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(ofMachine, ofMachine, ofMachine, ofMachine),
        ofPeople,
        ofPeople,
        async (boots, some, others) => {
          // What refused uploads of the run before left behind is old by now.
          for (const number of machines) await actions["joined"]?.(number);
          offsetMs += 2 * orphanGraceMs;
          await actions["collect"]?.(0);
          const inTurn = async (steps: readonly (readonly [string, number])[]) => {
            for (const [action, number] of steps) await actions[action]?.(number);
          };
          await Promise.all([
            ...boots.map((steps, index) => inTurn(steps.map((step) => [step, machines[index] ?? 1]))),
            inTurn(some),
            inTurn(others),
          ]);
          for (const number of machines) await actions["load"]?.(number);
        },
      ),
      { numRuns: 15 },
    );
    const events = (await server.api("GET", "/events?limit=1000")).items;
    const gaveWay = events.filter((event) => /gave way/.test(plain(event["message"]))).length;
    t.ok(made > 20 && gaveWay > 5, `${made} uploads, ${gaveWay} versions gave way`);
    for (const number of machines) await actions["joined"]?.(number);
    offsetMs += 2 * orphanGraceMs;
    await actions["collect"]?.(0);
    const { json } = await server.api("POST", "/assets/gc", { dryRun: true });
    t.equal(Number(json["overBytes"]), 0, "when all boots are over the assets are within their limit");
    const named = new Set(
      server.store.images.all().flatMap((image) => filesOf(image).map(({ sha256 }) => sha256)),
    );
    for (const sha256 of named) t.ok(blobsOf(server).includes(sha256), "and what an image names is there");
  },
);

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createContentStore } from "../server/content/content-store.ts";
import { createRecentContent } from "../server/content/recent-content.ts";
import { ManualClock } from "./support/manual-clock.ts";

async function setUp(t: Test, sizeBytes: number) {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-recent-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const content = createContentStore(directory);
  const { sha256 } = await content.put(
    (async function* () {
      yield new Uint8Array(sizeBytes).fill(7);
    })(),
  );
  const clock = new ManualClock(0);
  let looks = 0;
  const counted = {
    find: (digest: string) => (looks++, content.find(digest)),
    open: (digest: string) => (looks++, content.open(digest)),
  };
  return { content, clock, sha256, recent: createRecentContent(counted, clock), looks: () => looks };
}

t.test("a small file is read once for a room that asks for it", async (t) => {
  const { recent, sha256, looks, clock, content } = await setUp(t, 4096);
  t.equal((await recent.readSmall(sha256))?.length, 4096);
  t.equal(looks(), 2);
  for (let asked = 0; asked < 50; asked++) t.equal((await recent.readSmall(sha256))?.[0], 7);
  t.equal(looks(), 2);
  await content.remove(sha256);
  clock.advanceMs(5001);
  t.equal(await recent.readSmall(sha256), undefined, "what was removed is gone within seconds");
  t.equal(await recent.find(sha256), undefined);
});

t.test("a long file is not kept, and what is not there is asked for each time", async (t) => {
  const { recent, sha256, looks } = await setUp(t, 64 * 1024 + 1);
  t.equal(await recent.readSmall(sha256), undefined);
  t.match(await recent.find(sha256), { sizeBytes: 64 * 1024 + 1 });
  t.equal(looks(), 1);
  const absent = "0".repeat(64);
  await recent.find(absent);
  await recent.find(absent);
  t.equal(looks(), 3);
});

import t from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { askRegistry, registryLab } from "../support/registry-lab.ts";

const share = 200;
const hourMs = 60 * 60_000;

t.test("a token has 200 uploads under way at most, and others may begin theirs", async (t) => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  const { server, url, begin, push } = await registryLab(t, { clock });
  const { json } = await server.api("POST", "/tokens", { name: "builder", scope: "imagemaker" });
  const token = json["token"] as unknown as string;
  const first = await begin("p10/app");
  aheadMs += hourMs / 2;
  const second = await begin("p10/app");
  await Promise.all(Array.from({ length: share - 2 }, () => begin("p10/app")));
  const path = "/v2/p10/app/blobs/uploads/";
  const refused = await push("POST", path);
  t.match(refused, { status: 429, code: "TOOMANYREQUESTS", headers: { "retry-after": /^\d+$/ } });
  t.match(refused.text, /this token has 200 uploads under way already: finish or cancel/);
  t.equal((await askRegistry(url, path, { method: "POST", token })).status, 202, "another token");
  t.equal((await push("DELETE", second)).status, 204);
  await begin("p10/app");

  aheadMs += hourMs / 2;
  await begin("p10/app");
  t.equal((await push("GET", first)).status, 404, "what nobody went on with for an hour makes room");
  t.equal((await push("POST", path)).status, 429, "and nothing else does");
});

import t from "tap";
import { formatReferrers } from "../../server/registry/referrers.ts";

t.test("a page passes over so many hidden referrers, and the next one goes on behind them", (t) => {
  const referrers = Array.from({ length: 1201 }, (_, index) => ({
    digest: `sha256:${index}`,
    mediaType: "application/json",
    sizeBytes: 2,
    artifactType: undefined,
    annotations: {},
  }));
  let judged = 0;
  const pages: string[][] = [];
  for (let from = 0; ;) {
    const { body, last } = formatReferrers(referrers.slice(from), ({ digest }) => {
      judged++;
      return digest === "sha256:0" || digest === "sha256:1200";
    });
    const { manifests } = JSON.parse(body) as { manifests: { digest: string }[] };
    pages.push(manifests.map(({ digest }) => digest));
    if (last === undefined) break;
    from = referrers.findIndex(({ digest }) => digest === last) + 1;
  }
  t.same(pages, [["sha256:0"], [], ["sha256:1200"]]);
  t.equal(judged, referrers.length, "each once");
  t.end();
});

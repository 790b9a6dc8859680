import t from "tap";
import { createResults, ours } from "./bench/results.ts";

t.test("nothing against nothing is no ratio", async (t) => {
  const results = createResults();
  results.declare({ id: "failed", what: "transfers that failed", unit: "transfers", better: "less" });
  results.add("failed", ours, 0);
  results.add("failed", "Kea", 0);
  t.match(results.markdown(), "| transfers that failed | transfers | 0 | Kea 0 | - | - | - | 1 |");
  t.notMatch(results.table(), "NaN");
});

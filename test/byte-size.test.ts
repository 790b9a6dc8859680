import t from "tap";
import { formatSize, formatUse, unitsOf } from "../server/domain/byte-size.ts";

t.test("a limit is told in the units that somebody wrote it in", (t) => {
  for (const [used, limit, told] of [
    [4_980_000_000, 5_000_000_000, "4.98 GB of 5 GB"],
    [1024 ** 3, 64_000_000_000, "1.07 GB of 64 GB"],
    [512 * 1024 ** 2, 1024 ** 3, "512 MiB of 1 GiB"],
    [1, 1.5 * 1024 ** 4, "1 B of 1.5 TiB"],
    [1_000_000, 1000 * 1024 ** 3, "977 KiB of 1000 GiB"],
    [0, 10_000, "0 B of 10 kB"],
    // Neither: the best that fits.
    [123_456_789, 987_654_321, "118 MiB of 942 MiB"],
  ] as const)
    t.equal(formatUse(used, limit), told);
  t.same([unitsOf(20_000_000_000), unitsOf(2 ** 34), unitsOf(123_456_789)], [1000, 1024, 1024]);
  t.equal(formatSize(5), "5 B");
  t.end();
});

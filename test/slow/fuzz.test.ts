import t from "tap";
import { checkFuzz } from "../support/check-fuzz.ts";

/** `npm run test:slow`; another seed: `node --expose-gc test/slow/fuzz.test.ts 2`. */
t.test("1,000,000 random and mutated packets each at the codecs, the DHCP server and the TFTP server", (t) =>
  checkFuzz(t, 1_000_000, Number(process.argv[2] ?? 1)),
);

import t from "tap";
import { checkFuzz } from "./support/check-fuzz.ts";

t.test("50,000 random and mutated packets each at the codecs, the DHCP server and the TFTP server", (t) =>
  checkFuzz(t, 50_000, 4711),
);

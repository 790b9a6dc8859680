import t from "tap";
import { compareVerdicts } from "../support/truth-table.ts";

/** The rest is podman's in test/slow. */
const podmanToo = [
  "signed with RSA-3072",
  "signed with Ed25519",
  "unsigned",
  "signed by a revoked key",
  "of another tag",
  "an index that is signed, and its image is not",
];

t.test("the server judges signatures as Debian's skopeo does, and podman", (t) =>
  compareVerdicts(t, ({ name }) => podmanToo.includes(name)),
);

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openServiceAuthority } from "../../server/pki/service-authority.ts";
import { temporaryDirectory } from "../support/samples.ts";

t.test("the services' authority is made once, and its key lies nowhere in the open", async (t) => {
  const directory = temporaryDirectory(t);
  const made = await openServiceAuthority(directory, Date.now());
  const again = await openServiceAuthority(directory, Date.now());
  t.equal(again.certificatePem, made.certificatePem);
  t.ok(again.privateKey.equals(made.privateKey));
  const file = join(directory, "pki/services.json");
  const kept = readFileSync(file, "utf8");
  const pem = made.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  t.notOk(kept.includes("PRIVATE") || kept.includes(pem.split("\n")[1] ?? ""));
  for (const name of ["services.json", "seal.key"])
    t.equal(statSync(join(directory, "pki", name)).mode & 0o777, 0o600, name);
  writeFileSync(file, kept.replace(/"key": "../, '"key": "AA'));
  await t.rejects(openServiceAuthority(directory, Date.now()), { code: "SEAL_BROKEN" });
});

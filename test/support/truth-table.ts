import type { Test } from "tap";
import { createLookasideServer } from "../../server/http/v2/lookaside-server.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { createKeyFiles } from "../../server/signatures/key-files.ts";
import { openSignature } from "../../server/signatures/openpgp.ts";
import { readPayload } from "../../server/signatures/payload.ts";
import {
  policyJson,
  registriesConf,
  registriesDirectoryFile,
} from "../../server/signatures/policy/client-files.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { judge } from "../../server/signatures/verdict.ts";
import { createClients } from "./signing-lab.ts";
import { makeTruthTable, type Row } from "./truth-table-rows.ts";

/**
 * Compares the server's verdict on every row with skopeo's, and with podman's where it is asked too: it takes seconds for each, and both have
 * the same library.
 */
export async function compareVerdicts(t: Test, asksPodman: (row: Row) => boolean): Promise<void> {
  const { rows, names, signers, keys, one, both } = await makeTruthTable(t);
  const files = new Map<string, readonly Buffer[]>();
  const trust = trustOf(signers, names, Date.now());
  const lookaside = createLookasideServer({
    clock: systemClock,
    signatures: {
      octets: (repository, digest, position) => files.get(`${repository}@${digest}`)?.[position - 1],
      list: () => [],
    },
    keys: createKeyFiles(() => trust, 0),
    host: "127.0.0.1",
    port: 0,
  });
  const lookasidePort = await lookaside.start();
  t.teardown(() => lookaside.stop());
  const clients = createClients(t, {
    policy: policyJson(trust, "inline"),
    registriesD: registriesDirectoryFile(`http://127.0.0.1:${lookasidePort}/sigstore/`),
    registriesConf: registriesConf({
      names,
      port: Number(names.host.split(":")[1]),
      authorityPem: undefined,
    }),
  });

  async function isAccepted({
    repository = "lab/image",
    tag = "1.0",
    viaAlias,
    ...row
  }: Row): Promise<boolean> {
    const signatures = row.image === "both" ? (row.childSignatures ?? []) : row.signatures;
    for (const octets of signatures) {
      const opened = await openSignature(octets, keys);
      const payload = "fault" in opened ? undefined : readPayload(opened.payload);
      if ("fault" in opened || !payload || "problem" in payload) continue;
      const verdict = judge(
        { ...opened, ...payload },
        {
          host: (viaAlias ? names.aliases[0] : undefined) ?? names.host,
          repository,
          tag: tag === false ? undefined : tag,
          digest: one.digest,
        },
        trust,
        Date.now(),
      );
      if (verdict.accepted) return true;
    }
    return false;
  }

  for (const row of rows) {
    const { name, repository = "lab/image", tag = "1.0", viaAlias } = row;
    files.clear();
    files.set(`${repository}@${row.image === "both" ? both.digest : one.digest}`, row.signatures);
    if (row.childSignatures) files.set(`${repository}@${one.digest}`, row.childSignatures);
    const host = (viaAlias ? names.aliases[0] : undefined) ?? names.host;
    const reference = `${host}/${repository}${tag === false ? `@${one.digest}` : `:${tag}`}`;
    const [skopeo, podman = skopeo] = await Promise.all([
      clients.skopeo(reference),
      ...(asksPodman(row) ? [clients.podman(reference)] : []),
    ]);
    for (const { accepted, said } of [skopeo, podman])
      if (!accepted && !/Source image rejected|unrecognized signature format|signature/i.test(said))
        t.fail(`${name}: refused for another reason: ${said}`);
    t.same(
      { server: await isAccepted(row), skopeo: skopeo.accepted, podman: podman.accepted },
      { server: row.server ?? row.accepted, skopeo: row.accepted, podman: row.accepted },
      name,
      { said: [skopeo.said, podman.said] },
    );
  }
}

import type { Test } from "tap";
import { createLookasideServer } from "../../server/http/v2/lookaside-server.ts";
import { attachmentTag, largestSignature, type SignedStatement } from "../../server/domain/signature.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { readAttachment } from "../../server/signatures/attachment.ts";
import { MoreThanSignatures, openAttached } from "../../server/signatures/attachments.ts";
import { createKeyFiles } from "../../server/signatures/key-files.ts";
import { openSignature } from "../../server/signatures/openpgp.ts";
import { readPayload } from "../../server/signatures/payload.ts";
import {
  attachmentPlaces,
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
  const { rows, names, signers, keys, one, both, tags } = await makeTruthTable(t);
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
  const place = { names, port: Number(names.host.split(":")[1]), authorityPem: undefined };
  const clients = createClients(t, {
    policy: policyJson(trust, "inline"),
    registriesD: registriesDirectoryFile(
      `http://127.0.0.1:${lookasidePort}/sigstore/`,
      attachmentPlaces({ ...place, trust }),
    ),
    registriesConf: registriesConf(place),
  });

  const judged = (
    statement: SignedStatement,
    { repository = "lab/image", tag = "1.0", viaAlias }: Row,
  ): boolean =>
    judge(
      statement,
      {
        host: (viaAlias ? names.aliases[0] : undefined) ?? names.host,
        repository,
        tag: tag === false ? undefined : tag,
        digest: one.digest,
      },
      trust,
      Date.now(),
    ).accepted;

  async function isAcceptedByAttachment(row: Row): Promise<boolean> {
    const { attachment, isOfIndex } = row;
    if (!attachment || isOfIndex) return false;
    const layers = readAttachment(Buffer.from(attachment.manifest), attachment.mediaType);
    if ("problem" in layers || [...attachment.blobs.values()].some(({ length }) => length > largestSignature))
      return false;
    const statements: SignedStatement[] = [];
    for (const layer of layers) {
      const payload = attachment.blobs.get(layer.digest) ?? Buffer.alloc(0);
      const opened = await openAttached(layer, payload, signers, Date.now()).catch((error: unknown) => error);
      if (opened instanceof MoreThanSignatures) return false;
      if (!(opened instanceof Error)) statements.push((opened as { statement: SignedStatement }).statement);
    }
    return statements.some((statement) => judged(statement, row));
  }

  async function isAccepted(row: Row): Promise<boolean> {
    const signatures = row.image === "both" ? (row.childSignatures ?? []) : row.signatures;
    for (const octets of signatures) {
      const opened = await openSignature(octets, keys);
      const payload = "fault" in opened ? undefined : readPayload(opened.payload);
      if ("fault" in opened || !payload || "problem" in payload) continue;
      if (judged({ ...opened, ...payload }, row)) return true;
    }
    return isAcceptedByAttachment(row);
  }

  for (const row of rows) {
    const { name, repository = "lab/image", tag = "1.0", viaAlias } = row;
    files.clear();
    for (const attached of [one, both]) delete tags[attachmentTag(attached.digest)];
    if (row.attachment) tags[attachmentTag((row.isOfIndex ? both : one).digest)] = row.attachment;
    files.set(`${repository}@${row.image === "both" ? both.digest : one.digest}`, row.signatures);
    if (row.childSignatures) files.set(`${repository}@${one.digest}`, row.childSignatures);
    const host = (viaAlias ? names.aliases[0] : undefined) ?? names.host;
    const reference = `${host}/${repository}${tag === false ? `@${one.digest}` : `:${tag}`}`;
    const [skopeo, podman = skopeo] = await Promise.all([
      clients.skopeo(reference),
      ...(asksPodman(row) ? [clients.podman(reference)] : []),
    ]);
    // Debian 12 builds its clients without sigstore: they come as far as the verification of such a signature, and say so.
    if ([skopeo, podman].every(({ accepted, said }) => !accepted && said.includes("sigstore disabled"))) {
      t.equal(await isAccepted(row), row.server ?? row.accepted, `${name}, to the server`);
      t.ok(row.attachment, "clients refuse it as they have no sigstore");
      continue;
    }
    for (const { accepted, said } of [skopeo, podman])
      if (
        !accepted &&
        !/Source image rejected|unrecognized signature format|signature|sigstore attachment/i.test(said)
      )
        t.fail(`${name}: refused for another reason: ${said}`);
    t.same(
      { server: await isAccepted(row), skopeo: skopeo.accepted, podman: podman.accepted },
      { server: row.server ?? row.accepted, skopeo: row.accepted, podman: row.accepted },
      name,
      { said: [skopeo.said, podman.said] },
    );
  }
}

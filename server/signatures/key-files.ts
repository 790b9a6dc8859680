import type { EpochMs } from "../domain/capabilities.ts";
import type { Signer } from "../domain/signature.ts";
import { keyListing } from "./key-listing.ts";
import { armorKeys } from "./openpgp.ts";
import { keyFileOf, policyJson } from "./policy/client-files.ts";
import { pemOf } from "./policy/public-key.ts";
import { isSigstore, type Trust } from "./policy/trust.ts";

export interface KeyFile {
  readonly type: string;
  readonly content: Buffer;
}

/** What lies under `/keys/`: the empty name is the listing. Made anew when the rules change. */
export function createKeyFiles(trust: () => Trust, startedAt: EpochMs) {
  let last: { readonly of: Trust; readonly files: ReadonlyMap<string, KeyFile> } | undefined;
  return {
    find(name: string): KeyFile | undefined {
      const now = trust();
      if (last?.of !== now) last = { of: now, files: filesFor(now, startedAt) };
      return last.files.get(name);
    },
  };
}
export type KeyFiles = ReturnType<typeof createKeyFiles>;

function filesFor(trust: Trust, startedAt: EpochMs): Map<string, KeyFile> {
  const rules = [...trust.values()];
  const signers = new Set<Signer>(rules.flatMap((rule) => rule.signers));
  const everybody = new Set<Signer>([...signers, ...rules.flatMap((rule) => rule.former)]);
  const changes = [...everybody].map(({ addedAt, revokedAt }) => revokedAt ?? addedAt);
  const files = new Map<string, KeyFile>();
  const listed = [
    {
      name: "policy.json",
      type: "application/json",
      content: Buffer.from(policyJson(trust, "paths")),
      changedAt: changes.length === 0 ? startedAt : Math.max(...changes),
    },
    ...[...signers].map((signer) => ({
      name: keyFileOf(signer),
      type: "text/plain",
      content: Buffer.from(isSigstore(signer) ? signer.keys.map(pemOf).join("") : armorKeys(signer.keys)),
      changedAt: signer.addedAt,
    })),
  ];
  for (const { name, type, content } of listed) files.set(name, { type, content });
  const listing = keyListing(listed.map((file) => ({ ...file, sizeBytes: file.content.length })));
  return files.set("", { type: "application/json", content: Buffer.from(listing) });
}

import type { Clock, DurationMs, EpochMs } from "../domain/capabilities.ts";
import {
  InvalidRequest,
  KeyInvalid,
  KeysMixed,
  ScopeInvalid,
  ScopeTaken,
  SignerNotFound,
  SignerRevoked,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Signer, SignerKey } from "../domain/signature.ts";
import type { SignerRepository } from "../store/signers.ts";
import { mergeKeys, readPublicKeys } from "./openpgp.ts";
import { isScope } from "./policy/reference.ts";
import { counts, isSigstore, type RegistryNames, type Trust, trustOf } from "./policy/trust.ts";
import { isPem, readSigstoreKey } from "./sigstore.ts";

export interface SignersDeps {
  readonly clock: Pick<Clock, "now">;
  readonly record: RecordEvent;
  readonly signers: SignerRepository;
  readonly names: RegistryNames;
  /** Somebody may sign now who could not before, or more than before, with a key of cosign's. @param by who has added it */
  readonly onAdded?: (by: string) => void;
}

export interface NewSigner {
  readonly name: string;
  /** As `gpg --export` writes them, armored or not, and several are fine; or one of cosign's, in PEM. */
  readonly keys: Uint8Array;
  /** Undefined: those that the signer has, or for a new one the whole registry. */
  readonly scopes: readonly string[] | undefined;
  readonly expiresInMs: DurationMs | undefined;
}

const nameForm = /^[a-z0-9][a-z0-9_.-]{0,58}$/;
const mostKeys = 16;
const mostScopes = 64;

/** Who may sign images: as people change them, and the rules that follow. */
export function createSigners({ clock, record, signers, names, onAdded }: SignersDeps) {
  let last: { from: readonly Signer[]; validUntil: EpochMs; trust: Trust } | undefined;

  function checkScope(scope: string): void {
    if (!isScope(scope)) throw ScopeInvalid({ scope, problem: "is none" });
    const host = scope.split("/", 1)[0] ?? "";
    // `p10` would be a registry of that name, and close everything of ours.
    if (!/[.:]/.test(host) && host !== "localhost" && host !== names.host)
      throw ScopeInvalid({ scope, problem: `names no registry: write ${names.host}/${scope}` });
    if (names.aliases.includes(host) && host !== names.host)
      throw ScopeInvalid({
        scope,
        problem: `names the registry by another name: here it is ${names.host}, and its aliases follow by themselves`,
      });
  }

  /** Clients ask for all that a scope names, and know one key of cosign's for it. @throws KeysMixed, ScopeTaken */
  function checkCompany(signer: Signer, now: EpochMs): void {
    const isAlone = isSigstore(signer);
    if (isAlone && signer.keys.length > 1) throw KeysMixed({ name: signer.name });
    if (!counts(signer, now)) return;
    for (const other of signers.all()) {
      if (other.name === signer.name || !counts(other, now) || !(isAlone || isSigstore(other))) continue;
      const scope = signer.scopes.find((one) => other.scopes.includes(one));
      if (scope !== undefined) throw ScopeTaken({ scope, signer: other.name });
    }
  }

  return {
    all: signers.all,

    /** The rules that hold now; the same ones until a signer changes or its time is over. */
    trust(): Trust {
      const now = clock.now();
      const from = signers.all();
      if (last?.from === from && now < last.validUntil) return last.trust;
      const ends = from.flatMap(({ expiresAt }) =>
        expiresAt !== undefined && expiresAt > now ? [expiresAt] : [],
      );
      last = {
        from,
        validUntil: Math.min(Number.POSITIVE_INFINITY, ...ends),
        trust: trustOf(from, names, now),
      };
      return last.trust;
    },

    /**
     * Adds a signer, or keys and scopes to one. A key that is known takes what is new in it: another expiry, a revocation.
     * @throws KeyInvalid, KeyTaken, KeysMixed, ScopeInvalid, ScopeTaken, SignerRevoked, InvalidRequest
     */
    async add({ name, keys, scopes, expiresInMs }: NewSigner, actor: string): Promise<Signer> {
      if (!nameForm.test(name))
        throw InvalidRequest({
          problem: "a signer's name is lower-case letters, digits and . _ -, at most 59 of them",
        });
      for (const scope of scopes ?? []) checkScope(scope);
      const text = Buffer.from(keys).toString("latin1");
      const sent = isPem(text) ? [readSigstoreKey(text)] : await readPublicKeys(keys);
      const before = signers.find(name);
      const merged = await merge(before?.keys ?? [], sent);
      const now = clock.now();
      const signer = await signers.save(name, (known) => {
        if (known !== before)
          throw InvalidRequest({
            problem: `the signer ${name} was changed at the same moment`,
            advice: "Try again.",
          });
        if (known?.revokedAt !== undefined) throw SignerRevoked({ name });
        const all = [...new Set([...(known?.scopes ?? []), ...(scopes ?? (known ? [] : [names.host]))])];
        if (all.length > mostScopes)
          throw InvalidRequest({ problem: `a signer has at most ${mostScopes} scopes` });
        const next = {
          name,
          scopes: all,
          keys: merged,
          addedAt: known?.addedAt ?? now,
          expiresAt: expiresInMs === undefined ? known?.expiresAt : now + expiresInMs,
          revokedAt: undefined,
        };
        checkCompany(next, now);
        return next;
      });
      record({
        type: "signer.added",
        actor,
        message: `${name} may sign ${signer.scopes.join(", ")}`,
        data: { name, scopes: [...signer.scopes], keys: sent.map(({ fingerprint }) => fingerprint) },
      });
      if (isSigstore(signer)) onAdded?.(actor);
      return signer;
    },

    /** From now on none of its signatures counts; what it signed for is closed until somebody else may sign it. @throws SignerNotFound */
    async revoke(name: string, actor: string): Promise<Signer> {
      const signer = await signers.save(name, (known) => {
        if (!known) throw SignerNotFound({ name });
        return { ...known, revokedAt: known.revokedAt ?? clock.now() };
      });
      record({ type: "signer.revoked", actor, message: `the signer ${name} was revoked`, data: { name } });
      return signer;
    },

    /** As if it had never been. @throws SignerNotFound */
    async remove(name: string, actor: string): Promise<void> {
      if (!(await signers.remove(name))) throw SignerNotFound({ name });
      record({ type: "signer.removed", actor, message: `the signer ${name} was removed`, data: { name } });
    },
  };
}
export type Signers = ReturnType<typeof createSigners>;

async function merge(known: readonly SignerKey[], sent: readonly SignerKey[]): Promise<SignerKey[]> {
  const keys = new Map(known.map((key) => [key.fingerprint, key]));
  for (const key of sent) {
    const before = keys.get(key.fingerprint);
    keys.set(key.fingerprint, before?.format === "openpgp" ? await mergeKeys(before, key) : key);
  }
  if (keys.size > mostKeys) throw KeyInvalid({ problem: `a signer has at most ${mostKeys} keys` });
  return [...keys.values()];
}

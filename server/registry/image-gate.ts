import { LRUCache } from "lru-cache";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
import type { RepositoryMode, RepositoryRule } from "../domain/container-images.ts";
import type { RecordEvent } from "../domain/event.ts";
import { matchesPattern } from "./repository-name.ts";

/** What signatures say of an image. */
export interface ImageVerdict {
  readonly state: "signed" | "unsigned" | "expired" | "revoked" | "refused";
  /** It holds until then, unless signers or signatures change. */
  readonly until: EpochMs;
}

export interface ImageGateDeps {
  readonly clock: Pick<Clock, "now">;
  readonly record: RecordEvent;
  /** The first one with a mode that fits counts; a repository that none is for is open. */
  readonly rules: readonly RepositoryRule[];
  /** All names that a repository has; a rule for one of them is for all. */
  readonly namesOf: (repository: string) => readonly string[];
  readonly signatures: {
    /** Another object after each change of a signer or signature. */
    revision(): object;
    verdictOf(repository: string, digest: string, tag: string | undefined): ImageVerdict | undefined;
  };
}

/** A manifest as somebody asks for it. */
export interface AskedManifest {
  readonly repository: string;
  /** Tag or digest. */
  readonly reference: string;
  readonly digest: string;
  /** A manifest that was deleted and pushed again has lost its signatures. */
  readonly createdAt: EpochMs;
}

/** What there is to say of a manifest in a repository that is not open. */
export interface GatedManifest {
  readonly mode: Exclude<RepositoryMode, "open">;
  readonly state: ImageVerdict["state"];
  /** What is wrong with it; undefined: it is signed. */
  readonly problem: string | undefined;
}

const rememberedVerdicts = 20_000;

const problems: Readonly<Record<ImageVerdict["state"], string | undefined>> = {
  signed: undefined,
  unsigned: "is not signed",
  expired: "is signed, and the signature or its key has expired",
  revoked: "is signed by a key that was revoked",
  refused: "is signed, and not for this name or not by somebody who may",
};

/** Holds images back until they are signed: what is shown is gated, not what is pushed, for clients push the manifest before its signature. */
export function createImageGate({ clock, record, rules, namesOf, signatures }: ImageGateDeps) {
  const verdicts = new LRUCache<string, ImageVerdict>({ max: rememberedVerdicts });
  const modes = rules.filter(({ mode }) => mode !== undefined);
  let revision = signatures.revision();

  function modeOf(repository: string): RepositoryMode {
    const names = namesOf(repository);
    return modes.find(({ pattern }) => names.some((name) => matchesPattern(pattern, name)))?.mode ?? "open";
  }

  function verdictOf({ repository, reference, digest, createdAt }: AskedManifest): ImageVerdict["state"] {
    if (revision !== signatures.revision()) {
      revision = signatures.revision();
      verdicts.clear();
    }
    const key = `${repository} ${reference} ${digest} ${createdAt}`;
    const known = verdicts.get(key);
    if (known && clock.now() < known.until) return known.state;
    const tag = reference.includes(":") ? undefined : reference;
    const verdict = signatures.verdictOf(repository, digest, tag);
    if (verdict) verdicts.set(key, verdict);
    return verdict?.state ?? "unsigned";
  }

  return {
    /** @returns undefined in an open repository */
    check(asked: AskedManifest): GatedManifest | undefined {
      if (modes.length === 0) return undefined;
      const mode = modeOf(asked.repository);
      if (mode === "open") return undefined;
      const state = verdictOf(asked);
      return { mode, state, problem: problems[state] };
    },

    /** Writes down that somebody wanted what is not signed. @param address of the client */
    tell({ repository, reference, digest }: AskedManifest, gated: GatedManifest, address: string): void {
      const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
      const outcome = gated.mode === "warn" ? "got it with a warning" : "was refused";
      record({
        type: "image.unsigned-pull",
        level: "warning",
        message: `${address} asked for ${name}, which ${gated.problem ?? "is signed"}, and ${outcome}`,
        data: { address, repository, digest, state: gated.state, mode: gated.mode, reason: name },
      });
    },
  };
}
export type ImageGate = ReturnType<typeof createImageGate>;

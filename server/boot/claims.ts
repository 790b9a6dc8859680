import { createHash } from "node:crypto";
import type { Clock, Ids } from "../domain/capabilities.ts";
import {
  type Claim,
  claimLifetimeMs,
  type ClaimUse,
  type ClaimVerdict,
  judgeClaim,
} from "../domain/claim.ts";
import { ClaimRefused } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { ClaimRepository } from "../store/claims.ts";
import type { AskerVerdict } from "./who-asks.ts";

/** Secrets are compared by their hash: a lookup that takes longer for a better guess tells nothing about the secret. */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

const explanations: Readonly<Record<Exclude<ClaimVerdict, "ok">, string>> = {
  unknown: "no such claim, or a newer boot took its place",
  "wrong-address": "it was minted for another address",
  expired: "it is too old",
  spent: "the machine's callback has spent it",
  "too-many-fetches": "it was asked for too often",
};

/** Mints claims and judges their use. Every refusal looks the same from outside and raises an alarm event inside. */
export function createClaims({
  clock,
  ids,
  claims,
  record,
  judgeAddress,
}: {
  clock: Clock;
  ids: Ids;
  claims: Pick<ClaimRepository, "find" | "ofMachine" | "mint" | "update" | "updateNow">;
  record: RecordEvent;
  /** Is the address the claim's machine's now? */
  judgeAddress: (address: string, claim: Pick<Claim, "mac" | "machineId">) => AskerVerdict;
}) {
  /**
   * iPXE and the system that it starts name themselves differently to a DHCP server (RFC 2131 s.4.2, firmware-quirk Q33), and one that is
   * not ours may give each an address of its own. It is the machine that counts, as far as it can be shown: neither is another machine
   * served that has taken the address over.
   * @returns the claim's own address for its machine
   */
  function addressFor(claim: Claim | undefined, address: string): string | undefined {
    if (!claim) return address;
    switch (judgeAddress(address, claim)) {
      case "verified":
        return claim.address;
      case "contradicted":
        return undefined;
      case "unverified":
        return address;
    }
  }

  function refuse(
    verdict: Exclude<ClaimVerdict, "ok">,
    address: string,
    claim: Claim | undefined,
    what: string,
  ): never {
    record({
      type: "claim.refused",
      level: "alarm",
      machineId: claim?.machineId,
      bootId: claim?.bootId,
      message: `${address} was refused ${what}: ${explanations[verdict]}`,
      data: { address, reason: verdict, ...(claim ? { expectedAddress: claim.address } : {}) },
    });
    throw ClaimRefused({});
  }

  return {
    /** @returns the secret, which exists nowhere else */
    async mint({
      machine,
      mac,
      address,
      bootId,
      target,
      image,
      assignmentId,
    }: Pick<Claim, "mac" | "address" | "bootId" | "target" | "image" | "assignmentId"> & {
      readonly machine: Machine;
    }): Promise<string> {
      const secret = ids.secret();
      const now = clock.now();
      await claims.mint({
        hash: hashSecret(secret),
        bootId,
        machineId: machine.id,
        mac,
        address,
        target,
        image,
        assignmentId,
        mintedAt: now,
        expiresAt: now + claimLifetimeMs,
        spentAt: undefined,
        fetches: {},
      });
      return secret;
    },

    /** Counts one fetch of a document. @throws ClaimRefused */
    fetch(secret: string, address: string, document: string): Claim {
      const judged: { verdict: ClaimVerdict } = { verdict: "unknown" };
      const claim = claims.updateNow(hashSecret(secret), (current) => {
        const from = addressFor(current, address);
        judged.verdict = judgeClaim(current, from, { kind: "config", document }, clock.now());
        if (judged.verdict !== "ok") return current;
        return {
          ...current,
          fetches: { ...current.fetches, [document]: (current.fetches[document] ?? 0) + 1 },
        };
      });
      if (judged.verdict !== "ok" || !claim)
        refuse(judged.verdict === "ok" ? "unknown" : judged.verdict, address, claim, document);
      return claim;
    },

    /** The claim of the machine's last boot. */
    ofMachine: (machineId: string): Claim | undefined => claims.ofMachine(machineId),

    /** May this address report with this claim? @throws ClaimRefused */
    use(secret: string, address: string, use: ClaimUse, what: string): Claim {
      const claim = claims.find(hashSecret(secret));
      const verdict = judgeClaim(claim, addressFor(claim, address), use, clock.now());
      if (verdict !== "ok" || !claim) refuse(verdict === "ok" ? "unknown" : verdict, address, claim, what);
      return claim;
    },

    /** The callback came: no config leaves under this claim any more. A repeated callback is no fault. */
    async spend(claim: Claim): Promise<void> {
      await claims.update(claim.hash, (current) =>
        current.spentAt === undefined ? { ...current, spentAt: clock.now() } : current,
      );
    },
  };
}
export type Claims = ReturnType<typeof createClaims>;

import type { Clock, EpochMs } from "../domain/capabilities.ts";
import type { ExpectedJoin } from "../kubeadm/signing-request-policy.ts";

interface GuestJoin extends ExpectedJoin {
  readonly expiresAt: EpochMs;
  approved?: string;
}

/** Joins by hand that may be open at once; each ends by itself. */
const mostGuests = 100;

/** Machines that are none of ours and were given a join command by a person; forgotten at the server's end, with their tokens. */
export function createGuestJoins(clock: Pick<Clock, "now">) {
  const joins = new Map<string, GuestJoin>();
  function tidy(): void {
    for (const [id, { expiresAt }] of joins) if (expiresAt <= clock.now()) joins.delete(id);
  }
  return {
    add(join: GuestJoin): void {
      tidy();
      const [oldest] = joins.keys();
      if (joins.size >= mostGuests && oldest !== undefined) joins.delete(oldest);
      joins.set(join.tokenId, { ...join });
    },
    open(): readonly ExpectedJoin[] {
      tidy();
      return [...joins.values()];
    },
    approve(tokenId: string, request: string): void {
      const join = joins.get(tokenId);
      if (join) join.approved = request;
    },
  };
}
export type GuestJoins = ReturnType<typeof createGuestJoins>;

import type { AssignedTarget } from "../domain/assignment.ts";
import type { Claim } from "../domain/claim.ts";
import type { Machine } from "../domain/machine.ts";
import type { BootServiceDeps } from "./boot-service.ts";

/** What machines tell of their boot, and what the cluster tells of machines that join it. */
export function createCallbacks(
  {
    claims,
    inventory,
    tracker,
    assignments,
    roles,
    nodes,
  }: Pick<BootServiceDeps, "claims" | "inventory" | "tracker" | "assignments" | "roles" | "nodes">,
  useUpOnce: (machine: Machine, bootId: string | undefined) => Promise<void>,
) {
  function isCurrent({ machineId, bootId }: Claim): boolean {
    const current = tracker.current(machineId);
    return current === undefined || current.id === bootId;
  }

  /** Was this boot made to become a node? Then the cluster says when it is ready, and not the machine. */
  function isNode({ target }: Claim): boolean {
    return (
      nodes !== undefined && target.kind === "role" && roles().roles.get(target.role)?.node !== undefined
    );
  }

  /** The boot is through with everything: the assignment for it alone is used up, and no config leaves under its claim any more. */
  async function close(machine: Machine, claim: Claim): Promise<void> {
    const once = assignments.find({ kind: "machine", machineId: machine.id }, "once");
    const isUsedUp = once !== undefined && once.id === claim.assignmentId;
    // One commit for all of it: a machine that took its answer for good never calls again.
    await Promise.all([isUsedUp ? useUpOnce(machine, claim.bootId) : undefined, claims.spend(claim)]);
  }

  return {
    /**
     * The machine is through with everything that its role asks for. A node of the cluster is `joining` from then on; anything else is
     * ready. @throws ClaimRefused
     */
    async joined(secret: string, address: string): Promise<{ machine: Machine; phase: "ready" | "joining" }> {
      const claim = claims.use(secret, address, { kind: "report" }, "its callback");
      const machine = inventory.get(claim.machineId);
      const isFirst = claim.spentAt === undefined;
      tracker.revive(machine.id, claim.bootId);
      if (isNode(claim)) {
        if (isCurrent(claim) && isFirst) {
          if (!tracker.hasStep(machine.id, "callback")) tracker.step(machine.id, "callback");
          tracker.advance(machine.id, "join.begun");
        }
        return { machine, phase: isFirst ? "joining" : "ready" };
      }
      // A repeated callback changes nothing, except where the server ended before all that follows from the first was on the disk.
      if (isCurrent(claim) && (isFirst || tracker.current(machine.id)?.outcome === "running")) {
        tracker.step(machine.id, "callback");
        tracker.complete(machine.id, "ready");
      }
      await close(machine, claim);
      return { machine, phase: "ready" };
    },

    /**
     * A machine's report, checked by its claim. `isCurrent` is false where the machine has begun another boot since: then the report
     * says nothing of that one. @throws ClaimRefused
     */
    reporter(
      secret: string,
      address: string,
      what: string,
    ): { machine: Machine; bootId: string; isCurrent: boolean; target: AssignedTarget } {
      const claim = claims.use(secret, address, { kind: "report" }, what);
      const { bootId, target } = claim;
      return { machine: inventory.get(claim.machineId), bootId, isCurrent: isCurrent(claim), target };
    },

    /**
     * The cluster has heard of a machine that joins it: it is `joining`, and its boot is not given up for its silence for as long as this
     * is called. @returns false where the machine has begun another boot since
     */
    joinGoesOn(machineId: string, bootId: string): boolean {
      tracker.keepAlive(machineId, bootId);
      if (tracker.current(machineId)?.id !== bootId) return false;
      tracker.advance(machineId, "join.begun");
      return true;
    },

    /**
     * The cluster has the machine as a node that is Ready in this boot: it is `ready`. May be called again. @returns false where the
     * machine has begun another boot since
     */
    async joinComplete(machineId: string, bootId: string): Promise<boolean> {
      tracker.revive(machineId, bootId);
      if (tracker.current(machineId)?.id !== bootId) return false;
      if (tracker.current(machineId)?.outcome === "running") tracker.complete(machineId, "ready");
      const claim = claims.ofMachine(machineId);
      if (claim?.bootId === bootId) await close(inventory.get(machineId), claim);
      return true;
    },
  };
}

import { LRUCache } from "lru-cache";
import type { Renderer } from "../render/documents.ts";
import { maskedClaim, proveDocuments, type Rendering } from "./boot-plan.ts";

/** Machines whose proofs are remembered; a building of 10,000 fits. */
const capacity = 20_000;

/**
 * That all documents of a boot can be read, found once and good for as long as nothing they are made of changes. The proof holds for
 * every claim, which is letters and digits: a machine that asks for its script again costs no second reading.
 */
export function createProofs(renderer: Renderer) {
  const proven = new LRUCache<string, Rendering>({ max: capacity });

  function holds(rendering: Rendering): boolean {
    const before = proven.peek(rendering.machine.id);
    return before !== undefined && saysTheSame(before, rendering);
  }

  return {
    /** Renders everything that the machine will ask for later, so that a fault shows now, on its screen. @throws TemplateFailed */
    prove(rendering: Omit<Rendering, "claim">): void {
      const masked = { ...rendering, claim: maskedClaim };
      if (holds(masked)) return;
      const { id } = rendering.machine;
      proven.delete(id);
      proveDocuments(masked, renderer);
      proven.set(id, masked);
    },
  };
}

/** All that documents are made of, the claim excepted (render/context.ts). */
function saysTheSame(one: Rendering, other: Rendering): boolean {
  return (
    one.bootId === other.bootId &&
    one.serverUrl === other.serverUrl &&
    hasSamePlan(one, other) &&
    (one.machine === other.machine ||
      (["name", "uuid", "serial", "group", "seat", "address"] as const).every(
        (fact) => one.machine[fact] === other.machine[fact],
      )) &&
    isSame(one.node?.facts, other.node?.facts) &&
    isSame(one.machine.macs, other.machine.macs) &&
    isSame(one.machine.labels, other.machine.labels)
  );
}

function hasSamePlan({ plan: one }: Rendering, { plan: other }: Rendering): boolean {
  if (one.kind !== "role" || other.kind !== "role") return one.kind === other.kind;
  // Roles and images are the same objects until they are changed.
  return one.role === other.role && one.image === other.image && isSame(one.params, other.params);
}

function isSame(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

import { accounts, homePart } from "./accounts.ts";
import type { Family } from "./families.ts";
import { imagePolicyPart } from "./image-policy.ts";
import { kernelPart } from "./kernel.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart, NodeRole, NodeSpec } from "./node-spec.ts";
import { runtimePart } from "./runtime.ts";
import { unitsPart } from "./units.ts";

/**
 * The description of a rootless node of Kubernetes.
 * @param extra what runs on it beside: the unit and files of the agent that calls back
 */
export function rootlessNode(
  role: NodeRole,
  family: Family,
  facts: NodeFacts,
  extra: NodePart = {},
): NodeSpec {
  const parts: readonly NodePart[] = [
    homePart(family),
    kernelPart(family, facts),
    runtimePart(family, facts),
    imagePolicyPart(family, facts),
    unitsPart(role, family, facts, extra.units ?? []),
    { ...extra, units: [] },
  ];
  return {
    role,
    family,
    ...accounts(family),
    directories: parts.flatMap(({ directories }) => directories ?? []),
    files: parts.flatMap(({ files }) => files ?? []),
    links: parts.flatMap(({ links }) => links ?? []),
    units: parts.flatMap(({ units }) => units ?? []),
    sysctls: parts.flatMap(({ sysctls }) => sysctls ?? []),
    modules: [...new Set(parts.flatMap(({ modules }) => modules ?? []))],
    arguments: parts.flatMap((part) => part.arguments ?? []),
  };
}

import type { Clock, EpochMs } from "../domain/capabilities.ts";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { BootstrapToken, TokenPurpose } from "../kubeadm/bootstrap-token.ts";
import type { ExpectedJoin } from "../kubeadm/signing-request-policy.ts";
import { createToken, deleteUnownedTokens } from "./bootstrap-tokens.ts";
import type { KubernetesClient } from "./client.ts";
import { removeAutoApproval, setUpCluster } from "./cluster-setup.ts";
import { deleteNode, drainPass, listNodes, markNotReady, setCordoned } from "./nodes.ts";
import { signingPass } from "./signing-requests.ts";

export interface ClusterHandsOptions {
  /** With the rights "bootstrap": what must be done before there are rules. */
  readonly bootstrap: KubernetesClient;
  /** With the rights "operator": all the rest. */
  readonly operator: KubernetesClient;
  readonly cluster: Pick<ClusterSpec, "version">;
  readonly clock: Clock;
  /** Kubernetes' own approval of joining machines was found, and is gone. */
  readonly onAutoApproval?: () => void;
  /** There are more signing requests than are looked at. */
  readonly onFlood?: () => void;
}

const drainEveryMs = 2_000;
/** How long pods that were deleted by force are waited for, ms. */
const afterForceMs = 30_000;

/** All of this room as the state machine of the cluster calls it; each call can be made again. */
export function createClusterHands({
  bootstrap,
  operator,
  cluster,
  clock,
  onAutoApproval,
  onFlood,
}: ClusterHandsOptions) {
  return {
    async nodes() {
      return (await listNodes(operator)).map(({ name, bootId, isReady, podCidr, addresses }) => ({
        name,
        bootId: bootId === "" ? undefined : bootId,
        isReady,
        podCidr,
        address: addresses[0],
      }));
    },
    async markNotReady(name: string, message: string): Promise<void> {
      await markNotReady(operator, name, { reason: "MachineBootedAnew", message, now: clock.now() });
    },
    async removeNode(name: string): Promise<void> {
      await deleteNode(operator, name);
    },
    async drain(name: string, deadline: EpochMs, isWanted: () => boolean): Promise<void> {
      for (;;) {
        const { version } = cluster;
        const now = clock.now();
        const { remaining } = await drainPass(operator, { name, version, now, deadline });
        // What is still there after the force holds itself (a finalizer); the machine's reboot ends it.
        if (remaining.length === 0 || now > deadline + afterForceMs) return;
        if (!isWanted()) {
          await setCordoned(operator, name, false);
          return;
        }
        await new Promise<void>((resolve) => void clock.after(drainEveryMs, resolve));
      }
    },
    createToken: (token: BootstrapToken, purpose: TokenPurpose) => createToken(operator, token, purpose),
    async keepTokens(isOpen: (id: string) => boolean): Promise<void> {
      await deleteUnownedTokens(operator, { has: isOpen });
    },
    async judgeRequests(joins: () => readonly ExpectedJoin[]) {
      // First: whoever it approved for meanwhile has a certificate already.
      if (await removeAutoApproval(operator)) onAutoApproval?.();
      const { approved, denied, isCut } = await signingPass(operator, { joins, now: clock.now() });
      if (isCut) onFlood?.();
      return [
        // What the caller knows already is no news.
        ...approved
          .filter(({ request }) => !joins().some((join) => join.approved === request))
          .map(({ request, tokenId }) => ({
            request,
            tokenId,
            verdict: "approve" as const,
            reason: undefined,
            message: undefined,
          })),
        ...denied.map(({ request, tokenId, reason, message }) => ({
          request,
          tokenId,
          verdict: "deny" as const,
          reason,
          message,
        })),
      ];
    },
    async setUp(): Promise<void> {
      await setUpCluster(bootstrap);
      if (await removeAutoApproval(bootstrap)) onAutoApproval?.();
    },
  };
}

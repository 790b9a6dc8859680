import type { Test } from "tap";
import type { Clock } from "../../server/domain/capabilities.ts";
import {
  createKubernetesClient,
  type KubernetesClient,
  type KubernetesClientOptions,
} from "../../server/kubernetes/client.ts";
import type { Target } from "../../server/kubernetes/target.ts";
import { systemClock } from "../../server/platform/clock.ts";
import type { ClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { issueServerClient, serverClientLifeMs } from "../../server/pki/master-files.ts";

/** The server's client as the server makes it, for one API server; closed at the end of the test. */
export function clientOf(
  t: Test,
  authorities: ClusterAuthorities,
  target: Target,
  {
    rights = "bootstrap",
    clock = systemClock,
    ...options
  }: Partial<KubernetesClientOptions> & { rights?: "bootstrap" | "operator"; clock?: Clock } = {},
): KubernetesClient {
  const client = createKubernetesClient({
    target: () => target,
    authorityPem: authorities.cluster.certificatePem,
    serverName: "kubernetes",
    issueIdentity: () =>
      issueServerClient(authorities, { cluster: { keyAlgorithm: "ECDSA-P256" }, now: Date.now(), rights }),
    identityLifeMs: serverClientLifeMs,
    clock,
    ...options,
  });
  t.teardown(() => client.close());
  return client;
}

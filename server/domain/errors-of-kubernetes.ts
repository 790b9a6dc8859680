import { defineError } from "./errors.ts";

/** What goes wrong between the server and a running cluster. */

// --- the API server ---------------------------------------------------------------------------------------------
export const KubernetesUnreachable = defineError("KUBERNETES_UNREACHABLE", {
  kind: "operational",
  httpStatus: 503,
  message: (d: {
    /** `10.0.0.11:6443` */
    address: string;
    reason: string;
    /** Of the answer, where there was one: 429, or 500 and above. */
    status?: number;
  }) => `the API server at ${d.address} does not answer as it should: ${d.reason}`,
  advice:
    "It is asked again by itself. If it stays so, look at the masters (`boot status`); a certificate that is not taken means another cluster, or a wrong clock.",
});
export const KubernetesRefused = defineError("KUBERNETES_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: {
    /** `create Secret kube-system/x` */
    what: string;
    status: number;
    reason: string;
  }) => `the API server refuses to ${d.what} (${d.status}): ${d.reason}`,
  advice:
    "With 401 or 403 the cluster does not know this server's certificate or gives it no such right: the rules of rollcall:operators are set anew when a master initializes the cluster.",
});
export const KubernetesObjectMissing = defineError("KUBERNETES_OBJECT_MISSING", {
  kind: "operational",
  httpStatus: 404,
  message: (d: { what: string }) => `the cluster has no ${d.what}`,
  advice: "Somebody removed it, or it was never there; `kubectl get` shows what is.",
});
export const KubernetesConflict = defineError("KUBERNETES_CONFLICT", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { what: string; reason: string }) => `the cluster has another ${d.what}: ${d.reason}`,
  advice: "Somebody changed it at the same time; the server reads it anew and goes on from there.",
});
export const KubernetesKindUnknown = defineError("KUBERNETES_KIND_UNKNOWN", {
  kind: "user",
  httpStatus: 422,
  message: (d: { kind: string; apiVersion: string }) =>
    `the API server has no kind ${d.kind} in ${d.apiVersion} that can be applied`,
  advice:
    "`kubectl api-resources` shows the kinds of this version of Kubernetes, and in which apiVersion each is; one of your own needs its CustomResourceDefinition.",
});

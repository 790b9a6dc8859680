import type { EpochMs } from "../domain/capabilities.ts";
import type { KubernetesVersion } from "../domain/cluster.ts";
import { KubernetesConflict, KubernetesUnreachable } from "../domain/error-catalogue.ts";
import { type KubernetesClient, unlessMissing } from "./client.ts";
import type { Condition, NodeObject, PodObject } from "./objects.ts";

/** What the cluster knows of a machine. */
export interface NodeFacts {
  readonly name: string;
  readonly uid: string;
  /** The machine's kernel says it anew at each boot: the proof of which boot has joined. */
  readonly bootId: string;
  readonly isReady: boolean;
  readonly isCordoned: boolean;
  readonly conditions: readonly Condition[];
  /** Of its pods; undefined until the controller manager has given it one. */
  readonly podCidr: string | undefined;
  /** InternalIP. */
  readonly addresses: readonly string[];
  readonly kubeletVersion: string;
}

export async function readNode(client: KubernetesClient, name: string): Promise<NodeFacts | undefined> {
  const node = await client.find("Node", { name });
  return node && factsOf(node);
}

export async function listNodes(client: KubernetesClient): Promise<readonly NodeFacts[]> {
  return (await client.list("Node")).items.map(factsOf);
}

function factsOf({ metadata, spec, status }: NodeObject): NodeFacts {
  const conditions = status?.conditions ?? [];
  return {
    name: metadata.name,
    uid: metadata.uid ?? "",
    bootId: status?.nodeInfo?.bootID ?? "",
    isReady: conditions.some((condition) => condition.type === "Ready" && condition.status === "True"),
    isCordoned: spec?.unschedulable ?? false,
    conditions: conditions.map(({ type, status: value, reason = "", message = "" }) => ({
      type,
      status: value,
      reason,
      message: message.slice(0, 300),
    })),
    podCidr: spec?.podCIDR,
    addresses: (status?.addresses ?? [])
      .filter(({ type }) => type === "InternalIP")
      .map(({ address }) => address),
    kubeletVersion: status?.nodeInfo?.kubeletVersion ?? "",
  };
}

/**
 * Says that a Node is gone for now, as the cluster would find out by itself after 40 seconds: kubeadm refuses to join while the machine's old
 * Node is Ready. Its UID, labels and pods stay.
 * @param reason one word, as `MachineBootedAnew`
 * @returns false when there is no such Node, or it was not Ready anyhow
 */
export async function markNotReady(
  client: KubernetesClient,
  name: string,
  { reason, message, now }: { readonly reason: string; readonly message: string; readonly now: EpochMs },
): Promise<boolean> {
  if ((await readNode(client, name))?.isReady !== true) return false;
  const at = new Date(now).toISOString().replace(/\.[0-9]{3}Z$/, "Z");
  const condition = {
    type: "Ready",
    status: "Unknown",
    reason,
    message,
    lastHeartbeatTime: at,
    lastTransitionTime: at,
  };
  await client.patch("Node", { name }, { status: { conditions: [condition] } }, "status");
  return true;
}

/**
 * Takes a Node away.
 * @param uid this one only, and not one that joined under its name since
 * @returns false when it was not there (any more)
 */
export async function deleteNode(client: KubernetesClient, name: string, uid?: string): Promise<boolean> {
  return client.delete("Node", { name }, uid === undefined ? {} : { uid }).catch(unlessChanged);
}

function unlessChanged(error: unknown): false {
  if (!KubernetesConflict.is(error)) throw error;
  return false;
}

/** Whether new pods may come to it. @returns false when there is no such Node */
export async function setCordoned(
  client: KubernetesClient,
  name: string,
  isCordoned: boolean,
): Promise<boolean> {
  const patch = { spec: { unschedulable: isCordoned ? true : null } };
  return (await client.patch("Node", { name }, patch).catch(unlessMissing)) !== undefined;
}

export interface DrainInput {
  readonly name: string;
  readonly version: KubernetesVersion;
  readonly now: EpochMs;
  /** From then on pods are deleted whatever stands against it. */
  readonly deadline: EpochMs;
}

export interface DrainProgress {
  /** Pods that are still there, `namespace/name`, in no order. None: it is drained. */
  readonly remaining: readonly string[];
  /** Of these, pods that a disruption budget holds back. */
  readonly heldBack: readonly string[];
}

/**
 * One pass of a drain: no new pods, and each pod that is there is asked to go; after the deadline it is taken away. Called again until nothing
 * remains, by whoever looks at the machines again and again: it keeps no state.
 */
export async function drainPass(client: KubernetesClient, input: DrainInput): Promise<DrainProgress> {
  const { name, version, now, deadline } = input;
  if (!(await setCordoned(client, name, true))) return { remaining: [], heldBack: [] };
  const { items } = await client.list("Pod", { fieldSelector: `spec.nodeName=${name}` });
  const going = items.filter((pod) => !staysWithNode(pod));
  const heldBack: string[] = [];
  for (const { metadata } of going) {
    const pod = { name: metadata.name, namespace: metadata.namespace ?? "default" };
    const { uid = "" } = metadata;
    if (now >= deadline) await client.delete("Pod", pod, { uid, graceSeconds: 0 }).catch(unlessChanged);
    else if (metadata.deletionTimestamp === undefined)
      await client.evict(pod, evictionVersion(version), uid).catch((error: unknown) => {
        // Gone, or another of its name by now.
        if (KubernetesConflict.is(error)) return;
        if (!isHeldBack(error)) return unlessMissing(error);
        heldBack.push(`${pod.namespace}/${pod.name}`);
      });
  }
  return {
    remaining: going.map(({ metadata }) => `${metadata.namespace ?? "default"}/${metadata.name}`),
    heldBack,
  };
}

/** policy/v1 came with 1.22; v1beta1 is gone since 1.25. */
const evictionVersion = ({ minor }: KubernetesVersion) => (minor >= 22 ? "policy/v1" : "policy/v1beta1");

const isHeldBack = (error: unknown) => KubernetesUnreachable.is(error) && error.details["status"] === 429;

/** A DaemonSet would bring its pod back; a mirror pod is a file on the machine, which goes with it. */
function staysWithNode({ metadata: { ownerReferences = [], annotations = {} } }: PodObject): boolean {
  return (
    "kubernetes.io/config.mirror" in annotations ||
    ownerReferences.some(({ kind, controller }) => kind === "DaemonSet" && controller === true)
  );
}

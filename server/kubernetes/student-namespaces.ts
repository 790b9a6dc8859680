import type { DeclaredObject } from "../domain/declared-object.ts";
import { describeObject } from "../domain/declared-object.ts";
import { KubernetesConflict, KubernetesRefused, StudentNamespaceTaken } from "../domain/error-catalogue.ts";
import type { StudentObjectStatus, StudentUsage } from "../domain/student.ts";
import { shareName, studentLabel } from "../domain/student-objects.ts";
import type { KubernetesClient, Manifest } from "./client.ts";
import type { Kind, NamespaceObject, ObjectName } from "./objects.ts";

/** How far a namespace is gone; `left` says in the API server's words what it still waits for. */
export type NamespaceEnd =
  | { readonly kind: "gone" }
  /** It is none of ours, and is left alone. */
  | { readonly kind: "foreign" }
  | { readonly kind: "ending"; readonly left: string | undefined };

export interface IssuedToken {
  /** A secret. */
  readonly token: string;
  readonly expiresAt: number;
}

export type StudentNamespaces = ReturnType<typeof createStudentNamespaces>;

const isOf = (student: string, { metadata }: NamespaceObject) => metadata.labels?.[studentLabel] === student;
const nameOf = ({ metadata: { name, namespace } }: DeclaredObject): ObjectName =>
  namespace === undefined ? { name } : { name, namespace };
/** All of them are in `resources`, see `studentObjects`. */
const kindOf = ({ kind }: DeclaredObject) => kind as Kind;

/**
 * Students' objects in the cluster; each call can be made again. Nothing is ever done in a namespace that has not the student's label:
 * whoever is called like a namespace that others made gets no rights there.
 */
export function createStudentNamespaces(client: KubernetesClient) {
  /** @throws StudentNamespaceTaken; KubernetesConflict while an earlier one of the name is ending */
  async function keepNamespace(student: string, namespace: DeclaredObject): Promise<void> {
    const found = await client.find("Namespace", { name: student });
    if (!found) {
      // Not applied: that would take over one that somebody makes in this moment.
      await client.create("Namespace", namespace as Manifest);
      return;
    }
    if (!isOf(student, found)) throw StudentNamespaceTaken({ student });
    if (found.metadata.deletionTimestamp !== undefined)
      throw KubernetesConflict({
        what: `Namespace ${student}`,
        reason: "somebody deletes it; it is made anew when it is gone",
      });
    await client.apply("Namespace", namespace as Manifest);
  }

  async function applyOne(object: DeclaredObject): Promise<void> {
    const kind = kindOf(object);
    await client.apply(kind, object as Manifest).catch(async (error: unknown) => {
      // What a binding binds to can't be changed (RBAC): another role needs another binding of the name.
      if (kind !== "RoleBinding" || !KubernetesRefused.is(error) || error.details["status"] !== 422)
        throw error;
      await client.delete(kind, nameOf(object));
      await client.apply(kind, object as Manifest);
    });
  }

  return {
    /**
     * Makes the student's objects so. @param objects the namespace first
     * @param isWanted asked before each: whoever is deleted meanwhile gets no more
     */
    async apply(student: string, objects: readonly DeclaredObject[], isWanted: () => boolean): Promise<void> {
      const [namespace, ...inside] = objects;
      if (!namespace) return;
      await keepNamespace(student, namespace);
      for (const object of inside) {
        if (!isWanted()) return;
        await applyOne(object);
      }
    },

    /** One step on the way to nothing: asks for the end of the namespace, or looks how far it is. */
    async end(student: string): Promise<NamespaceEnd> {
      const found = await client.find("Namespace", { name: student });
      if (!found) return { kind: "gone" };
      if (!isOf(student, found)) return { kind: "foreign" };
      if (found.metadata.deletionTimestamp !== undefined) return { kind: "ending", left: whatIsLeft(found) };
      const { uid } = found.metadata;
      await client.delete("Namespace", { name: student }, uid === undefined ? {} : { uid });
      return { kind: "ending", left: undefined };
    },

    /** What of each share is used, by student; of all or one. */
    async usage(student?: string): Promise<ReadonlyMap<string, StudentUsage>> {
      const { items } = await client.list("ResourceQuota", {
        labelSelector: student === undefined ? studentLabel : `${studentLabel}=${student}`,
        ...(student === undefined ? {} : { namespace: student }),
      });
      return new Map(
        items
          .filter(
            ({ metadata: { name, namespace, labels } }) =>
              name === shareName && labels?.[studentLabel] === namespace,
          )
          .map(({ metadata: { namespace = "" }, status }) => [
            namespace,
            { used: status?.used ?? {}, hard: status?.hard ?? {} },
          ]),
      );
    },

    /** Which of the objects are there. */
    look: (objects: readonly DeclaredObject[]): Promise<StudentObjectStatus[]> =>
      Promise.all(
        objects.map(async (object) => ({
          object: describeObject(object),
          isThere: (await client.find(kindOf(object), nameOf(object))) !== undefined,
        })),
      ),

    /**
     * A token of the student's account (TokenRequest, authentication.k8s.io/v1): it dies by itself, and with the account.
     * @param seconds from 600; the API server may give one for less
     */
    async issueToken(student: string, seconds: number): Promise<IssuedToken> {
      const { status } = (await client.ask("ServiceAccount", { name: student, namespace: student }, "token", {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        // Without audiences: those of the API server itself.
        spec: { audiences: [], expirationSeconds: seconds },
      })) as { status?: { token?: unknown; expirationTimestamp?: unknown } };
      const { token, expirationTimestamp } = status ?? {};
      const expiresAt =
        typeof expirationTimestamp === "string" ? Date.parse(expirationTimestamp) : Number.NaN;
      if (typeof token !== "string" || token === "" || Number.isNaN(expiresAt))
        throw KubernetesRefused({
          what: `create a token for ServiceAccount ${student}/${student}`,
          status: 201,
          reason: "there is none in its answer",
        });
      return { token, expiresAt };
    },
  };
}

/** Conditions of a namespace that ends by which its controller tells what it waits for (Kubernetes 1.16 and later). */
const leftConditions = new Set([
  "NamespaceDeletionDiscoveryFailure",
  "NamespaceDeletionGroupVersionParsingFailure",
  "NamespaceDeletionContentFailure",
  "NamespaceContentRemaining",
  "NamespaceFinalizersRemaining",
]);

/** Pure. */
export function whatIsLeft({ status, spec }: Pick<NamespaceObject, "status" | "spec">): string | undefined {
  const told = (status?.conditions ?? [])
    .filter(({ type, status: isSo }) => isSo === "True" && leftConditions.has(type))
    .map(({ message }) => (message ?? "").replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 300));
  if (told.length > 0) return told.join(" ");
  // Kubernetes' own goes last, by its controller.
  const others = (spec?.finalizers ?? []).filter((finalizer) => finalizer !== "kubernetes");
  return others.length > 0 ? `finalizers of the namespace: ${others.join(", ").slice(0, 200)}` : undefined;
}

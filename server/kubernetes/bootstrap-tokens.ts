import type { EpochMs } from "../domain/capabilities.ts";
import { KubernetesConflict } from "../domain/error-catalogue.ts";
import {
  bootstrapGroups,
  type BootstrapToken,
  bootstrapTokenSecret,
  type TokenPurpose,
  tokenDescription,
} from "../kubeadm/bootstrap-token.ts";
import type { KubernetesClient } from "./client.ts";
import type { SecretObject } from "./objects.ts";

/** A token of ours in the cluster, without its secret. */
export interface KnownToken {
  readonly id: string;
  /** `m/<machine>/<attempt>` */
  readonly description: string;
  /** Undefined: it says nothing that can be read as a time. */
  readonly expiresAt: EpochMs | undefined;
}

const namespace = "kube-system";
const secretName = (id: string) => ({ name: `bootstrap-token-${id}`, namespace });

/**
 * Makes a token valid in the cluster. Done again for the same machine and boot it counts as the same.
 * @throws KubernetesConflict when its id is taken by another
 */
export async function createToken(
  client: KubernetesClient,
  token: BootstrapToken,
  purpose: TokenPurpose,
): Promise<void> {
  const secret = bootstrapTokenSecret(token, purpose);
  try {
    await client.create("Secret", secret);
  } catch (error) {
    if (!KubernetesConflict.is(error)) throw error;
    const there = await client.find("Secret", secretName(token.id));
    if (there && (!isOurs(there) || textOf(there, "description") !== tokenDescription(purpose))) throw error;
    await client.apply("Secret", secret);
  }
}

/** @returns false when it was not there */
export function deleteToken(client: KubernetesClient, id: string): Promise<boolean> {
  return client.delete("Secret", secretName(id));
}

export async function listTokens(client: KubernetesClient): Promise<readonly KnownToken[]> {
  const { items } = await client.list("Secret", {
    namespace,
    fieldSelector: "type=bootstrap.kubernetes.io/token",
  });
  return items.filter(isOurs).map((secret) => ({
    id: textOf(secret, "token-id"),
    description: textOf(secret, "description"),
    expiresAt: timeOf(textOf(secret, "expiration")),
  }));
}

/**
 * Takes away tokens of ours that no join has: of joins that ended while nobody looked.
 * @param owned ids of all joins under way
 * @returns those that are gone
 */
export async function deleteUnownedTokens(
  client: KubernetesClient,
  owned: Pick<ReadonlySet<string>, "has">,
): Promise<readonly KnownToken[]> {
  const gone: KnownToken[] = [];
  for (const token of await listTokens(client)) {
    if (owned.has(token.id)) continue;
    await deleteToken(client, token.id);
    gone.push(token);
  }
  return gone;
}

const [, ownGroup] = bootstrapGroups;

/** People make tokens too (`kubeadm token create`): those are not ours to delete. */
function isOurs(secret: SecretObject): boolean {
  const id = textOf(secret, "token-id");
  return (
    secret.metadata.name === `bootstrap-token-${id}` &&
    textOf(secret, "auth-extra-groups").split(",").includes(ownGroup) &&
    textOf(secret, "description").startsWith("m/")
  );
}

const textOf = ({ data }: SecretObject, key: string) => Buffer.from(data?.[key] ?? "", "base64").toString();

function timeOf(text: string): EpochMs | undefined {
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

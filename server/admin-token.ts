import { hashSecret } from "./boot/claims.ts";
import type { Clock, Ids } from "./domain/capabilities.ts";
import type { TokenRepository } from "./store/tokens.ts";

/** The admin token, made at the first start only. @returns its secret, or undefined when there is one already */
export async function makeAdminToken(
  tokens: TokenRepository,
  { ids, clock }: { readonly ids: Ids; readonly clock: Clock },
): Promise<string | undefined> {
  if (tokens.all().some((token) => token.scope === "admin")) return undefined;
  const secret = ids.secret();
  await tokens.add({
    id: ids.id("t"),
    name: "admin",
    scope: "admin",
    hash: hashSecret(secret),
    createdAt: clock.now(),
    expiresAt: undefined,
  });
  return secret;
}

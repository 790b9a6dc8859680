/**
 * Text that anybody on the boot network may read: the only kind that a NodeSpec holds. A value of this type is made by `publicText` alone,
 * which refuses the forms that this system's secrets have.
 */
export type PublicText = string & { readonly __publicText: true };

const secretForms: readonly (readonly [RegExp, string])[] = [
  [/PRIVATE KEY/, "a private key"],
  // kubeadm's bootstrap token; a longer word around it is none.
  [/(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])/, "a bootstrap token"],
  [/\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+/, "a JSON web token"],
  // kubeadm's certificate key: 32 octets in hex. A digest says what it is (`sha256:`, `@sha256=`).
  [/(?<![0-9a-f:=])[0-9a-f]{64}(?![0-9a-f])/, "a key of 32 octets"],
  [/\/(?:boot\/claims|callback)\/[^/\s]+/, "a claim of this server"],
  [/-data:\s*["']?[A-Za-z0-9+/=]{64,}/, "a credential of a kubeconfig"],
];

/** What secret stands in a text, or undefined. */
export function secretIn(text: string): string | undefined {
  return secretForms.find(([form]) => form.test(text))?.[1];
}

/** @throws Error when the text has a secret in it: a fault of the code that made it, so it has no code for the user */
export function publicText(text: string): PublicText {
  const secret = secretIn(text);
  if (secret !== undefined) throw new Error(`a node's description may not hold ${secret}`);
  return text as PublicText;
}

import type { Signer } from "../../domain/signature.ts";
import type { RegistryNames, Trust, TrustRule } from "./trust.ts";

/** Where podsec keeps the keys on a client; the names of the files come from `keyFileOf`. */
export const keyDirectory = "/var/sigstore/keys";
export const keyFileOf = ({ name }: Pick<Signer, "name">) => `${name}.pgp`;

/** One scope of policy.json: whose signature counts there. Without keys every image there is refused. */
export interface PolicyRule {
  readonly scope: string;
  /** Files of keys, of which one has to fit. */
  readonly keyPaths?: readonly string[];
  /** The keys themselves: binary, one after the other (RFC 4880, section 3.6), in base64. */
  readonly keyData?: string;
  readonly alias?: TrustRule["alias"];
}

/**
 * policy.json (containers-policy.json(5)): every image is refused, but for what a signer of its scope has signed. Clients refuse the whole
 * file for one member that they don't know, so it holds no others.
 */
export function policyText(rules: readonly PolicyRule[]): string {
  const docker = Object.fromEntries(rules.map((rule) => [rule.scope, [requirementOf(rule)]]));
  return `${JSON.stringify({ default: [{ type: "reject" }], transports: { docker } }, undefined, 2)}\n`;
}

function requirementOf({ keyPaths = [], keyData = "", alias }: PolicyRule): object {
  if (keyPaths.length === 0 && keyData === "") return { type: "reject" };
  return {
    type: "signedBy",
    keyType: "GPGKeys",
    // `keyPaths` came with containers/image 5.22 (podman 4.2), so it stands only where there is more than one.
    ...(keyData !== "" ? { keyData } : keyPaths.length === 1 ? { keyPath: keyPaths[0] } : { keyPaths }),
    ...(alias && { signedIdentity: { type: "remapIdentity", ...alias } }),
  };
}

/** @param keys `paths`: files in `keyDirectory`, as podsec's clients fetch them; `inline`: the keys themselves, in one file that needs no other */
export function policyJson(trust: Trust, keys: "paths" | "inline"): string {
  const scopes = [...trust].toSorted(([one], [other]) => (one < other ? -1 : 1));
  return policyText(
    scopes.map(([scope, { signers, alias }]) => ({
      scope,
      alias,
      ...(keys === "paths" ? { keyPaths: signers.map(keyPathOf) } : { keyData: keyDataOf(signers) }),
    })),
  );
}

const keyPathOf = (signer: Signer) => `${keyDirectory}/${keyFileOf(signer)}`;

function keyDataOf(signers: readonly Signer[]): string {
  const octets = signers.flatMap(({ keys }) => keys.flatMap((key) => [...key.octets]));
  return btoa(octets.map((octet) => String.fromCharCode(octet)).join(""));
}

/** A file of registries.d (containers-registries.d(5)): where signatures lie. Before containers/image 5.22 only `sigstore` is known. */
export function registriesDirectoryFile(lookasideUrl: string): string {
  return `default-docker:\n  lookaside: ${lookasideUrl}\n  sigstore: ${lookasideUrl}\n`;
}

/** registries.conf (containers-registries.conf(5)). @param isPlain the registry speaks HTTP without TLS */
export function registriesConf({ host, aliases }: RegistryNames, isPlain = true): string {
  const registries = [host, ...aliases.filter((alias) => alias !== host)].map(
    (name) => `\n[[registry]]\nlocation = ${JSON.stringify(name)}\n${isPlain ? "insecure = true\n" : ""}`,
  );
  return `unqualified-search-registries = [${JSON.stringify(host)}]\n${registries.join("")}`;
}

/** Lines of hosts(5): the services of this server by the names that nodes know. */
export function hostsLines(servicesAddress: string, names: readonly string[]): string {
  return `${servicesAddress} ${names.join(" ")}\n`;
}

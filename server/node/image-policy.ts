import { type Family, familyTable } from "./families.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart } from "./node-spec.ts";
import { publicText } from "./public-text.ts";

const keyDirectory = "/var/sigstore/keys";
const lookaside = "http://sigstore.local:81/sigstore/";

/** Which images a node takes, and where it asks for their signatures: podsec's files (containers-policy.json(5), containers-registries.d(5)). */
export function imagePolicyPart(family: Family, { servicesAddress, signers }: NodeFacts): NodePart {
  const file = (path: string, text: string) =>
    ({ path, owner: "root", mode: 0o644, text: publicText(text) }) as const;
  const policy = {
    default: [{ type: "reject" }],
    transports: {
      docker: Object.fromEntries(
        signers.map(({ scope, keyFile }) => [
          scope,
          [{ type: "signedBy", keyType: "GPGKeys", keyPath: `${keyDirectory}/${keyFile}` }],
        ]),
      ),
    },
  };
  const keys = new Map(signers.map(({ keyFile, publicKey }) => [keyFile, publicKey]));
  return {
    directories: [{ path: keyDirectory, owner: "root", mode: 0o755 }],
    files: [
      file("/etc/containers/policy.json", `${JSON.stringify(policy, undefined, 2)}\n`),
      // Older readers know the second key only.
      file(
        "/etc/containers/registries.d/default.yaml",
        `default-docker:\n  lookaside: ${lookaside}\n  sigstore: ${lookaside}\n`,
      ),
      file(
        "/etc/containers/registries.conf",
        `unqualified-search-registries = ["registry.local"]\n\n[[registry]]\nlocation = "registry.local"\ninsecure = true\n`,
      ),
      file(
        "/etc/hosts",
        `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n${servicesAddress} ${familyTable[family].serverNames.join(" ")}\n`,
      ),
      ...[...keys].map(([name, text]) => file(`${keyDirectory}/${name}`, text)),
    ],
  };
}

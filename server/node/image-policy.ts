import {
  hostsLines,
  keyDirectory,
  policyText,
  registriesConf,
  registriesDirectoryFile,
} from "../signatures/policy/client-files.ts";
import { type Family, familyTable } from "./families.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart } from "./node-spec.ts";
import { publicText } from "./public-text.ts";

const lookaside = "http://sigstore.local:81/sigstore/";

/** Which images a node takes, and where it asks for their signatures: podsec's files (containers-policy.json(5), containers-registries.d(5)). */
export function imagePolicyPart(family: Family, { servicesAddress, signers }: NodeFacts): NodePart {
  const file = (path: string, text: string) =>
    ({ path, owner: "root", mode: 0o644, text: publicText(text) }) as const;
  const rules = signers.map(({ scope, keyFile }) => ({ scope, keyPaths: [`${keyDirectory}/${keyFile}`] }));
  const keys = new Map(signers.map(({ keyFile, publicKey }) => [keyFile, publicKey]));
  return {
    directories: [{ path: keyDirectory, owner: "root", mode: 0o755 }],
    files: [
      file("/etc/containers/policy.json", policyText(rules)),
      file("/etc/containers/registries.d/default.yaml", registriesDirectoryFile(lookaside)),
      file("/etc/containers/registries.conf", registriesConf({ host: "registry.local", aliases: [] })),
      file(
        "/etc/hosts",
        `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n${hostsLines(servicesAddress, familyTable[family].serverNames)}`,
      ),
      ...[...keys].map(([name, text]) => file(`${keyDirectory}/${name}`, text)),
    ],
  };
}

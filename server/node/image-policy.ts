import { clientFiles, containerdFiles, hostsLines, serviceNames } from "../signatures/policy/client-files.ts";
import { type Family, familyTable } from "./families.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart } from "./node-spec.ts";
import { publicText } from "./public-text.ts";

/** Below it containerd looks for what it has to know of a registry (`config_path`). */
export const containerdHosts = (family: Family) => `${familyTable[family].configuration}/certs.d`;

/** Which images a node takes, by which registry it gets them, and what that is called. */
export function imagePolicyPart(family: Family, { servicesAddress, images }: NodeFacts): NodePart {
  const { runtime, serverNames } = familyTable[family];
  const localNames = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  const files = [
    ...clientFiles(images),
    ...(runtime === "containerd" ? containerdFiles(images, containerdHosts(family)) : []),
    { path: "/etc/hosts", text: localNames + hostsLines(servicesAddress, serviceNames(images, serverNames)) },
  ];
  return {
    files: files.map(({ path, text }) => ({ path, owner: "root", mode: 0o644, text: publicText(text) })),
  };
}

import type { Signer } from "../../server/domain/signature.ts";
import { agentPart, type AgentServer } from "../../server/node/agent.ts";
import { families } from "../../server/node/families.ts";
import { type NodeFacts, type NodeFactsInput, readNodeFacts } from "../../server/node/node-facts.ts";
import { nodeRoles, type NodeSpec } from "../../server/node/node-spec.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";

/** Somebody who may sign; the key has the first octet of one, and no more of it. */
export const sampleSigner: Signer = {
  name: "imagemaker",
  scopes: ["registry.local"],
  keys: [
    {
      format: "openpgp",
      fingerprint: "0123456789abcdef0123456789abcdef01234567",
      algorithm: "ed25519",
      userIds: ["imagemaker"],
      createdAt: 0,
      expiresAt: undefined,
      isRevoked: false,
      octets: Uint8Array.of(0x98, 0x33, 4),
    },
  ],
  addedAt: 0,
  expiresAt: undefined,
  revokedAt: undefined,
};

/** The certificate is one that was made for this place, so that what is made of it is always the same. */
const authorityPem = `-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUAv/ctIT/udNu6MT4ErE+CCuky7wwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRcm9sbGNhbGwtYWdlbnQtY2EwHhcNMjYxMTIxMTYxMDE5WhcN
MzYxMTE4MTYxMDE5WjAcMRowGAYDVQQDDBFyb2xsY2FsbC1hZ2VudC1jYTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABLHoqCHdY+3dSzJ0nhhvRj4VWk8p8fmwddHb
71/1dwMhMCOUfldeoLZgiStRKfeVyPmALby72ehVt5A2apsFKdijUzBRMB0GA1Ud
DgQWBBT/LsRqy9AYo9HRBQvz9v5wakLgPjAfBgNVHSMEGDAWgBT/LsRqy9AYo9HR
BQvz9v5wakLgPjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQC7
3YcYTIj59o/zwwhv1G0TBO/bOMk3cf7Z4ZlwAzncBgIhAP7A/JmPO8jK8kOnrZfP
KLOB3YegL3dRu3mDI1aoY6oB
-----END CERTIFICATE-----
`;

const names = { host: "registry.local", aliases: [] };
/** A registry with one signer. */
export const sampleImages: NodeFactsInput["images"] = {
  names,
  port: 443,
  lookasidePort: 81,
  authorityPem,
  trust: trustOf([sampleSigner], names, 1),
  unsignedImages: undefined,
};

/** What is known of a sample node. */
export const sampleInput: NodeFactsInput = {
  hostname: "s5",
  machineId: "0123456789ab4cdef0123456789abcde".replace("def0", "d8f0"),
  address: "10.0.0.15",
  kernelRelease: "6.12.95+deb12-amd64",
  kubernetesVersion: "v1.30.2",
  servicesAddress: "10.0.0.2",
  controlPlaneEndpoint: "api.lab:6443",
  podNetwork: "10.244.0.0/16",
  serviceNetwork: "10.96.0.0/12",
  pauseImage: "registry.local/c10f/pause:3.9",
  images: sampleImages,
};

export function sampleFacts(changes: Partial<NodeFactsInput> = {}): NodeFacts {
  const read = readNodeFacts({ ...sampleInput, ...changes });
  if (!("facts" in read)) throw new Error(JSON.stringify(read.problems));
  return read.facts;
}

export const sampleServer: AgentServer = { httpsUrl: "https://10.0.0.2:8443", authorityPem };

/** One of each role and family with its agent, and with the kernel that makes most of it: an old one. */
export function allSamples(): readonly { readonly name: string; readonly spec: NodeSpec }[] {
  return families.flatMap((family) =>
    nodeRoles.map((role) => ({
      name: `${family}-${role}`,
      spec: rootlessNode(
        role,
        family,
        sampleFacts({ kernelRelease: "6.1.0-37-amd64" }),
        agentPart(family, sampleServer),
      ),
    })),
  );
}

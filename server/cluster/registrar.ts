import { createHash, randomInt } from "node:crypto";
import type { Claim } from "../domain/claim.ts";
import type { Clock } from "../domain/capabilities.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { ClaimRefused, NoClusterNode, NodeNameHeld } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { issueAgentCertificate } from "../pki/agent-certificates.ts";
import type { ClusterAuthorities } from "../pki/cluster-authorities.ts";
import { readSigningRequest } from "../pki/signing-requests.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { Mailbox } from "./mailbox.ts";
import type { NodeBook } from "./node-book.ts";
import { type ClaimFields, isSameMachine, nodeMisfit, readNodeReport } from "./node-report.ts";

export interface RegistrarDeps {
  readonly clock: Clock;
  readonly store: Pick<
    ClusterRepository,
    "updateNode" | "node" | "nodes" | "record" | "armedUntil" | "disarm"
  >;
  readonly record: RecordEvent;
  readonly authorities: ClusterAuthorities;
  readonly mailbox: Mailbox;
  readonly book: NodeBook;
  /** Checks the secret against the address that shows it. @throws ClaimRefused */
  readonly useClaim: (secret: string, address: string) => Claim;
  /** No newer boot of the machine took its place. */
  readonly isLive: (claim: Claim) => boolean;
  readonly machineOf: (claim: Claim) => Machine;
  /** What the claim's boot is to become in the cluster; undefined: nothing. */
  readonly roleOf: (claim: Claim) => ClusterNode["role"] | undefined;
  /** Masters are taken without an operator's word. */
  readonly isArmingAutomatic: boolean;
  readonly onClaim: (node: ClusterNode) => void;
}

export interface ClaimAnswer {
  readonly name: string;
  readonly certificate: string;
  readonly authority: string;
}

/** Who an agent is, by its certificate. */
export interface AgentProof {
  readonly machineId: string;
  readonly bootId: string;
  /** SHA-256 of its public key, hex. */
  readonly key: string;
}

/** Takes machines in that call back to join: once for each boot, and one key for each. */
export function createRegistrar(deps: RegistrarDeps) {
  const { clock, store, record, authorities, mailbox, book } = deps;

  function refuse(claim: Claim, name: string, address: string, reason: string, what: string): never {
    record({
      type: "claim.refused",
      level: "alarm",
      machineId: claim.machineId,
      bootId: claim.bootId,
      message: `${address} was refused to join as ${name}: ${what}`,
      data: { address, reason },
    });
    throw ClaimRefused({});
  }

  return {
    /**
     * The claim of a machine that has booted. Asked again with the same key it answers the same; another key for the same boot means that two
     * ask in one machine's name, and neither gets anything from then on.
     * @throws ClaimRefused, NoClusterNode, InvalidRequest, CertificateRequestInvalid
     */
    async claim(secret: string, address: string, fields: ClaimFields): Promise<ClaimAnswer> {
      const claim = deps.useClaim(secret, address);
      const machine = deps.machineOf(claim);
      const role = deps.roleOf(claim);
      if (!role) throw NoClusterNode({ machine: machine.name });
      const report = readNodeReport(fields);
      const csr = fields["csr"] ?? "";
      const { publicKey } = await readSigningRequest(csr);
      const agentKey = keyDigest(publicKey.export({ type: "spki", format: "der" }));
      const mac = fields["mac"]?.toLowerCase();
      if (mac !== undefined && !machine.macs.some((known) => known === mac))
        refuse(
          claim,
          machine.name,
          address,
          "wrong-mac",
          `it says that its MAC is ${JSON.stringify(mac.slice(0, 40))}`,
        );
      if (!isSameMachine(machine.uuid, report.uuid))
        refuse(claim, machine.name, address, "wrong-uuid", "its UUID is not the one that its firmware told");
      const holder = store
        .nodes()
        .find(
          ({ name, machineId, state }) =>
            name === machine.name && machineId !== machine.id && state !== "absent",
        );
      if (holder) throw NodeNameHeld({ machine: machine.name });
      const certificate = await issueAgentCertificate(
        authorities,
        csr,
        { machineId: machine.id, attempt: claim.bootId },
        clock.now(),
      );
      const now = clock.now();
      const misfit = nodeMisfit(report);
      const isArmed = deps.isArmingAutomatic || now < (store.armedUntil(machine.id) ?? 0);
      let isSecond = false;
      let isNew = false;
      const node = await store.updateNode(
        machine.id,
        (current) => {
          // The machine may have begun another boot while this one's certificate was made.
          if (!deps.isLive(claim)) return undefined;
          if (current?.claimHash === claim.hash) {
            isSecond = current.agentKey !== agentKey;
            return undefined;
          }
          isNew = true;
          return {
            machineId: machine.id,
            name: machine.name,
            role,
            bootId: claim.bootId,
            claimHash: claim.hash,
            agentKey,
            certificate,
            armingCode: randomInt(1_000_000).toString().padStart(6, "0"),
            address: address as Ipv4,
            report,
            state: misfit ? "failed" : role === "master" && !isArmed ? "unarmed" : "queued",
            since: now,
            deadline: undefined,
            generation: store.record.generation,
            sequence: 0,
            doneSequence: 0,
            tokenId: undefined,
            approvedRequest: undefined,
            tries: 0,
            retryAt: now,
            problem: misfit,
          };
        },
        "claimed",
        now,
      );
      if (node?.claimHash !== claim.hash) throw ClaimRefused({});
      if (isSecond) {
        await book.happen(node, "second-claim", `${address} claims the boot that another key has claimed`);
        mailbox.forget(machine.id);
        refuse(
          claim,
          machine.name,
          address,
          "second-claim",
          "another key has claimed this boot; neither gets anything until the next one",
        );
      }
      if (node.state === "quarantined") throw ClaimRefused({});
      if (isNew) {
        mailbox.forget(machine.id);
        mailbox.heard(machine.id);
        // A window is for one boot.
        if (role === "master" && isArmed) await store.disarm(machine.id);
        record({
          type: "node.claimed",
          level: misfit ? "warning" : "info",
          machineId: machine.id,
          bootId: claim.bootId,
          message: misfit
            ? `${machine.name} can't be a node: ${misfit}`
            : `${machine.name} called back to join as ${role}`,
          data: { role, kernel: report.kernel, memoryKiB: report.memoryKiB, processors: report.processors },
        });
        deps.onClaim(node);
      }
      return { name: node.name, certificate: node.certificate, authority: authorities.agent.certificatePem };
    },

    /** The row that an agent speaks for. @throws ClaimRefused: it is of another boot, or of a key that was not taken */
    identify({ machineId, bootId, key }: AgentProof): ClusterNode {
      const node = store.node(machineId);
      if (!node || node.bootId !== bootId || node.agentKey !== key || node.state === "quarantined")
        throw ClaimRefused({});
      return node;
    },
  };
}
export type Registrar = ReturnType<typeof createRegistrar>;

/** By which an agent's key is known: SHA-256 of its SubjectPublicKeyInfo (DER), hex. */
export function keyDigest(spki: Uint8Array): string {
  return createHash("sha256").update(spki).digest("hex");
}

import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import root, { type Test } from "tap";
import { type ClusterService, createClusterService } from "../../server/cluster/cluster-service.ts";
import type { DeclaredObjects } from "../../server/cluster/declared-objects.ts";
import { foreignNetwork, type PodNetwork } from "../../server/cluster/pod-network.ts";
import type { ClusterApi, ClusterEndpoint, ClusterEtcd, NodeStatus } from "../../server/cluster/ports.ts";
import { type AgentProof, keyDigest } from "../../server/cluster/registrar.ts";
import type { ClusterNode, Instruction } from "../../server/domain/cluster-node.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { type BootLab, createBootLab } from "./boot-lab.ts";
import { sampleAuthorities, sampleCluster } from "./cluster-samples.ts";
import { addressOf, macOf } from "./samples.ts";

/** What stands where Kubernetes and etcd would: a world that remembers what was done to it. */
export function createClusterWorld() {
  const nodes = new Map<string, NodeStatus>();
  const tokens = new Map<string, string>();
  const done: string[] = [];
  /** Masters whose API server answers. */
  const serving = new Set<string>();
  let masters: readonly { name: string }[] = [];
  const world = {
    nodes,
    tokens,
    done,
    serving,
    /** Calls to the API server fail by this. */
    fault: undefined as Error | undefined,
    /** Its masters keep the data in their RAM: what the first one begins with is of an earlier time. */
    wentBack: false,
    /** So many of them are gone that the others can do nothing. */
    isBeyondRepair: false,
    /** etcd lets no member go, by this. */
    guard: undefined as Error | undefined,
    /** Certificates that were asked for, judged once. */
    requests: [] as { tokenId: string; machine: string }[],
    count: (what: string) => done.filter((line) => line.startsWith(what)).length,
  };
  const call = async (what: string, work: () => void = () => undefined) => {
    if (world.fault) throw world.fault;
    done.push(what);
    work();
  };
  const api: ClusterApi = {
    nodes: async () => {
      if (world.fault) throw world.fault;
      return [...nodes.values()];
    },
    markNotReady: (name) =>
      call(`not-ready ${name}`, () => {
        const node = nodes.get(name);
        if (node) nodes.set(name, { ...node, isReady: false });
      }),
    removeNode: (name) => call(`remove ${name}`, () => void nodes.delete(name)),
    drain: (name) => call(`drain ${name}`),
    createToken: (token, { machine }) => call(`token ${machine}`, () => void tokens.set(token.id, machine)),
    keepTokens: (isOpen) =>
      call("keep", () => {
        for (const id of tokens.keys()) if (!isOpen(id)) tokens.delete(id);
      }),
    async judgeRequests(joins) {
      const asked = world.requests.splice(0);
      return asked.map(({ tokenId, machine }) => {
        const join = joins().find((one) => one.tokenId === tokenId);
        const isRight = join?.machine === machine;
        return {
          request: `csr-${machine}`,
          tokenId,
          verdict: isRight ? ("approve" as const) : ("deny" as const),
          reason: isRight ? undefined : "wrong-name",
          message: isRight ? undefined : `it may not be called ${machine}`,
        };
      });
    },
    setUp: () => call("set-up"),
  };
  const etcd: ClusterEtcd = {
    async prepareInit(generation) {
      done.push(`etcd init ${generation}`);
      return { files: [], wentBack: world.wentBack };
    },
    prepareMaster: async ({ name }) => void done.push(`etcd prepare ${name}`),
    generation: async () => undefined,
    start: async () => undefined,
    stop: async () => undefined,
    isBeyondRepair: async () => world.isBeyondRepair,
    async removeMaster({ name }) {
      if (world.guard) throw world.guard;
      done.push(`etcd remove ${name}`);
    },
    removeForsaken: () => call("forsaken"),
    wipe: async (generation) => {
      done.push(`etcd wipe ${generation}`);
      nodes.clear();
    },
  };
  const endpoint: ClusterEndpoint = {
    setMasters: (found) => void (masters = found),
    readyMasters: () => masters.filter(({ name }) => serving.has(name)).length,
  };
  return { ...world, world, api, etcd, endpoint };
}
export type ClusterWorld = ReturnType<typeof createClusterWorld>;

export interface Settings {
  readonly arming?: "operator" | "automatic";
  readonly workerSlots?: number;
  readonly keepsData?: boolean;
  readonly objects?: DeclaredObjects;
  /** Default: a network that nobody has to be told. */
  readonly network?: PodNetwork;
}

/** Keys take longer to make than a test takes. */
const shared = sampleAuthorities(root);

/** The cluster's room on the boot lab, with machines that are agents in this process. */
export async function createClusterLab(t: Test, settings: Settings = {}) {
  const lab = await createBootLab(t);
  const authorities = await shared;
  const world = createClusterWorld();
  const ready: string[] = [];
  const make = (): ClusterService =>
    createClusterService({
      clock: lab.clock,
      log: silentLog,
      record: (event) => void lab.events.push(event),
      store: lab.store.cluster,
      cluster: sampleCluster("1.31.0"),
      authorities,
      api: world.api,
      etcd: world.etcd,
      endpoint: world.endpoint,
      network: settings.network ?? foreignNetwork,
      objects: settings.objects,
      initArguments: [],
      keepsData: settings.keepsData ?? true,
      workerSlots: settings.workerSlots ?? 8,
      isArmingAutomatic: settings.arming !== "operator",
      random: () => 0.123,
      useClaim: (secret, address) => lab.claims.fetch(secret, address, "join"),
      isLive: ({ machineId, hash }) => lab.claims.ofMachine(machineId)?.hash === hash,
      machineOf: ({ machineId }) => lab.inventory.get(machineId),
      roleOf: ({ target }) =>
        target.kind === "role" && (target.role === "master" || target.role === "worker")
          ? target.role
          : undefined,
      onClaim: ({ machineId }) => lab.tracker.advance(machineId, "join.begun"),
      onReady: async ({ name }) => void ready.push(name),
      onAlive: () => undefined,
      onFailed: () => undefined,
    });
  let service = make();
  return {
    ...lab,
    boot: lab,
    world,
    ready,
    authorities,
    get service() {
      return service;
    },
    /** The server is killed, and started again on what it had written down. */
    restart(): void {
      void service.stop();
      service = make();
    },
    /** Passes until nothing is left that a pass can do by itself. */
    async passes(count = 4): Promise<void> {
      for (let pass = 0; pass < count; pass++) {
        await service.pass();
        await lab.settle();
      }
    },
    row: (name: string): ClusterNode => {
      const node = service.node(lab.machine(name).id);
      if (!node) throw new Error(`${name} has no row`);
      return node;
    },
    /** Adds a machine with its role and lets it boot up to its claim. */
    async add(number: number, name: string, role: "master" | "worker"): Promise<Agent> {
      await lab.add(number, name);
      await lab.assign(name, role);
      return createAgent(number, name);
    },
  };

  async function createAgent(number: number, name: string): Promise<Agent> {
    const agent: Agent = {
      name,
      number,
      secret: "",
      kernelBootId: "",
      proof: { machineId: lab.machine(name).id, bootId: "", key: "" },
      done: 0,
      fields: {},
      async powerOn() {
        boots++;
        await lab.dhcp(number);
        agent.secret = await lab.claim(number);
        agent.kernelBootId = `${boots.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
        agent.done = 0;
        world.serving.delete(name);
        const { csr, key } = await makeRequest();
        agent.proof = { machineId: lab.machine(name).id, bootId: lab.boot(name).id, key };
        agent.fields = {
          csr,
          bootId: agent.kernelBootId,
          uuid: "",
          mac: macOf(number),
          memoryKiB: "4000000",
          processors: "2",
          kernel: "6.1.0-37-amd64",
          controllers: "cpuset cpu io memory pids",
          subuids: "65536",
          runtime: "containerd",
        };
      },
      claim: (from = number) => service.claim(agent.secret, addressOf(from), agent.fields),
      poll: () => service.instruction(agent.proof, { done: agent.done, waitMs: 0 }),
      async finish(instruction, result = 0, tail = "") {
        agent.done = instruction.sequence;
        await service.report(agent.proof, { sequence: instruction.sequence, result, phase: "", tail });
      },
      appear() {
        world.nodes.set(name, {
          name,
          bootId: agent.kernelBootId,
          isReady: true,
          podCidr: `10.244.${number}.0/24`,
          address: addressOf(number),
        });
      },
      async obey() {
        const instruction = await agent.poll();
        if (!instruction) return undefined;
        if (instruction.operation === "init") world.serving.add(name);
        if (instruction.operation === "init" || instruction.operation === "join") agent.appear();
        if (instruction.operation === "join" && service.node(agent.proof.machineId)?.role === "master")
          world.serving.add(name);
        await agent.finish(instruction);
        return instruction.operation;
      },
    };
    return agent;
  }
}
export type ClusterLab = Awaited<ReturnType<typeof createClusterLab>>;
let boots = 0;

/** A machine's agent, as far as the server sees it. */
export interface Agent {
  readonly name: string;
  readonly number: number;
  secret: string;
  kernelBootId: string;
  proof: AgentProof;
  done: number;
  fields: Record<string, string>;
  /** Boots up to the point where its agent starts. */
  powerOn(): Promise<void>;
  claim(from?: number): ReturnType<ClusterService["claim"]>;
  poll(): Promise<Instruction | undefined>;
  finish(instruction: Instruction, result?: number, tail?: string): Promise<void>;
  /** Its kubelet registers it, Ready in this boot. */
  appear(): void;
  /** Does what it is told, as kubeadm would. @returns the operation */
  obey(): Promise<Instruction["operation"] | undefined>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A new key and its request. */
export async function makeRequest(): Promise<{ csr: string; key: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: "CN=agent",
    keys,
    signingAlgorithm: algorithm,
  });
  const spki = await webcrypto.subtle.exportKey("spki", keys.publicKey);
  return { csr: `${request.toString("pem")}\n`, key: keyDigest(new Uint8Array(spki)) };
}

export type { BootLab };

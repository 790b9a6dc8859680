import type { ClusterNode } from "../domain/cluster-node.ts";
import type { Rule } from "./diagnosis.ts";
import { eventsOf, logTails, type Reading } from "./evidence.ts";
import { seenEvent, seenLine, span } from "./wording.ts";

/** The machine's row in the cluster, if it is of its last boot. */
function nodeOf({ cluster, boot }: Reading): ClusterNode | undefined {
  const node = cluster?.node;
  return node && (boot === undefined || boot.id === "" || node.bootId === boot.id) ? node : undefined;
}

const seenState = ({ state, since, problem }: ClusterNode) => ({
  at: since,
  what: `${state} in the cluster${problem === undefined ? "" : `: ${problem}`}`,
});

const unarmed: Rule = {
  code: "MASTER_NOT_ARMED",
  sentence: "The master is fine and waits until an operator lets it join.",
  advice: [
    "Read the six digits on its screen: `boot cluster arm NAME --code DIGITS`. Ahead of a boot: `boot cluster arm NAME`.",
    "`cluster.arming: automatic` in the config takes masters without that.",
  ],
  isFine: true,
  find(reading) {
    const node = nodeOf(reading);
    if (node?.state !== "unarmed") return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} waits since ${span(reading.now - node.since)} for an operator to arm it.`,
      seen: [seenState(node)],
    };
  },
};

const claimedTwice: Rule = {
  code: "CLAIMED_TWICE",
  sentence:
    "Two asked to join in this machine's name in one boot: neither gets anything before its next one.",
  advice: [
    "Find out who the second one is: the event names its address. Another machine of the network may have read the claim.",
    "Then switch this machine on anew: its next boot has another claim.",
  ],
  find(reading) {
    const node = nodeOf(reading);
    if (node?.state !== "quarantined") return undefined;
    const told = eventsOf(reading, "claim.refused").filter(({ data }) => data["reason"] === "second-claim");
    return {
      certainty: "certain",
      what: `${reading.name} is in quarantine: its boot was claimed twice.`,
      seen: [seenState(node), ...told.slice(-2).map(seenEvent)],
    };
  },
};

const otherHardware: Rule = {
  code: "JOIN_IDENTITY_REFUSED",
  sentence:
    "What calls back to join says that it is other hardware than the machine that booted (MAC or UUID).",
  advice: [
    "When a board or network card was exchanged: `boot machine edit NAME --mac ...`, or remove the machine and let it be met anew.",
    "When not: the event names the address of whoever tried.",
  ],
  find(reading) {
    const told = eventsOf(reading, "claim.refused").filter(({ data }) =>
      ["wrong-mac", "wrong-uuid"].includes(String(data["reason"])),
    );
    const last = told.at(-1);
    if (!last || nodeOf(reading) || reading.isThrough) return undefined;
    return { certainty: "certain", what: `${last.message}.`, seen: told.slice(-3).map(seenEvent) };
  },
};

/** What Go says of a TCP connection that does not come about. */
const noConnection =
  /dial tcp [^\s:]+:\d+: (connect: )?(connection refused|no route to host|network is unreachable|i\/o timeout|connection timed out)|(context deadline exceeded|Client\.Timeout exceeded).{0,80}awaiting headers|lookup \S+ on \S+: (no such host|server misbehaving)/;

const endpointUnreachable: Rule = {
  code: "ENDPOINT_UNREACHABLE",
  sentence: "The kubelet or kubeadm can't reach the cluster's endpoint: its address, its port or its name.",
  advice: [
    "From the machine: `curl -k https://ENDPOINT/healthz`. Where that fails, look at firewalls, at its address and router, and at the name's entry in DNS.",
    "Where it is refused everywhere: no API server is behind it; `boot cluster show` names the masters.",
  ],
  find(reading) {
    const { cluster, name, isThrough } = reading;
    const node = nodeOf(reading);
    if (!cluster || isThrough || !node || node.state === "ready") return undefined;
    const tail = logTails(reading).findLast(({ text }) => noConnection.test(text));
    const inProblem = noConnection.test(node.problem ?? "");
    if (!tail && !inProblem) return undefined;
    const isDown = cluster.readyMasters === 0;
    return {
      certainty: "certain",
      what: isDown
        ? `${name} can't reach the cluster's endpoint ${cluster.endpoint}, behind which no API server is ready now.`
        : `${name} can't reach the cluster's endpoint ${cluster.endpoint}, though ${cluster.readyMasters === 1 ? "a master answers" : `${cluster.readyMasters} masters answer`} this server.`,
      seen: [...(tail ? [seenLine(tail.at, tail.text, noConnection)] : []), seenState(node)],
    };
  },
};

const unsignedImage: Rule = {
  code: "UNSIGNED_IMAGE",
  sentence: "The registry refused the machine an image that nobody who may has signed.",
  advice: [
    "Sign it: `boot sign IMAGE --key FILE` (or `--gpg USER`), by a signer of `boot key list`.",
    "`boot image list` shows who signed what; `registry.repositories` says which repositories have to be signed.",
  ],
  find(reading) {
    const { name, events, boot, isThrough } = reading;
    const since = boot?.startedAt ?? 0;
    const refused = events.filter(
      ({ type, at, data }) => type === "image.unsigned-pull" && at >= since && data["mode"] !== "warn",
    );
    const last = refused.at(-1);
    if (!last) return undefined;
    return {
      certainty: isThrough ? "noted" : "certain",
      what: `${name} asked the registry for ${String(last.data["reason"])}, which is ${stateWords[String(last.data["state"])] ?? "not signed as it has to be"}, and was refused.`,
      seen: refused.slice(-3).map(seenEvent),
    };
  },
};

const stateWords: Readonly<Record<string, string>> = {
  unsigned: "not signed",
  expired: "signed, but the signature or its key has expired",
  revoked: "signed by a key that was revoked",
  refused: "signed, but not for this name or not by somebody who may",
};

const unfit: Rule = {
  code: "NODE_UNFIT",
  sentence:
    "The system of the machine lacks what a rootless node needs: cgroup controllers or subordinate ids.",
  advice: [
    "Give it a role with one of our images, or add what the evidence names to its own; docs/cluster.md lists it.",
  ],
  find(reading) {
    const node = nodeOf(reading);
    if (node?.state !== "failed" || node.tries > 0 || node.sequence > 0 || node.problem === undefined)
      return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} can't be a node: ${node.problem}.`,
      seen: [seenState(node)],
    };
  },
};

const joinFailed: Rule = {
  code: "JOIN_FAILED",
  sentence: "kubeadm failed on the machine, as often as it is tried in one boot.",
  advice: [
    "`boot events --machine NAME` has kubeadm's log; `boot cluster retry NAME` lets the machine try again, without a reboot.",
  ],
  isGeneral: true,
  find(reading) {
    const node = nodeOf(reading);
    if (!node || !(node.state === "failed" || (node.state === "queued" && node.tries > 0))) return undefined;
    const tail = logTails(reading).at(-1);
    return {
      certainty: "certain",
      what: `${reading.name} could not join${node.state === "queued" ? ` so far (${node.tries} tried)` : ""}: ${node.problem ?? "no reason is known"}.`,
      seen: [seenState(node), ...(tail ? [seenLine(tail.at, tail.text, /\S/)] : [])],
    };
  },
};

const nodeNotReady: Rule = {
  code: "NODE_NOT_READY",
  sentence: "kubeadm is through on the machine, and its Node is not Ready.",
  advice: [
    "`kubectl describe node NAME` names the condition: most often the pods' network, or an image that its kubelet can't pull.",
  ],
  find(reading) {
    const node = nodeOf(reading);
    if (node?.state !== "registered" || reading.now - node.since < 90_000) return undefined;
    return {
      certainty: "probable",
      what: `${reading.name} joined ${span(reading.now - node.since)} ago and its Node is not Ready.`,
      seen: [seenState(node)],
      candidates: [
        {
          code: "POD_NETWORK_MISSING",
          what: "the pods' network is not there",
          tell: 'the Node says "cni plugin not initialized"',
        },
        {
          code: "KUBELET_DOWN",
          what: "its kubelet does not run",
          tell: "there is no such Node, or its heartbeat is old",
        },
      ],
    };
  },
};

const waitsForCluster: Rule = {
  code: "WAITS_FOR_CLUSTER",
  sentence: "The machine is fine and waits for the cluster, or for its turn to join.",
  advice: [
    "`boot cluster show` says what the cluster waits for. A worker joins by itself as soon as a master is up.",
  ],
  isFine: true,
  find(reading) {
    const { cluster, name, now } = reading;
    const node = nodeOf(reading);
    if (!cluster || node?.state !== "queued" || node.tries > 0) return undefined;
    const [master] = cluster.unarmedMasters;
    const why =
      cluster.readyMasters > 0
        ? "for its turn"
        : master === undefined
          ? "for a master: none is up"
          : `for a master: ${master} waits to be armed`;
    return {
      certainty: "certain",
      what: `${name} waits ${why}, since ${span(now - node.since)}.`,
      seen: [
        seenState(node),
        { at: now, what: `the cluster is ${cluster.state}, ${cluster.readyMasters} masters answer` },
      ],
      ...(master === undefined || cluster.readyMasters > 0
        ? {}
        : {
            advice: [
              `Arm the master: \`boot cluster arm ${master}\` with the code on its screen; this machine then goes on by itself.`,
            ],
          }),
    };
  },
};

const nodeLost: Rule = {
  code: "NODE_LOST",
  sentence: "The machine was in the cluster, and neither its agent nor its Node gives a sign.",
  advice: ["Look whether it is on and its link is up; switched on anew it joins by itself."],
  find(reading) {
    const node = nodeOf(reading);
    if (node?.state !== "lost" && node?.state !== "absent") return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} was ready and gives no sign since ${span(reading.now - node.since)}.`,
      seen: [seenState(node)],
    };
  },
};

export const clusterRules: readonly Rule[] = [
  claimedTwice,
  unarmed,
  unfit,
  unsignedImage,
  endpointUnreachable,
  otherHardware,
  joinFailed,
  nodeNotReady,
  waitsForCluster,
  nodeLost,
];

import type { SignerKey } from "../domain/signature.ts";
import { type Cidr, cidrContains, formatCidr, parseCidr } from "../net/cidr.ts";
import { type Ipv4, ipv4FromNumber, parseIpv4 } from "../net/ipv4.ts";
import type { ClientSettings } from "../signatures/policy/client-files.ts";
import { isScope } from "../signatures/policy/reference.ts";
import { secretIn } from "./public-text.ts";

/** What the server knows of a node before its boot, as it comes. */
export interface NodeFactsInput {
  readonly hostname: string;
  /** 32 hex digits, the same at each boot of the machine (machine-id(5)). */
  readonly machineId: string;
  readonly address: string;
  /** Of the image that it boots, as `uname -r` says it: `6.1.0-37-amd64`. */
  readonly kernelRelease: string;
  /** `1.30.2`, `v1.20.2` */
  readonly kubernetesVersion: string;
  /** Of the registry and the lookaside store. */
  readonly servicesAddress: string;
  /** `host:port` */
  readonly controlPlaneEndpoint: string;
  readonly podNetwork: string;
  readonly serviceNetwork: string;
  /** Of slirp4netns, between node and user namespace; nothing else may have these addresses. A /24. */
  readonly innerNetwork?: string;
  readonly pauseImage: string;
  /** The registry that it pulls from, and what it takes of it. */
  readonly images: ClientSettings;
}

export interface NodeFacts {
  readonly hostname: string;
  readonly machineId: string;
  readonly address: Ipv4;
  readonly kernel: { readonly major: number; readonly minor: number };
  readonly kubernetes: { readonly minor: number; readonly version: string };
  readonly servicesAddress: Ipv4;
  readonly controlPlaneEndpoint: string;
  readonly podNetwork: Cidr;
  readonly serviceNetwork: Cidr;
  readonly inner: { readonly network: Cidr; readonly address: Ipv4; readonly router: Ipv4 };
  readonly pauseImage: string;
  readonly images: ClientSettings;
  /** Made by `readNodeFacts` alone: each value has a closed form, in which no secret fits. */
  readonly __checked: true;
}

/** slirp4netns(1): its own address, and the one that it gives the namespace. */
const innerRouter = 2;
const innerAddress = 100;
const defaultInnerNetwork = "10.254.254.0/24";

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const hostnameForm = new RegExp(`^(?=.{1,63}$)${label}$`);
const hostForm = `${label}(?:\\.${label})*`;
const endpointForm = new RegExp(`^(?=.{1,259}$)${hostForm}:([0-9]{1,5})$`);
const segment = "[a-z0-9]+(?:[._-][a-z0-9]+)*";
const imageForm = new RegExp(`^${hostForm}(?::[0-9]{1,5})?(?:/${segment})+:[\\w][\\w.-]{0,127}$`);
const registryForm = /^[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?$/;
/** As policy.json writes one; a namespace of Docker Hub is none of `isScope`. */
const scopeForm = /^(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:\/[a-z0-9._-]+)*(?::[\w.-]{1,128})?$/;
const certificateForm = /^(?:-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n)+$/;
const isPort = (port: number) => Number.isInteger(port) && port >= 0 && port <= 65_535;

function* problemsOfImages(images: ClientSettings): Generator<string> {
  const { names, port, lookasidePort, authorityPem, trust, unsignedImages = [] } = images;
  if (![names.host, ...names.aliases].every((name) => registryForm.test(name)))
    yield "a registry is called host or host:port";
  if (![port, lookasidePort].every(isPort)) yield "a port must be one of TCP";
  if (authorityPem !== undefined && !certificateForm.test(authorityPem))
    yield "an authority must be certificates in PEM";
  if (![...trust.keys()].every(isScope) || !unsignedImages.every((scope) => scopeForm.test(scope)))
    yield "a scope must be a registry, a repository or an image";
  const keys = [...trust.values()].flatMap(({ signers }) => signers.flatMap((signer) => signer.keys));
  if (!keys.every(isPublicKey)) yield "a key must be a public one";
}

const isPublicKey = ({ format, octets }: SignerKey): boolean =>
  format === "openpgp" ? isOpenpgpPublicKey(octets) : isPublicKeyInfo(octets);

const derSequence = 0x30;

/** A sequence that begins with another one (RFC 5280, section 4.1); private keys begin with a version (RFC 5958, section 2). */
function isPublicKeyInfo([tag, length = 0, ...rest]: Uint8Array): boolean {
  const longLength = length < 0x80 ? 0 : length & 0x7f;
  return tag === derSequence && rest[longLength] === derSequence;
}

/** By its first packet (RFC 4880, sections 4.2 and 4.3). */
function isOpenpgpPublicKey([header = 0]: Uint8Array): boolean {
  const isNewFormat = (header & 0x40) !== 0;
  return (header & 0x80) !== 0 && (isNewFormat ? header & 0x3f : (header >> 2) & 0x0f) === 6;
}

export interface FactProblem {
  readonly fact: string;
  readonly message: string;
}

/** Checks what is known of a node. A value that has another form than its fact's is refused, and not quoted. */
export function readNodeFacts(
  input: NodeFactsInput,
):
  | { readonly facts: NodeFacts; readonly problems: readonly [] }
  | { readonly problems: readonly FactProblem[] } {
  const problems: FactProblem[] = [];
  const refuse = (fact: string, message: string) => problems.push({ fact, message });
  const held = <Value>(fact: string, value: Value | undefined, message: string): Value => {
    if (value === undefined) refuse(fact, message);
    return value as Value;
  };
  const formed = (fact: string, text: string, form: RegExp, message: string): string =>
    held(fact, form.test(text) && secretIn(text) === undefined ? text : undefined, message);
  const address = (fact: string, text: string) => held(fact, parseIpv4(text), "must be an IPv4 address");
  const network = (fact: string, text: string) =>
    held(fact, parseCidr(text), "must be a network, such as 10.244.0.0/16");

  const kernel = /^([0-9]{1,3})\.([0-9]{1,3})(?:[.+~-][\w.+~-]*)?$/.exec(input.kernelRelease);
  if (!kernel) refuse("kernelRelease", "must be a kernel's release, such as 6.1.0-37-amd64");
  const kubernetes = /^v?(1\.([0-9]{1,3})\.[0-9]{1,3})$/.exec(input.kubernetesVersion);
  if (!kubernetes) refuse("kubernetesVersion", "must be a version, such as 1.30.2");
  const inner = network("innerNetwork", input.innerNetwork ?? defaultInnerNetwork);
  const at = (host: number) => ipv4FromNumber(inner.first + host);

  const facts = {
    hostname: formed("hostname", input.hostname, hostnameForm, "must be one label of a DNS name"),
    machineId: formed("machineId", input.machineId, /^(?!0{32})[0-9a-f]{32}$/, "must be 32 hex digits"),
    address: address("address", input.address),
    servicesAddress: address("servicesAddress", input.servicesAddress),
    controlPlaneEndpoint: formed(
      "controlPlaneEndpoint",
      input.controlPlaneEndpoint,
      endpointForm,
      "must be host:port",
    ),
    podNetwork: network("podNetwork", input.podNetwork),
    serviceNetwork: network("serviceNetwork", input.serviceNetwork),
    pauseImage: formed("pauseImage", input.pauseImage, imageForm, "must be an image with its tag"),
  };
  for (const problem of problemsOfImages(input.images)) refuse("images", problem);
  if (problems.length > 0) return { problems };
  if (inner.prefixLength !== 24) refuse("innerNetwork", "must be a /24");
  const networks = {
    podNetwork: facts.podNetwork,
    serviceNetwork: facts.serviceNetwork,
    innerNetwork: inner,
  };
  for (const [fact, one] of Object.entries(networks)) {
    for (const host of [facts.address, facts.servicesAddress])
      if (cidrContains(one, host)) refuse(fact, `may not hold the address ${host} of the network outside`);
    for (const [other, two] of Object.entries(networks))
      if (fact < other && one.first <= two.last && two.first <= one.last)
        refuse(fact, `overlaps ${other} ${formatCidr(two)}`);
  }
  if (problems.length > 0) return { problems };
  return {
    facts: {
      ...facts,
      kernel: { major: Number(kernel?.[1]), minor: Number(kernel?.[2]) },
      kubernetes: { minor: Number(kubernetes?.[2]), version: kubernetes?.[1] ?? "" },
      inner: { network: inner, address: at(innerAddress), router: at(innerRouter) },
      images: input.images,
      __checked: true,
    },
    problems: [],
  };
}

/** A machine-id from 16 octets or more that are the same at each boot, such as an HMAC over the MAC: a UUID of version 4 by its form. */
export function machineIdFrom(octets: Uint8Array): string {
  const id = octets.slice(0, 16);
  if (id.length < 16) throw new Error("a machine-id takes 16 octets");
  id[6] = ((id[6] ?? 0) & 0x0f) | 0x40;
  id[8] = ((id[8] ?? 0) & 0x3f) | 0x80;
  return Buffer.from(id).toString("hex");
}

import { type Stats, statSync } from "node:fs";
import { resolve } from "node:path";
import { Value } from "typebox/value";
import { readCluster } from "../domain/cluster.ts";
import { ClusterInvalid } from "../domain/error-catalogue.ts";
import { isTimeZone } from "../domain/schedule.ts";
import { type Cidr, cidrContains, formatCidr, parseCidr } from "../net/cidr.ts";
import { type Ipv4, ipv4ToNumber, parseIpv4 } from "../net/ipv4.ts";
import { checkStudents } from "./check-students.ts";
import { anyAddress, clusterInput } from "./cluster-input.ts";
import {
  addressPattern,
  type Config,
  type ConfigKey,
  configKeys,
  describeAllowed,
  type SchemaNode,
} from "./schema.ts";

/** A path below a key: `["dhcp", "subnets", 0, "dns"]`. */
export type ValuePath = readonly (string | number)[];

/** One mistake and the place of the value that is wrong. */
export interface ValueProblem {
  readonly path: ValuePath;
  readonly message: string;
}

/** `dhcp.subnets[0].dns` */
export function formatPath(path: ValuePath): string {
  return path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${part}`))
    .join("");
}

/** What is wrong with the value of one key by its schema, each fault at the item that has it. */
export function checkValue(key: ConfigKey, value: unknown): ValueProblem[] {
  return checkNode(key.schema, value, key.path);
}

function checkNode(schema: SchemaNode, value: unknown, path: ValuePath): ValueProblem[] {
  if (schema.type === "array" && Array.isArray(value))
    return value.flatMap((item: unknown, index) => checkNode(schema.items ?? {}, item, [...path, index]));
  if (schema.type === "object" && typeof value === "object" && value !== null && !Array.isArray(value)) {
    const properties = schema.properties ?? {};
    const missing = (schema.required ?? []).filter((name) => !Object.hasOwn(value, name));
    return [
      ...missing.map((name) => ({ path, message: `the key ${name} is missing` })),
      ...Object.entries(value).flatMap(([name, item]) => {
        const known = Object.hasOwn(properties, name) ? properties[name] : undefined;
        if (known) return checkNode(known, item, [...path, name]);
        const message = `unknown key; known are ${Object.keys(properties).join(", ")}`;
        return [{ path: [...path, name], message }];
      }),
    ];
  }
  const isAllowed =
    Value.Check(schema as never, value) &&
    (schema.pattern !== addressPattern || parseIpv4(value as string) !== undefined);
  if (isAllowed) return [];
  const shown = value === null ? "an empty value" : (JSON.stringify(value)?.slice(0, 80) ?? "nothing");
  const quotes =
    schema.type === "string" && schema.title === undefined && ["number", "boolean"].includes(typeof value)
      ? `; in quotes YAML takes it for a text: "${shown}"`
      : "";
  return [{ path, message: `${shown} is not allowed; it must be ${describeAllowed(schema)}${quotes}` }];
}

/** What a schema can't say: addresses inside their networks, and so on. */
export function checkMeaning(config: Config): ValueProblem[] {
  const problems: ValueProblem[] = [];
  const networks: Cidr[] = [];
  for (const [index, subnet] of config.dhcp.subnets.entries()) {
    const add = (field: string, message: string) =>
      problems.push({ path: ["dhcp", "subnets", index, field], message });
    const cidr = parseCidr(subnet.subnet);
    if (!cidr) {
      add(
        "subnet",
        `${JSON.stringify(subnet.subnet)} is not a network; write it as 10.0.0.0/24, host bits zero`,
      );
      continue;
    }
    const other = networks.find((known) => known.first <= cidr.last && cidr.first <= known.last);
    if (other) add("subnet", `${formatCidr(cidr)} overlaps with ${formatCidr(other)}`);
    networks.push(cidr);
    const router = subnet.router === undefined ? undefined : parseIpv4(subnet.router);
    if (router && !cidrContains(cidr, router)) add("router", `${router} is not in ${formatCidr(cidr)}`);
    if (subnet.range !== undefined && !isRangeOf(cidr, subnet.range))
      add(
        "range",
        `${JSON.stringify(subnet.range)} must be two addresses of ${formatCidr(cidr)}, the smaller first, like 10.0.0.100-10.0.0.199`,
      );
  }
  if (config.dhcp.mode === "authoritative" && config.dhcp.subnets.length === 0)
    problems.push({
      path: ["dhcp", "mode"],
      message: "authoritative needs at least one entry in dhcp.subnets",
    });
  for (const [index, network] of config.tftp.clients.entries())
    if (!parseCidr(network))
      problems.push({
        path: ["tftp", "clients", index],
        message: `${JSON.stringify(network)} is not a network; write it as 10.0.0.0/8, host bits zero`,
      });
  for (const [index, device] of config.interfaces.entries())
    if (config.interfaces.indexOf(device) < index)
      problems.push({ path: ["interfaces", index], message: `${device} is listed already` });
  problems.push(
    ...checkPorts(config),
    ...checkCluster(config),
    ...checkRegistryAccess(config),
    ...checkUpstreams(config),
    ...checkStudents(config),
  );
  const { url } = config.store;
  if (url !== undefined && !/^sqlite:./.test(url))
    problems.push({
      path: ["store", "url"],
      message: `${JSON.stringify(url)} is not allowed; it must be sqlite:FILE`,
    });
  const { rolesDir, timezone } = config;
  if (timezone !== undefined && !isTimeZone(timezone))
    problems.push({
      path: ["timezone"],
      message: `${JSON.stringify(timezone)} is no time zone; write its IANA name, like Europe/Moscow`,
    });
  if (rolesDir !== undefined && !isDirectory(rolesDir))
    problems.push({ path: ["rolesDir"], message: `there is no directory ${rolesDir}` });
  const controlSocket = resolve(config.dataDir, "control.sock");
  if (Buffer.byteLength(controlSocket) > longestSocketPath)
    problems.push({
      path: ["dataDir"],
      message: `too long: ${controlSocket} has ${Buffer.byteLength(controlSocket)} octets, and Linux takes ${longestSocketPath} in the path of a socket`,
    });
  return problems;
}

const isDirectory = (path: string) => stateOf(path)?.isDirectory() === true;
const isFile = (path: string) => stateOf(path)?.isFile() === true;

/** Undefined: it is not there, or a directory above it is closed to whoever asks. */
function stateOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function checkCluster(config: Config): ValueProblem[] {
  const { kubernetesVersion, passphraseFile, objectsDir } = config.cluster;
  if (kubernetesVersion === undefined)
    return configKeys
      .filter(({ path: [section, name = ""], default: usual }) => {
        const value = section === "cluster" ? config.cluster[name as keyof Config["cluster"]] : usual;
        return JSON.stringify(value) !== JSON.stringify(usual);
      })
      .map(({ path }) => ({ path, message: "means nothing without cluster.kubernetesVersion" }));
  const problems: ValueProblem[] = checkClusterNetworks(config);
  if (passphraseFile !== undefined && !isFile(passphraseFile))
    problems.push({ path: ["cluster", "passphraseFile"], message: `there is no file ${passphraseFile}` });
  // One that is not there yet may be mounted later: it is no reason to have no server.
  if (objectsDir !== undefined && stateOf(objectsDir)?.isDirectory() === false)
    problems.push({ path: ["cluster", "objectsDir"], message: `${objectsDir} is no directory` });
  const input = clusterInput(config, config.address ?? anyAddress);
  try {
    if (input) readCluster(input);
  } catch (error) {
    if (!ClusterInvalid.is(error)) throw error;
    for (const problem of error.details["problems"] as string[]) {
      const end = problem.indexOf(": ");
      problems.push({ path: ["cluster", problem.slice(0, end)], message: problem.slice(end + 2) });
    }
  }
  return problems;
}

/**
 * Networks of the cluster that hold an address of the server's own: known when its interfaces are, so not a matter of the file alone.
 * @param addresses of the served interfaces
 */
export function checkOwnAddresses({ cluster }: Config, addresses: readonly Ipv4[]): ValueProblem[] {
  if (cluster.kubernetesVersion === undefined) return [];
  return (["podSubnet", "serviceSubnet"] as const).flatMap((key) => {
    const network = parseCidr(cluster[key]);
    const own = addresses.find((address) => network && cidrContains(network, address));
    if (!network || own === undefined) return [];
    const message = `${formatCidr(network)} holds this server's own address ${own}: no node could reach it. Choose a network that no machine is in`;
    return [{ path: ["cluster", key], message }];
  });
}

/** No node comes up whose own address lies among those of pods or services. Networks that are none are told elsewhere. */
function checkClusterNetworks({ address, cluster, dhcp }: Config): ValueProblem[] {
  const machines = [
    ...dhcp.subnets.map(({ subnet }) => subnet),
    ...(address === undefined ? [] : [`${address}/32`]),
  ].flatMap((text) => parseCidr(text) ?? []);
  return (["podSubnet", "serviceSubnet"] as const).flatMap((key) => {
    const network = parseCidr(cluster[key]);
    const other = machines.find(
      ({ first, last }) => network && first <= network.last && network.first <= last,
    );
    if (!other) return [];
    const message = `no address of the machines may be in it, and they are in ${formatCidr(other)}`;
    return [{ path: ["cluster", key], message }];
  });
}

/** sockaddr_un has room for 108 octets with the NUL (unix(7)). */
const longestSocketPath = 107;

/** Who logs in to the registry, and who can't. */
function checkRegistryAccess({ registry, cluster }: Config): ValueProblem[] {
  const { anonymousPull, enabled, htpasswdFile, users } = registry;
  const at = (path: ValuePath, message: string) => ({ path: ["registry", ...path], message });
  const problems: ValueProblem[] = [];
  if (enabled && !anonymousPull && cluster.kubernetesVersion !== undefined)
    problems.push(
      at(
        ["anonymousPull"],
        "must be true with cluster.kubernetesVersion: the cluster's nodes pull without logging in; hold images back by registry.repositories (require-signed), or serve them by another Rollcall",
      ),
    );
  if (htpasswdFile !== undefined && !isFile(htpasswdFile))
    problems.push(at(["htpasswdFile"], `there is no file ${htpasswdFile}`));
  if (htpasswdFile === undefined && users.length > 0)
    problems.push(at(["users"], "means nothing without registry.htpasswdFile"));
  for (const [index, { name }] of users.entries())
    if (users.findIndex((other) => other.name === name) < index)
      problems.push(at(["users", index, "name"], `${name} is listed already`));
  return problems;
}

/** A password is not shown to whoever listens on the way, and each repository is of one registry. */
function checkUpstreams({ registry: { upstreams } }: Config): ValueProblem[] {
  return upstreams.flatMap(({ prefix, url, lookaside, username, passwordFile, insecure }, index) => {
    const at = (field: string, message: string) => [
      { path: ["registry", "upstreams", index, field], message },
    ];
    const name = (text: string) => text.replace(/\/+$/, "");
    const isTwice = upstreams.findIndex((other) => name(other.prefix) === name(prefix)) < index;
    const isOpen = url.startsWith("http:") && username !== undefined && insecure !== true;
    return [
      ...(isTwice ? at("prefix", `${prefix} is the prefix of an upstream before`) : []),
      ...(URL.canParse(url) ? [] : at("url", `${JSON.stringify(url)} is no address`)),
      ...(URL.canParse(lookaside ?? url)
        ? []
        : at("lookaside", `${JSON.stringify(lookaside)} is no address`)),
      ...(isOpen
        ? at("url", "a password over plain HTTP can be overheard; use https, or insecure: true")
        : []),
      ...((username === undefined) === (passwordFile === undefined)
        ? []
        : at("username", "username and passwordFile go together")),
      ...(passwordFile === undefined || isFile(passwordFile)
        ? []
        : at("passwordFile", `there is no file ${passwordFile}`)),
    ];
  });
}

/**
 * Two listeners on one port would keep each other from starting, and the second would blame another program. Keys whose listeners come
 * with later versions are not among them. Port 0 is any free one.
 */
function checkPorts({ cluster, dhcp, tftp, http, https, registry, lookaside }: Config): ValueProblem[] {
  const hasCluster = cluster.kubernetesVersion !== undefined;
  const listeners = [
    { name: "dhcp.port", protocol: "udp", port: dhcp.port, isOpen: dhcp.mode !== "off" },
    { name: "dhcp.pxePort", protocol: "udp", port: dhcp.pxePort, isOpen: dhcp.mode !== "off" },
    { name: "tftp.port", protocol: "udp", port: tftp.port, isOpen: true },
    { name: "http.port", protocol: "tcp", port: http.port, isOpen: true },
    { name: "registry.port", protocol: "tcp", port: registry.port, isOpen: registry.enabled },
    { name: "registry.tlsPort", protocol: "tcp", port: registry.tlsPort, isOpen: registry.enabled },
    { name: "lookaside.port", protocol: "tcp", port: lookaside.port, isOpen: registry.enabled },
    { name: "https.port", protocol: "tcp", port: https.port, isOpen: hasCluster },
    {
      name: "cluster.endpoint",
      protocol: "tcp",
      port: endpointPort(cluster.endpoint),
      isOpen: hasCluster && cluster.loadBalancer,
    },
  ].filter(({ isOpen }) => isOpen);
  const keyOf = (name: string) => configKeys.find((key) => key.name === name);
  return listeners.flatMap((listener, index) => {
    const { name, protocol, port } = listener;
    const other = listeners.slice(0, index).find((it) => it.protocol === protocol && it.port === port);
    if (!other || port === 0) return [];
    // The one that somebody set has a line to be shown.
    const [wrong, right] = keyOf(name)?.default === port ? [other.name, name] : [name, other.name];
    return [
      { path: keyOf(wrong)?.path ?? [], message: `${protocol} port ${port} is that of ${right} already` },
    ];
  });
}

/** 0 for an endpoint that is none: what is wrong with it is told elsewhere. */
function endpointPort(endpoint = ""): number {
  return Number(/^[^:]*(?::([0-9]+))?$/.exec(endpoint)?.[1] ?? 6443);
}

function isRangeOf(cidr: Cidr, range: string): boolean {
  const addresses = range.split("-").map((text) => parseIpv4(text.trim()));
  const [from, to] = addresses;
  if (addresses.length !== 2 || !from || !to) return false;
  return cidrContains(cidr, from) && cidrContains(cidr, to) && ipv4ToNumber(from) <= ipv4ToNumber(to);
}

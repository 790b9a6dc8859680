import { type Static, Type } from "typebox";
import { registrySchema } from "./registry-schema.ts";
import { port } from "./schema-parts.ts";
import { studentsSchema } from "./students-schema.ts";

/** Its numbers are checked besides: no pattern says "at most 255" in a line that one can read. */
export const addressPattern = "^([0-9]{1,3}\\.){3}[0-9]{1,3}$";
const namePattern = "^[A-Za-z0-9.-]{1,253}$";
const imageScopePattern =
  "^(\\*\\.)?[a-z0-9.-]{1,253}(:[0-9]{1,5})?(/[a-z0-9._-]{1,128})*(:[A-Za-z0-9_.-]{1,128})?$";
const address = (description: string) => Type.String({ pattern: addressPattern, description });

export const subnetSchema = Type.Object(
  {
    subnet: Type.String({ description: "network, e.g. 10.0.0.0/24" }),
    range: Type.Optional(
      Type.String({ description: "pool for machines without a reservation, e.g. 10.0.0.100-10.0.0.199" }),
    ),
    router: Type.Optional(address("default gateway given to clients")),
    dns: Type.Optional(Type.Array(address("DNS server"), { description: "DNS servers given to clients" })),
    domain: Type.Optional(Type.String({ description: "domain name given to clients" })),
    leaseSeconds: Type.Integer({
      minimum: 60,
      maximum: 31_536_000,
      default: 3600,
      description: "life of a lease, s",
    }),
    relay: Type.Optional(
      Type.Array(address("relay agent"), { description: "relay agents whose option 82 is believed" }),
    ),
  },
  {
    additionalProperties: false,
    title: "networks, each beginning with `- subnet: 10.0.0.0/24`",
  },
);

/** A word out of a few. */
const choice = <const Word extends string>(words: readonly Word[], value: Word, description: string) =>
  Type.Unsafe<Word>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      { default: value, description },
    ),
  );
const text = (description: string) => Type.Optional(Type.String({ minLength: 1, description }));
const textOr = (value: string, description: string) =>
  Type.String({ minLength: 1, default: value, description });

/** What its values must be is checked as a whole, by `readCluster`. */
const clusterSchema = Type.Object(
  {
    kubernetesVersion: Type.Optional(
      Type.String({
        minLength: 1,
        title: "a version of three numbers, like 1.31.0",
        description:
          "version of Kubernetes, e.g. 1.31.0; without it there is no cluster, and the machines of all roles boot and call back only",
      }),
    ),
    name: textOr("kubernetes", "name in kubeconfigs"),
    endpoint: text(
      "host:port where all machines find the API server, whichever master is up; it can't be changed later; default: `address`, port 6443",
    ),
    loadBalancer: Type.Boolean({
      default: true,
      description: "pass connections to the endpoint's port of this server on to the masters that are ready",
    }),
    etcd: choice(
      ["server", "ephemeral", "stacked"],
      "server",
      "where the cluster's state is: server (on this server's disk), ephemeral (there, but each start of the cluster is a new one), stacked (in the masters' RAM)",
    ),
    etcdProgram: textOr(
      "etcd",
      "the program etcd, for server and ephemeral; with stacked, where its tools etcdutl or etcdctl lie",
    ),
    imageRepository: text("where the control plane's images come from; default: kubeadm's own"),
    pauseImage: text(
      "image of each pod's first container; default: that of the version, from imageRepository",
    ),
    serviceSubnet: textOr("10.96.0.0/12", "network of the services"),
    podSubnet: textOr("10.244.0.0/16", "network of the pods, a /24 of it for each machine"),
    dnsDomain: textOr("cluster.local", "DNS domain inside of the cluster"),
    dns: choice(["coredns", "none"], "coredns", "name service inside of the cluster: coredns, none"),
    network: choice(
      ["bridge", "flannel"],
      "bridge",
      "how pods of two machines reach each other: bridge (plain routes), flannel (VXLAN)",
    ),
    flannelImage: text("image of flannel; default: that of its project"),
    flannelPluginImage: text("image that brings flannel's CNI plugin; default: that of its project"),
    certificateSans: Type.Array(Type.String({ minLength: 1 }), {
      default: [],
      description: "names and addresses that the API server's certificate has besides the usual ones",
    }),
    keyAlgorithm: choice(["ECDSA-P256", "RSA-2048"], "ECDSA-P256", "keys of the cluster's certificates"),
    unsignedImages: Type.Optional(
      Type.Array(Type.String({ pattern: imageScopePattern }), {
        maxItems: 64,
        description:
          "registries, namespaces and repositories that nodes take images of without a signature, such as registry.k8s.io; [] none; default: all, until there is a signer (boot key add)",
      }),
    ),
    arming: choice(
      ["operator", "automatic"],
      "operator",
      "when a master gets the cluster's keys: operator (somebody arms it), automatic",
    ),
    workerSlots: Type.Integer({
      minimum: 1,
      maximum: 1000,
      default: 8,
      description: "workers that join at the same time",
    }),
    objectsDir: text(
      "directory with objects of Kubernetes (*.yaml, *.yml, *.json) that each generation of the cluster gets; default: none",
    ),
    passphraseFile: text(
      "file with the passphrase that seals the cluster's keys at rest; default: a key in dataDir",
    ),
  },
  { additionalProperties: false },
);

/**
 * Every key of the config, its type, default and meaning. `boot config show` and docs/configuration.md are made from it.
 * A default written as text in `description` is worked out at the start.
 */
export const configSchema = Type.Object(
  {
    interfaces: Type.Array(Type.String({ minLength: 1, maxLength: 15 }), {
      default: [],
      description: "where DHCP and TFTP are served; default: the interface of the default route",
    }),
    address: Type.Optional(
      address("IP literal in every URL handed to firmware; default: first IPv4 of the interface"),
    ),
    dataDir: Type.String({
      minLength: 1,
      default: "./data",
      description: "database, content and keys: all state that must survive",
    }),
    dhcp: Type.Object(
      {
        mode: Type.Union([Type.Literal("off"), Type.Literal("proxy"), Type.Literal("authoritative")], {
          default: "proxy",
          description: "off, proxy (beside another DHCP server), authoritative (this server gives addresses)",
        }),
        port: port(67, "DHCP"),
        pxePort: port(4011, "PXE boot server"),
        unknownSharePercent: Type.Integer({
          minimum: 0,
          maximum: 100,
          default: 50,
          description:
            "part of a pool that machines nobody added or accepted may hold together, of what the others leave, %",
        }),
        endRouterDiscovery: Type.Union(
          [Type.Literal("auto"), Type.Literal("always"), Type.Literal("never")],
          {
            default: "auto",
            description:
              "tell each iPXE that there is no IPv6 router, which spares it a wait of 16 s at each boot where there is none; auto: where this server gives the addresses and does not itself route IPv6",
          },
        ),
        raspberryPiDelayMs: Type.Integer({
          minimum: 0,
          maximum: 10_000,
          default: 1000,
          description: "how late a Raspberry Pi gets its OFFER, ms: its ROM misses one that comes at once",
        }),
        subnets: Type.Array(subnetSchema, {
          default: [],
          description: "networks served in authoritative mode",
        }),
      },
      { additionalProperties: false },
    ),
    tftp: Type.Object(
      {
        port: port(69, "TFTP"),
        singlePort: Type.Boolean({
          default: false,
          description:
            "answer transfers from tftp.port itself, for clients behind a NAT or firewall; else each has a port of its own",
        }),
        clients: Type.Array(Type.String({ description: "network" }), {
          default: [],
          description:
            "networks whose clients TFTP answers, e.g. 10.0.0.0/8; default: in authoritative mode those of the interfaces and of dhcp.subnets, else all",
        }),
      },
      { additionalProperties: false },
    ),
    http: Type.Object(
      {
        port: port(8080, "boot scripts, configs, assets, callbacks, API, dashboard"),
        names: Type.Array(Type.String({ pattern: namePattern }), {
          default: [],
          description: "DNS names that this server answers to, beside its IP addresses and its host name",
        }),
      },
      { additionalProperties: false },
    ),
    https: Type.Object({ port: port(8443, "the same over TLS") }, { additionalProperties: false }),
    registry: registrySchema,
    lookaside: Type.Object({ port: port(81, "sigstore.local") }, { additionalProperties: false }),
    services: Type.Object(
      {
        address: Type.Optional(
          address(
            "where registry and lookaside listen, and nodes look for them; default: everywhere, and `address`",
          ),
        ),
      },
      { additionalProperties: false },
    ),
    assets: Type.Object(
      {
        maxBytes: Type.Integer({
          minimum: 1,
          maximum: 1_000_000_000_000_000,
          default: 64_000_000_000,
          description:
            "limit for kernels, initrds and root file systems together, octets; over it old versions of images give way",
        }),
        keepVersions: Type.Integer({
          minimum: 1,
          maximum: 1000,
          default: 2,
          description: "last versions of each image that never give way, the current one counted",
        }),
      },
      { additionalProperties: false },
    ),
    unknownMachines: Type.Union(
      [Type.Literal("ignore"), Type.Literal("discover"), Type.Literal("local"), Type.Literal("menu")],
      {
        default: "discover",
        description:
          "machines that nobody assigned: ignore, discover (recorded, waits), local (local disk), menu",
      },
    ),
    boot: Type.Object(
      {
        localBoot: Type.Union([Type.Literal("exit"), Type.Literal("sanboot"), Type.Literal("http-404")], {
          default: "exit",
          description:
            "how a machine whose role is its local disk gets there, where neither it nor its group nor its role says: exit, sanboot, http-404",
        }),
        driver: Type.Union(
          [
            Type.Literal("auto"),
            Type.Literal("snponly"),
            Type.Literal("ipxe"),
            Type.Literal("undionly"),
            Type.Literal("shim"),
          ],
          {
            default: "auto",
            description:
              "network driver of the first-stage program, where neither the machine nor its group says: auto (another one after a hang), snponly, ipxe, undionly, shim (signed, for Secure Boot)",
          },
        ),
        afterFailures: Type.Union([Type.Literal("reboot"), Type.Literal("exit")], {
          default: "reboot",
          description:
            "what a machine does whose script failed 30 times: reboot, exit (firmware goes on in its boot order)",
        }),
      },
      { additionalProperties: false },
    ),
    cluster: clusterSchema,
    students: studentsSchema,
    defaultRole: Type.Optional(
      Type.String({ minLength: 1, description: "role of known machines that nobody assigned one" }),
    ),
    timezone: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          "time zone of `boot schedule`, by its IANA name, e.g. Europe/Moscow; default: that of the server's system",
      }),
    ),
    rolesDir: Type.Optional(
      Type.String({
        minLength: 1,
        description: "directory of roles that add to and override the shipped ones",
      }),
    ),
    store: Type.Object(
      { url: Type.Optional(Type.String({ description: "default: sqlite:<dataDir>/rollcall.db" })) },
      { additionalProperties: false },
    ),
    log: Type.Object(
      {
        level: Type.Union(
          [Type.Literal("debug"), Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")],
          { default: "info", description: "debug, info, warn, error" },
        ),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

export type Config = Static<typeof configSchema>;

/** A JSON schema as far as this file uses it. */
export interface SchemaNode {
  type?: string;
  default?: unknown;
  description?: string;
  /** What a value must be, where the schema alone does not tell people; of the items of a list all of them. */
  title?: string;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  anyOf?: { const: string }[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  required?: string[];
}

/** One settable key, e.g. `dhcp.mode`. */
export interface ConfigKey {
  readonly path: readonly string[];
  readonly name: string;
  readonly description: string;
  readonly default: unknown;
  readonly schema: SchemaNode;
  readonly allowed: string;
}

/** What a value of the schema must be, to stand behind "it must be". */
export function describeAllowed(schema: SchemaNode): string {
  if (schema.title !== undefined && schema.type === "string") return schema.title;
  if (schema.anyOf) return schema.anyOf.map((choice) => choice.const).join(", ");
  if (schema.type === "integer") return `a whole number from ${schema.minimum} to ${schema.maximum}`;
  if (schema.type === "boolean") return "true or false";
  if (schema.type === "object") return `a mapping of ${Object.keys(schema.properties ?? {}).join(", ")}`;
  if (schema.type === "array") {
    if (schema.items?.type === "object") return `a list of ${schema.items.title}`;
    if (schema.items?.description === "network") return "a list of networks like 10.0.0.0/8";
    return schema.items?.pattern === addressPattern ? "a list of IPv4 addresses" : "a list of texts";
  }
  if (schema.title !== undefined) return schema.title;
  if (schema.pattern) return schema.pattern === addressPattern ? "an IPv4 address" : "a DNS name";
  if (schema.maxLength !== undefined)
    return `a text of ${schema.minLength ?? 0} to ${schema.maxLength} characters`;
  return schema.minLength === undefined ? "a text" : "a text that is not empty";
}

function collect(schema: SchemaNode, path: readonly string[]): ConfigKey[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => {
    const childPath = [...path, name];
    if (child.type === "object") return collect(child, childPath);
    return [
      {
        path: childPath,
        name: childPath.join("."),
        description: child.description ?? "",
        default: child.default,
        schema: child,
        allowed: describeAllowed(child),
      },
    ];
  });
}

/** All keys, in the order of the contract. */
export const configKeys: readonly ConfigKey[] = collect(configSchema as unknown as SchemaNode, []);

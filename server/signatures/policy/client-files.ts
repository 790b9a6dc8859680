import type { Signer } from "../../domain/signature.ts";
import { base64Of, pemOf } from "./public-key.ts";
import { isSigstore, type RegistryNames, type Trust, type TrustRule } from "./trust.ts";

/** Where podsec keeps the keys on a client; the names of the files come from `keyFileOf`. */
export const keyDirectory = "/var/sigstore/keys";
export const keyFileOf = (signer: Signer) => `${signer.name}.${isSigstore(signer) ? "pub" : "pgp"}`;

/** What a machine that pulls from this registry is set up with. */
export interface ClientSettings {
  readonly names: RegistryNames;
  /** Of the registry: of TLS, or without an authority of plain HTTP. */
  readonly port: number;
  /** That the registry's certificate is of, PEM; undefined: it speaks no TLS. */
  readonly authorityPem: string | undefined;
  /** Of `sigstore.local`. */
  readonly lookasidePort: number;
  readonly trust: Trust;
  /** Scopes whose images need no signature. Undefined: all do not, as long as nobody may sign. */
  readonly unsignedImages: readonly string[] | undefined;
}

type RegistryPlace = Pick<ClientSettings, "names" | "port" | "authorityPem">;

export interface ClientFile {
  readonly path: string;
  readonly text: string;
}

/** Where podman, skopeo and CRI-O look. */
export const clientPaths = {
  policy: "/etc/containers/policy.json",
  registries: "/etc/containers/registries.conf",
  signatures: "/etc/containers/registries.d/default.yaml",
  authorities: "/etc/containers/certs.d",
} as const;

/** All that podman, skopeo and CRI-O have to know to pull signed images from this registry, and no others. */
export function clientFiles(settings: ClientSettings): ClientFile[] {
  return [
    { path: clientPaths.policy, text: nodePolicy(settings) },
    { path: clientPaths.registries, text: registriesConf(settings) },
    {
      path: clientPaths.signatures,
      text: registriesDirectoryFile(
        lookasideUrl("sigstore.local", settings.lookasidePort),
        attachmentPlaces(settings),
      ),
    },
    ...(settings.authorityPem === undefined
      ? []
      : [{ path: authorityPath(settings), text: settings.authorityPem }]),
  ];
}

/**
 * Files for containerd (its docs/hosts.md), beside those of `clientFiles`. It verifies no signatures: what holds there is what the registry
 * shows to it.
 * @param directory `config_path` of its configuration
 */
export function containerdFiles(settings: ClientSettings, directory: string): ClientFile[] {
  const { authorityPem } = settings;
  const scheme = authorityPem === undefined ? "http" : "https";
  const text =
    `server = "${scheme}://${locationOf(settings)}"\ncapabilities = ["pull", "resolve"]\n` +
    (authorityPem === undefined ? "" : `ca = "${authorityPath(settings)}"\n`) +
    // containerd 1.6 refuses a file without this table. A host in it would be a second try at the same place.
    "\n[host]\n";
  return namesOf(settings).map((name) => ({ path: `${directory}/${name}/hosts.toml`, text }));
}

/** Names of the services on this server, for hosts(5). @param more of the system's */
export function serviceNames({ names }: Pick<ClientSettings, "names">, more: readonly string[]): string[] {
  const host = hostnameOf(names.host);
  return [...new Set([...more, ...(/^[0-9.]+$/.test(host) ? [] : [host])])];
}

const hostnameOf = (host: string) => host.replace(/:[0-9]+$/, "");
const namesOf = ({ names }: Pick<ClientSettings, "names">) => [...new Set([names.host, ...names.aliases])];
const lookasideUrl = (host: string, port: number) => `http://${host}:${port}/sigstore/`;

/** Where the registry really is: clients that are given another name of it go there too, so that one certificate is enough. */
function locationOf({ names, port, authorityPem }: RegistryPlace): string {
  const host = hostnameOf(names.host);
  return port === (authorityPem === undefined ? 80 : 443) ? host : `${host}:${port}`;
}

function authorityPath(settings: ClientSettings): string {
  return `${clientPaths.authorities}/${locationOf(settings)}/ca.crt`;
}

const anything = { type: "insecureAcceptAnything" };
const nothing = { type: "reject" };

/** @param keys `paths`: files in `keyDirectory`, as podsec's clients fetch them; `inline`: the keys themselves, in one file that needs no other */
export function policyJson(trust: Trust, keys: "paths" | "inline"): string {
  return policyText(nothing, requirementsOf(trust, keys));
}

/** Nobody may sign, and the config closes nothing: nodes take any image. */
export function takesAnything({
  trust,
  unsignedImages,
}: Pick<ClientSettings, "trust" | "unsignedImages">): boolean {
  return unsignedImages === undefined && trust.size === 0;
}

/** The policy of a node. Its keys stand in it. */
function nodePolicy({ trust, unsignedImages }: ClientSettings): string {
  const isOpen = takesAnything({ trust, unsignedImages });
  const scopes = new Map<string, object>((unsignedImages ?? []).map((scope) => [scope, anything]));
  for (const [scope, requirement] of requirementsOf(trust, "inline")) scopes.set(scope, requirement);
  return policyText(isOpen ? anything : nothing, scopes);
}

/**
 * policy.json (containers-policy.json(5)). Clients refuse the whole file for one member that they don't know, so it holds no others.
 * @param others what is asked of an image that falls under no scope @param scopes what is asked under each
 */
function policyText(others: object, scopes: ReadonlyMap<string, object>): string {
  const sorted = [...scopes].toSorted(([one], [other]) => (one < other ? -1 : 1));
  const docker = Object.fromEntries(sorted.map(([scope, requirement]) => [scope, [requirement]]));
  return `${JSON.stringify({ default: [others], transports: { docker } }, undefined, 2)}\n`;
}

function requirementsOf(trust: Trust, keys: "paths" | "inline"): Map<string, object> {
  return new Map([...trust].map(([scope, rule]) => [scope, requirementOf(rule, keys)]));
}

/** Whose signature counts. Where nobody's does, every image is refused. */
function requirementOf({ signers, alias }: TrustRule, keys: "paths" | "inline"): object {
  const [first, ...others] = signers;
  if (!first) return nothing;
  if (isSigstore(first)) return sigstoreRequirement(first, alias, keys);
  return {
    type: "signedBy",
    keyType: "GPGKeys",
    ...(keys === "inline"
      ? // Keys one after the other (RFC 4880, section 3.6), of which one has to fit.
        { keyData: keyDataOf(signers) }
      : // `keyPaths` came with containers/image 5.22 (podman 4.2), so it stands only where there is more than one.
        others.length === 0
        ? { keyPath: keyPathOf(first) }
        : { keyPaths: signers.map(keyPathOf) }),
    ...(alias && { signedIdentity: { type: "remapIdentity", ...alias } }),
  };
}

/**
 * containers/image before 5.33 knows one key for each such requirement, and asks for all requirements of a scope, so there is one signer. What
 * cosign signs has no tag, which is not for `remapIdentity`: by another name of the registry clients take signatures that have one.
 */
function sigstoreRequirement(signer: Signer, alias: TrustRule["alias"], keys: "paths" | "inline"): object {
  return {
    type: "sigstoreSigned",
    ...(keys === "paths"
      ? { keyPath: keyPathOf(signer) }
      : { keyData: btoa(signer.keys.map(pemOf).join("")) }),
    signedIdentity: alias ? { type: "remapIdentity", ...alias } : { type: "matchRepository" },
  };
}

const keyPathOf = (signer: Signer) => `${keyDirectory}/${keyFileOf(signer)}`;

function keyDataOf(signers: readonly Signer[]): string {
  return base64Of(Uint8Array.from(signers.flatMap(({ keys }) => keys.flatMap((key) => [...key.octets]))));
}

/**
 * Where clients look for images with signatures of cosign's: those scopes alone, for there are registries that answer otherwise than that
 * there are none. They look by the registry's place and not by the name that it was asked for.
 */
export function attachmentPlaces(settings: RegistryPlace & Pick<ClientSettings, "trust">): string[] {
  const ours = namesOf(settings);
  const location = locationOf(settings);
  const places = [...settings.trust].flatMap(([scope, { signers }]) => {
    if (!signers.some(isSigstore)) return [];
    const host = ours.find((name) => scope === name || scope.startsWith(`${name}/`));
    return [host === undefined ? scope : location + scope.slice(host.length)];
  });
  return [...new Set(places)].sort();
}

/**
 * A file of registries.d (containers-registries.d(5)): where signatures lie. Before containers/image 5.22 only `sigstore` is known.
 * @param attachmentPlaces scopes in which images with signatures are looked for too
 */
export function registriesDirectoryFile(
  lookasideUrl: string,
  attachmentPlaces: readonly string[] = [],
): string {
  const section = (indent: string) =>
    `${indent}lookaside: ${lookasideUrl}\n${indent}sigstore: ${lookasideUrl}\n`;
  const places = attachmentPlaces.map(
    (place) => `  ${JSON.stringify(place)}:\n${section("    ")}    use-sigstore-attachments: true\n`,
  );
  return `default-docker:\n${section("  ")}${places.length > 0 ? `docker:\n${places.join("")}` : ""}`;
}

/** registries.conf (containers-registries.conf(5)): by whatever name the registry is asked for, it is found at the same place. */
export function registriesConf(place: RegistryPlace): string {
  const location = JSON.stringify(locationOf(place));
  const registries = namesOf(place).map(
    (name) =>
      `\n[[registry]]\nprefix = ${JSON.stringify(name)}\nlocation = ${location}\n` +
      (place.authorityPem === undefined ? "insecure = true\n" : ""),
  );
  return `unqualified-search-registries = [${JSON.stringify(place.names.host)}]\n${registries.join("")}`;
}

/** Lines of hosts(5): the services of this server by the names that nodes know. */
export function hostsLines(servicesAddress: string, names: readonly string[]): string {
  return `${servicesAddress} ${names.join(" ")}\n`;
}

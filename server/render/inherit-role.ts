import {
  type DocumentKind,
  documentOf,
  type Role,
  type RoleText,
  type TemplateKind,
} from "../domain/role.ts";
import type { RoleFile } from "./role-schema.ts";

export interface RoleSource {
  readonly name: string;
  readonly directory: string;
  readonly source: RoleFile;
  readonly texts: {
    readonly templates: Readonly<Partial<Record<TemplateKind, RoleText>>>;
    readonly files: Readonly<Partial<Record<DocumentKind, RoleText>>>;
    readonly userDataParts: readonly RoleText[];
  };
  /** The role that is extended. */
  readonly parent: Role | undefined;
}

/** A role with everything of its parent that it does not name itself: key by key, parameters and documents one by one. */
export function inheritRole({ name, directory, source, texts, parent }: RoleSource): Role {
  const inherited: Record<string, string> = {};
  /** Notes that a key is the parent's, or that of the role which the parent has it from. */
  const note = (key: string) => {
    if (parent) inherited[key] = parent.inherited[key] ?? parent.name;
  };
  function take<T>(key: string, own: T | undefined, theirs: T | undefined): T | undefined {
    if (own !== undefined || theirs === undefined) return own;
    note(key);
    return theirs;
  }
  const boot = take("boot", source.boot, parent?.boot) ?? "wait";
  // What only a boot of the parent's kind has a use for stays with it.
  const ofBoot = boot === parent?.boot ? parent : undefined;
  const minimumRamBytes = source.minimumRam === undefined ? undefined : parseRam(source.minimumRam);
  const nodeRamBytes = source.nodeRam === undefined ? undefined : parseRam(source.nodeRam);

  const parameters = { ...parent?.parameters, ...source.parameters };
  for (const key of Object.keys(parent?.parameters ?? {}))
    if (!Object.hasOwn(source.parameters ?? {}, key)) note(`parameters.${key}`);

  const own = new Set([
    ...Object.keys(texts.templates).map((kind) => documentOf(kind as TemplateKind)),
    ...Object.keys(texts.files),
  ]);
  const isLeft = (kind: string) => {
    const document = documentOf(kind as TemplateKind);
    return !own.has(document) && (document !== "ipxe" || ofBoot !== undefined);
  };
  const merged = <K extends string>(key: string, theirs: Partial<Record<K, RoleText>>, mine: object) => {
    const left = Object.entries(theirs).filter(([kind]) => isLeft(kind));
    for (const [kind] of left) note(`${key}.${kind}`);
    return { ...Object.fromEntries(left), ...mine } as Partial<Record<K, RoleText>>;
  };
  return {
    name,
    directory,
    extends: source.extends,
    description: take("description", source.description, parent?.description) ?? "",
    boot,
    image: take("image", source.image, ofBoot?.image),
    arguments: take("arguments", source.arguments, ofBoot?.arguments) ?? [],
    arch: take("arch", source.arch, parent?.arch) ?? [],
    minimumRamBytes: take("minimumRam", minimumRamBytes, parent?.minimumRamBytes),
    localBoot: take("localBoot", source.localBoot, ofBoot?.localBoot),
    joins: take("joins", source.joins, parent?.joins) ?? false,
    node: take("node", source.node, ofBoot?.node),
    family: take("family", source.family, parent?.family) ?? "debian",
    nodeRamBytes: take("nodeRam", nodeRamBytes, ofBoot?.nodeRamBytes),
    reports: take("reports", source.reports, ofBoot?.reports) ?? true,
    rollcallArguments: take("rollcallArguments", source.rollcallArguments, ofBoot?.rollcallArguments) ?? true,
    sshUser: take("sshUser", source.sshUser, parent?.sshUser),
    sshCommands: take("sshCommands", source.sshCommands, parent?.sshCommands),
    parameters,
    templates: merged<TemplateKind>("templates", parent?.templates ?? {}, texts.templates),
    userDataParts: [...(parent?.userDataParts ?? []), ...texts.userDataParts],
    files: merged<DocumentKind>("files", parent?.files ?? {}, texts.files),
    inherited,
  };
}

function parseRam(text: string): number {
  const [amount = "0", unit] = text.split(" ");
  return Number(amount) * (unit === "GiB" ? 1024 ** 3 : 1024 ** 2);
}

import { createHash } from "node:crypto";
import { type AssignedTarget, describeTarget, type Selection } from "../domain/assignment.ts";
import { type BootPreferences, type LocalBootMethod, preferRamCheck } from "../domain/boot-preferences.ts";
import {
  CommandLineTooLong,
  ImageNotFound,
  ParameterInvalid,
  RoleInvalid,
  RoleNotFound,
} from "../domain/error-catalogue.ts";
import type { Arch } from "../domain/firmware.ts";
import type { BootedImage } from "../domain/image.ts";
import type { Machine } from "../domain/machine.ts";
import { nodeChannel } from "../domain/node-kind.ts";
import { menuOf, type RoleMenu } from "../domain/role-menu.ts";
import {
  commandLineOctets,
  documentKinds,
  hasDocument,
  resolveParameters,
  type Role,
  type ServedKind,
  withSshKey,
} from "../domain/role.ts";
import {
  callbackFile,
  type ClusterNodes,
  hasNodeInitrd,
  nodeIgnition,
  type NodeOfBoot,
  nodeText,
  nodeUserData,
  withNodeRam,
} from "./cluster-nodes.ts";
import { refuseMisfit } from "./machine-fit.ts";
import { type Mac, macWithHyphens } from "../net/mac.ts";
import { buildContext, type ImageContext, type RenderContext } from "../render/context.ts";
import type { Renderer } from "../render/documents.ts";
import type { LoadedRoles } from "../render/load-roles.ts";

/** What a machine's boot needs, decided but not yet written: everything that can be wrong with it has been found. */
export type BootPlan =
  | { readonly kind: "url"; readonly url: string }
  | {
      readonly kind: "role";
      readonly role: Role;
      readonly params: Record<string, never> | RenderContext["params"];
      readonly image: BootedImage | undefined;
      /** What may be chosen, for `boot: menu`. */
      readonly menu?: RoleMenu;
    };

export interface PlanSources {
  readonly roles: () => LoadedRoles;
  readonly images: { findCurrent(name: string): BootedImage | undefined };
  readonly inventory?: { groupOf(machine: Machine): BootPreferences | undefined };
  readonly renderer: Renderer;
  /** A line for the authorized_keys of machines whose role takes SSH keys: the server's own, for what the role allows it. */
  readonly sshKey?: ((role: Pick<Role, "sshCommands">) => string) | undefined;
  /** Undefined: there is no cluster. */
  readonly nodes?: ClusterNodes | undefined;
}

/**
 * Finds role, parameters and image.
 * @param machine that is to boot so; undefined while it is still open which one
 * @throws RoleNotFound, RoleInvalid, ParameterInvalid, ImageNotFound; ArchMismatch, MachineTooSmall for this machine
 */
export function planBoot(
  target: AssignedTarget,
  { roles, images, inventory, nodes, sshKey }: PlanSources,
  machine?: Machine,
): BootPlan {
  if (target.kind === "url") return { kind: "url", url: target.url };
  const loaded = roles();
  const role = loaded.roles.get(target.role);
  if (!role) {
    const problem = loaded.problems.find((problem) => problem.role === target.role);
    if (problem)
      throw RoleInvalid({
        role: target.role,
        problem: `${problem.file}:${problem.line}: ${problem.message}`,
      });
    throw RoleNotFound({ role: target.role, known: [...loaded.roles.keys()] });
  }
  const resolved = resolveParameters(role, target.params);
  if ("problem" in resolved) throw ParameterInvalid({ role: role.name, ...resolved });
  const imageOf = ({ boot, image }: Role) =>
    boot === "image" && image !== undefined ? images.findCurrent(image) : undefined;
  const image = imageOf(role);
  if (role.boot === "image" && !image) throw ImageNotFound({ image: role.image ?? "" });
  if (machine)
    refuseMisfit(machine, withNodeRam(role, nodes), image, {
      isRamIgnored:
        target.ramCheck === "ignore" || preferRamCheck(machine, inventory?.groupOf(machine)) === "ignore",
      offers: () =>
        [...loaded.roles.values()].map((role) => ({ role: withNodeRam(role, nodes), image: imageOf(role) })),
    });
  if (role.boot !== "menu")
    return { kind: "role", role, params: withSshKey(role, resolved.values, sshKey?.(role)), image };
  const menu = menuOf(resolved.values, loaded.roles);
  if ("problem" in menu) throw ParameterInvalid({ role: role.name, ...menu });
  return { kind: "role", role, params: resolved.values, image, menu };
}

function assetUrl(serverUrl: string, file: { sha256: string; name: string }): string {
  return `${serverUrl}/assets/${file.sha256}/${encodeURIComponent(file.name)}`;
}

function imageContext(image: BootedImage, serverUrl: string): ImageContext {
  const { kernel, kernelEfi, initrd, rootfs } = image.files;
  return {
    name: image.name,
    version: image.version,
    kernelUrl: assetUrl(serverUrl, kernel),
    kernelEfiUrl: kernelEfi ? assetUrl(serverUrl, kernelEfi) : null,
    initrdUrl: initrd ? assetUrl(serverUrl, initrd) : null,
    rootUrl: rootfs ? assetUrl(serverUrl, rootfs) : null,
    rootSha256: rootfs?.sha256 ?? null,
    rootSizeBytes: rootfs?.sizeBytes ?? null,
  };
}

/** What our own initramfs, Ignition and cloud-init read from the kernel command line; server/image/README.md describes each. */
function standardArguments(role: Role, context: RenderContext, arch: Arch | undefined): string[] {
  const isIgnited = hasDocument(role, "ignition");
  // With nothing of its own cloud-init would only cost its start, and call back a second time.
  const isSeeded = !isIgnited || hasDocument(role, "user-data");
  const { image, configUrl, callbackUrl, machine } = context;
  return [
    "boot=rollcall",
    "ip=dhcp",
    `BOOTIF=01-${machine.macHyphens}`,
    ...(image?.rootUrl
      ? [
          `rollcall.root=${image.rootUrl}`,
          `rollcall.sha256=${image.rootSha256}`,
          `rollcall.size=${image.rootSizeBytes}`,
        ]
      : []),
    ...(callbackUrl ? [`rollcall.callback=${callbackUrl}`] : []),
    ...(configUrl && isIgnited ? [`ignition.config.url=${configUrl}ignition.json`] : []),
    ...(configUrl && isSeeded ? [`ds=nocloud-net;s=${configUrl}cloud-init/`] : []),
    "console=tty0",
    "console=ttyS0,115200",
    // The serial port of most arm64 machines (ARM's PL011). A console that is not there is passed over, the last one leads.
    ...(arch === "arm64" ? ["console=ttyAMA0,115200"] : []),
  ];
}

/**
 * A node has its machine-id on the command line. With one, systemd takes the boot for a later one, and enables none of the units that
 * Ignition names (machine-id(5), "First Boot").
 */
function firstBoot(role: Role): string[] {
  const isIgnited = nodeChannel(role.family) === "ignition" || hasDocument(role, "ignition");
  return isIgnited ? ["systemd.condition-first-boot=yes"] : [];
}

/** All kernel arguments of a role. @throws TemplateFailed, CommandLineTooLong */
export function kernelArguments(
  role: Role,
  context: RenderContext,
  image: BootedImage | undefined,
  renderer: Renderer,
  node?: NodeOfBoot,
): string[] {
  const all = [
    ...(role.rollcallArguments ? standardArguments(role, context, image?.arch) : []),
    ...renderer.kernelArguments(role, context),
    ...(node ? [...node.spec().arguments, ...firstBoot(role)] : []),
  ];
  // What GRUB puts before them (loader/linux.c); what iPXE does is shorter, and a role is good for both or for none.
  const { kernelUrl, kernelEfiUrl } = context.image ?? {};
  const { length: octets } = [`BOOT_IMAGE=${kernelEfiUrl ?? kernelUrl ?? ""}`, ...all].join(" ");
  if (octets > commandLineOctets)
    throw CommandLineTooLong({ role: role.name, octets, maximum: commandLineOctets });
  return all;
}

/** Stands for the claim in texts that are only looked at. */
export const maskedClaim = "********";

export interface Rendering {
  readonly machine: Machine;
  readonly plan: BootPlan;
  readonly serverUrl: string;
  readonly bootId: string;
  /** Undefined where no claim is needed; a mask in previews. */
  readonly claim: string | undefined;
  readonly pollSeconds: number;
  /** How it gets to its disk, for `boot: local`. */
  readonly localBoot: LocalBootMethod;
  /** What the machine becomes in the cluster. */
  readonly node?: NodeOfBoot | undefined;
}

export function contextOf({
  machine,
  plan,
  serverUrl,
  bootId,
  claim,
  node,
}: Rendering & { plan: { kind: "role" } }): RenderContext {
  return buildContext({
    machine,
    role: plan.role,
    params: plan.params,
    serverUrl,
    bootId,
    claim,
    image: plan.image ? imageContext(plan.image, serverUrl) : null,
    hasNodeInitrd: hasNodeInitrd(node),
  });
}

/** The iPXE script of a plan. @throws TemplateFailed, CommandLineTooLong */
export function renderScript(rendering: Rendering, renderer: Renderer): string {
  const { machine, plan, serverUrl, pollSeconds, localBoot } = rendering;
  const mac = machine.macs[0] ?? "";
  if (plan.kind === "url") {
    const scriptUrl = `${serverUrl}/boot/${macWithHyphens(mac as never)}/boot.ipxe`;
    const { name } = machine;
    return renderer.standardScript("url", mac, { machine: { name }, url: plan.url, scriptUrl, serverUrl });
  }
  const context = contextOf({ ...rendering, plan });
  const own = renderer.ownScript(plan.role, context);
  if (own !== undefined) return own;
  switch (plan.role.boot) {
    case "image":
      return renderer.standardScript("image", mac, {
        ...context,
        arguments: kernelArguments(plan.role, context, plan.image, renderer, rendering.node),
      });
    case "wait":
      return renderer.standardScript("wait", mac, { ...context, pollSeconds });
    case "menu": {
      const menu = { ...plan.menu, timeoutMs: (plan.menu?.timeoutSeconds ?? 0) * 1000 };
      return renderer.standardScript("menu", mac, { ...context, menu });
    }
    case "local":
      return renderer.standardScript("local", mac, { ...context, method: localBoot });
    case "script":
      throw RoleInvalid({ role: plan.role.name, problem: "boot: script needs templates.ipxe" });
  }
}

/** One document for this machine, or undefined when the role has none of that kind. @throws TemplateFailed */
export function renderPlannedDocument(
  rendering: Rendering,
  kind: Exclude<ServedKind, "ipxe">,
  renderer: Renderer,
): string | undefined {
  const { plan, node } = rendering;
  if (plan.kind === "url") return undefined;
  const context = () => contextOf({ ...rendering, plan });
  switch (kind) {
    case "node":
      return nodeText(node);
    case "ignition-node":
      return nodeIgnition(node);
    case "ignition":
      return renderIgnition(rendering, renderer)?.machinePart;
    case "ignition-role":
      return renderer.document(plan.role, "ignition", context());
    case "user-data": {
      const { callbackUrl } = context();
      return renderer.document(plan.role, kind, context(), nodeUserData(node, callbackUrl));
    }
    case "meta-data":
    case "vendor-data":
    case "network-config":
      return renderer.document(plan.role, kind, context());
  }
}

/** The parts of a machine's Ignition config: the one that it fetches first names the digests of the others. */
export interface IgnitionParts {
  readonly machinePart: string;
  readonly rolePart: string | undefined;
  readonly nodePart: string | undefined;
  /** The version of Ignition that the role's part is made for. */
  readonly version: string;
  /** The role's part has keys that the machine's Ignition does not know. */
  readonly isTooNew: boolean;
}

/**
 * Undefined: the role has no Ignition config.
 * @param maximumMinor the machine's Ignition speaks 3.0 to 3.`maximumMinor` @throws TemplateFailed
 */
export function renderIgnition(
  rendering: Rendering,
  renderer: Renderer,
  maximumMinor?: number,
): IgnitionParts | undefined {
  const { plan } = rendering;
  if (plan.kind === "url") return undefined;
  const context = contextOf({ ...rendering, plan });
  const role = renderer.ignition(plan.role, context, maximumMinor);
  const nodePart = nodeIgnition(rendering.node);
  if (!role && nodePart === undefined) return undefined;
  const merged = (name: string, text: string) => ({
    url: `${context.configUrl ?? `${context.server.url}/`}ignition/${name}.json`,
    sha512: createHash("sha512").update(text).digest("hex"),
  });
  // The later is merged over the earlier: the role has the last word.
  const parts = [
    ...(nodePart === undefined ? [] : [merged("node", nodePart)]),
    ...(role ? [merged("role", role.text)] : []),
  ];
  const agent =
    nodePart === undefined || context.callbackUrl === null
      ? undefined
      : { file: callbackFile, url: context.callbackUrl };
  return {
    machinePart: renderer.machineIgnition(context, parts, agent),
    rolePart: role?.text,
    nodePart,
    version: role?.version ?? "3.0.0",
    isTooNew: role?.isTooNew ?? false,
  };
}

/** Renders everything that the machine will ask for later, so that a fault shows now, on its screen. @throws TemplateFailed */
export function proveDocuments(rendering: Rendering, renderer: Renderer): void {
  for (const kind of documentKinds) if (kind !== "ipxe") renderPlannedDocument(rendering, kind, renderer);
}

/** Does a machine with this plan need a claim? Only where it fetches configs or calls back. */
export function needsClaim(plan: BootPlan): boolean {
  return plan.kind === "role" && (plan.role.boot === "image" || plan.role.boot === "script");
}

export function describeSelection(selection: Selection): string {
  return `${describeTarget(selection.target)} (${selection.why})`;
}

/** A waiting machine asks again after this many seconds, spread by its MAC so that a room does not ask at once. */
export function pollSeconds(mac: Mac): number {
  return 4 + (Number.parseInt(mac.slice(-2), 16) % 3);
}

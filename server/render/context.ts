import type { Machine } from "../domain/machine.ts";
import { type ParameterValue, type Role, resolveParameters } from "../domain/role.ts";
import { macWithHyphens } from "../net/mac.ts";

/** What is known of the image that a role boots, as addresses that firmware can load. */
export interface ImageContext {
  readonly name: string;
  readonly version: string;
  readonly kernelUrl: string;
  /** For UEFI, where that is another file. */
  readonly kernelEfiUrl: string | null;
  readonly initrdUrl: string | null;
  readonly rootUrl: string | null;
  readonly rootSha256: string | null;
  readonly rootSizeBytes: number | null;
}

/** Everything that a template can print. templates/README.md describes each name; a fact that is not known is null. */
export interface RenderContext extends Record<string, unknown> {
  readonly machine: {
    readonly name: string;
    readonly mac: string;
    readonly macHyphens: string;
    readonly uuid: string | null;
    readonly serial: string | null;
    readonly group: string | null;
    readonly seat: string | null;
    readonly address: string | null;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly role: { readonly name: string; readonly description: string };
  readonly params: Readonly<Record<string, ParameterValue>>;
  readonly server: { readonly url: string; readonly address: string };
  /** Where this machine asks for its script again. */
  readonly scriptUrl: string;
  readonly boot: { readonly id: string };
  /** Addresses with the claim in them: secrets of this boot. Null where there is no claim. */
  readonly configUrl: string | null;
  readonly callbackUrl: string | null;
  /** Where the machine tells that it is through with everything its role asks for. */
  readonly joinedUrl: string | null;
  readonly image: ImageContext | null;
  /** An initrd that makes the machine a node of the cluster, beside that of the image. */
  readonly nodeUrl: string | null;
  /** Kernel arguments, for the standard script of `boot: image`. */
  readonly arguments: readonly string[];
}

export interface ContextFacts {
  readonly machine: Pick<
    Machine,
    "name" | "macs" | "uuid" | "serial" | "group" | "seat" | "address" | "labels"
  >;
  readonly role: Role;
  readonly params: Readonly<Record<string, ParameterValue>>;
  readonly serverUrl: string;
  readonly bootId: string;
  /** The secret itself; `undefined` where the script carries none; a mask in previews. */
  readonly claim: string | undefined;
  readonly image: ImageContext | null;
  readonly hasNodeInitrd?: boolean;
}

export function buildContext(facts: ContextFacts): RenderContext {
  const { machine, role, serverUrl, claim } = facts;
  const mac = machine.macs[0];
  if (!mac) throw new Error(`machine ${machine.name} has no MAC`);
  return {
    machine: {
      name: machine.name,
      mac,
      macHyphens: macWithHyphens(mac),
      uuid: machine.uuid ?? null,
      serial: machine.serial ?? null,
      group: machine.group ?? null,
      seat: machine.seat ?? null,
      address: machine.address ?? null,
      labels: machine.labels,
    },
    role: { name: role.name, description: role.description },
    params: facts.params,
    server: { url: serverUrl, address: new URL(serverUrl).hostname },
    scriptUrl: `${serverUrl}/boot/${macWithHyphens(mac)}/boot.ipxe`,
    boot: { id: facts.bootId },
    configUrl: claim === undefined ? null : `${serverUrl}/boot/claims/${claim}/`,
    callbackUrl: claim === undefined ? null : `${serverUrl}/callback/${claim}`,
    joinedUrl: claim === undefined ? null : `${serverUrl}/callback/${claim}/joined`,
    image: facts.image,
    nodeUrl:
      claim !== undefined && facts.hasNodeInitrd ? `${serverUrl}/boot/claims/${claim}/node.cpio` : null,
    arguments: [],
  };
}

/** Facts of a machine that does not exist, to try templates with. @param isNew nobody said anything of the machine yet */
export function sampleContext(role: Role, isNew = false): RenderContext {
  const resolved = resolveParameters(role, {});
  const known = {
    uuid: "4c4c4544-0035-3510-8052-b4c04f4a3732" as never,
    serial: "SERIAL1",
    group: "lab225",
    seat: "A1",
    address: "10.0.0.11" as never,
    labels: { room: "225" },
  };
  const unknown = {
    uuid: undefined,
    serial: undefined,
    group: undefined,
    seat: undefined,
    address: undefined,
    labels: {},
  };
  return buildContext({
    machine: { name: "s1", macs: ["52:54:00:00:00:01" as never], ...(isNew ? unknown : known) },
    role,
    params: "values" in resolved ? resolved.values : {},
    serverUrl: "http://10.0.0.1:8080",
    bootId: "b_sample",
    claim: "sampleclaim",
    image:
      role.image === undefined
        ? null
        : {
            name: role.image,
            version: "1",
            kernelUrl: "http://10.0.0.1:8080/assets/k/vmlinuz",
            kernelEfiUrl: null,
            initrdUrl: "http://10.0.0.1:8080/assets/i/initrd.img",
            rootUrl: "http://10.0.0.1:8080/assets/r/root.squashfs",
            rootSha256: "0".repeat(64),
            rootSizeBytes: 1,
          },
  });
}

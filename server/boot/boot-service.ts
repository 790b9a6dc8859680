import {
  type AssignedTarget,
  describeTarget,
  type Selection,
  selectTarget,
  type UnknownPolicy,
} from "../domain/assignment.ts";
import { type Boot, type Contact, endedAtFirstStage } from "../domain/boot.ts";
import type { Ids, Log } from "../domain/capabilities.ts";
import type { DhcpContact, FirstStageProgress, TftpContact } from "../domain/contact.ts";
import { AssetNotFound, BootNotOpen, InvalidMac } from "../domain/error-catalogue.ts";
import type { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import { isOptionalForLoaders } from "../domain/uefi-loaders.ts";
import { type Machine, nameFromMac } from "../domain/machine.ts";
import { filesOf } from "../domain/image.ts";
import { type ServedKind, waitsForPeople } from "../domain/role.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { isUnusableMac, type Mac } from "../net/mac.ts";
import type { Exams } from "../inventory/exams.ts";
import type { Inventory } from "../inventory/inventory.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { AddressBook } from "./address-book.ts";
import {
  type BootPlan,
  maskedClaim,
  needsClaim,
  planBoot,
  type PlanSources,
  pollSeconds,
  renderPlannedDocument,
} from "./boot-plan.ts";
import { createCallbacks } from "./callbacks.ts";
import type { Claims } from "./claims.ts";
import { nodeOfPlan } from "./cluster-nodes.ts";
import { bootedFrom, createConfigs } from "./configs.ts";
import { createFaultScripts } from "./fault-scripts.ts";
import { grubLanguage, restartIntoIpxe } from "./grub-config.ts";
import { ipxeLanguage } from "./loader-language.ts";
import { createProofs } from "./proofs.ts";
import type { ImageHolds } from "./image-holds.ts";
import type { MadeScript, ScriptRequest } from "./script-request.ts";
import { createSilentSystems } from "./silent-systems.ts";
import { createLocalDisk, type LocalDiskDeps } from "./local-disk.ts";
import { createMenuPicks } from "./menu-picks.ts";
import type { BootTracker } from "./tracker.ts";
import { type AskerGate, isStranger } from "./asker-gate.ts";

export interface BootServiceDeps extends PlanSources {
  readonly ids: Ids;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly inventory: Inventory;
  readonly assignments: Pick<AssignmentRepository, "find" | "removeExactly">;
  readonly claims: Claims;
  readonly tracker: BootTracker;
  readonly addresses: AddressBook;
  readonly gate: AskerGate;
  readonly holds: ImageHolds;
  readonly hasContent: (sha256: string) => Promise<boolean>;
  readonly unknownMachines: UnknownPolicy;
  readonly defaultRole: string | undefined;
  readonly exams: Pick<Exams, "selectionOf" | "isAny">;
  readonly localBoot: LocalDiskDeps["localBoot"];
  /** A machine loaded its first-stage program, or that program runs. */
  readonly onProgress: (mac: Mac, progress: FirstStageProgress) => void;
  /** False where DHCP is switched off here: then a machine's start can't be heard, and its script request stands for it. */
  readonly hearsDhcp: boolean;
}

/** From contacts to scripts and configs: what each machine gets, and what its boot did so far. */
export function createBootService(deps: BootServiceDeps) {
  const { record, inventory, assignments, claims, tracker, addresses, gate, renderer, onProgress } = deps;
  const faults = createFaultScripts(deps);
  const ipxe = ipxeLanguage(renderer);
  const grub = grubLanguage(renderer);
  const disk = createLocalDisk(deps, machineAt, select, useUpOnce);
  const configs = createConfigs(deps);
  const silent = createSilentSystems(deps, useUpOnce);
  const proofs = createProofs(renderer);
  const callbacks = createCallbacks(deps, useUpOnce);
  const picks = createMenuPicks(deps);

  /** @param find what is assigned; given where one asks what would be, if something else were */
  function select(machine: Machine, find: AssignmentRepository["find"] = assignments.find): Selection {
    const subject = { kind: "machine", machineId: machine.id } as const;
    return selectTarget({
      exam: deps.exams.selectionOf(machine),
      once: find(subject, "once"),
      machine: find(subject, "always"),
      group:
        machine.group === undefined ? undefined : find({ kind: "group", group: machine.group }, "always"),
      // A laptop that strays into the network is not of the lab: only machines that somebody added or accepted have a default.
      defaultRole: machine.acceptedAt === undefined ? undefined : deps.defaultRole,
      unknownPolicy:
        deps.unknownMachines === "menu" && deps.exams.isAny() ? "discover" : deps.unknownMachines,
    });
  }

  /** A machine that nobody gave a role stays discovered or accepted while it waits. */
  function hasRole(selection: Selection): boolean {
    return selection.source !== "unknown-policy" || deps.unknownMachines === "local";
  }

  async function makeScript(request: ScriptRequest): Promise<MadeScript> {
    const { mac, address } = request;
    const language = request.grub ? grub : ipxe;
    if (isUnusableMac(mac)) throw InvalidMac({ text: mac });
    const known = inventory.findByMac(mac);
    gate.refuseStranger(known, mac, address);
    if (!known && deps.unknownMachines === "ignore") {
      const script = language.local({ name: nameFromMac(mac) }, mac, deps.localBoot);
      return { script, machine: undefined };
    }
    const machine = await inventory.meet(mac, request.facts);
    addresses.learn(address, mac);
    const boot = await beginOrGoOn(machine, mac, "script");
    if (!boot) throw BootNotOpen({ machine: machine.name });
    const { selection, isPicked } = picks.follow(select(machine), machine, request.pick);
    if (isPicked || hasRole(selection)) tracker.advance(machine.id, "netboot.begun");
    const plan = planBoot(selection.target, deps, machine);
    const release = deps.holds.hold(machine.id, plan.kind === "role" ? plan.image : undefined);
    try {
      return await scriptOf(plan, { request, known, machine, boot, selection });
    } finally {
      release();
    }
  }

  /** The script of a plan, whose image stays while it is made; from then on the claim in it keeps the image. */
  async function scriptOf(
    plan: BootPlan,
    made: {
      readonly request: ScriptRequest;
      readonly known: Machine | undefined;
      readonly machine: Machine;
      readonly boot: Boot;
      readonly selection: Selection;
    },
  ): Promise<MadeScript> {
    const { request, known, machine, boot, selection } = made;
    const { mac, address, serverUrl } = request;
    const language = request.grub ? grub : ipxe;
    const image = plan.kind === "role" ? plan.image : undefined;
    for (const { sha256 } of image ? filesOf(image) : [])
      if (!(await deps.hasContent(sha256))) throw AssetNotFound({ sha256 });
    const booted = bootedFrom(machine, mac);
    const rendering = {
      machine: booted,
      plan,
      serverUrl,
      node: nodeOfPlan(deps.nodes, plan, { machine: booted, address, serverUrl }),
      bootId: boot.id,
      pollSeconds: pollSeconds(mac),
      localBoot: disk.methodOf(machine, plan.kind === "role" ? plan.role : undefined).value,
    };
    const restart = request.grub && restartIntoIpxe(machine, plan, request.grub, known?.secureBoot, renderer);
    if (restart) return { script: restart, machine };
    language.refuse(plan);
    proofs.prove(rendering);
    const claim = needsClaim(plan)
      ? await claims.mint({
          machine,
          mac,
          address,
          bootId: boot.id,
          target: selection.target,
          image,
          assignmentId: selection.assignment?.id,
        })
      : undefined;
    const script = language.script({ ...rendering, claim });
    tracker.target(machine.id, describeTarget(selection.target));
    if (plan.kind === "role" && plan.role.boot === "local") await disk.endAtDisk(machine, selection);
    return { script, machine, isWaiting: plan.kind === "role" && waitsForPeople(plan.role) };
  }

  /** The boot that a contact belongs to. Where a new one begins, what the last one alone was assigned to is over. */
  async function beginOrGoOn(machine: Machine, mac: Mac, speaker: Contact): Promise<Boot | undefined> {
    const before = tracker.current(machine.id);
    const boot = tracker.contact(machine, mac, speaker, !deps.hearsDhcp);
    const once = assignments.find({ kind: "machine", machineId: machine.id }, "once");
    // A role is used up by its callback; a script of somebody's own never calls back.
    const wasServed =
      once?.target.kind === "url" &&
      before?.target === once.target.url &&
      before.steps.some(({ step, at }) => step === "script" && at >= once.assignedAt);
    if (before && boot && before.id !== boot.id && wasServed) await useUpOnce(machine, before.id);
    return boot;
  }

  const service = {
    select,

    /** May this MAC be given boot options at all? */
    mayNetboot(mac: Mac): boolean {
      const machine = inventory.findByMac(mac);
      return machine ? machine.phase !== "retired" : deps.unknownMachines !== "ignore";
    },

    async dhcpContact(contact: DhcpContact): Promise<void> {
      // Option 50 of a broadcast is the client's own word; no machine of ours holds a loopback address.
      if (contact.address && !contact.address.startsWith("127."))
        addresses.learn(contact.address, contact.mac);
      if (contact.speaker === "os") return;
      const known = inventory.findByMac(contact.mac);
      if (!known && deps.unknownMachines === "ignore") return;
      // Not by an exception: a flood of unknown MACs comes here thousands of times a second.
      if (!known && !inventory.mayMeet(contact.mac)) return;
      const machine =
        known ?? (await inventory.meet(contact.mac, { uuid: contact.uuid, firmware: contact.firmware }));
      if (
        contact.speaker === "firmware" &&
        machine.secureBoot === false &&
        endedAtFirstStage(tracker.current(machine.id))
      )
        inventory.forgetSecureBoot(machine);
      const boot = await beginOrGoOn(machine, contact.mac, contact.speaker);
      if (!boot) return;
      if (known && contact.firmware && (contact.speaker === "firmware" || !known.firmware))
        inventory.noteFirmware(known, contact.firmware);
      if (hasRole(select(machine)) && !tracker.isPending(machine.id))
        tracker.advance(machine.id, "netboot.begun");
      const detail = {
        port: contact.port,
        ...(contact.bootfile ? { bootfile: contact.bootfile } : {}),
        ...(contact.silence ? { silence: contact.silence } : {}),
      };
      if (contact.speaker === "ipxe")
        tracker.step(machine.id, "ipxe-dhcp", contact.serverMs, { ...detail, message: contact.message });
      else if (contact.message === "DISCOVER") {
        if (!tracker.hasStep(machine.id, "discover"))
          tracker.step(machine.id, "discover", undefined, {
            secs: contact.secs,
            ...(contact.firmware ? { firmware: contact.firmware.name } : {}),
          });
        if (contact.reply) tracker.step(machine.id, "offer", contact.serverMs, detail);
      } else
        tracker.step(machine.id, "request", contact.serverMs, {
          ...detail,
          ...(contact.foreignServer ? { server: contact.foreignServer } : {}),
        });
    },

    tftpContact(contact: TftpContact): void {
      // A transfer cancelled by its client is the size probe of EDK2 (firmware-quirk Q19): no step of the boot.
      if (contact.outcome === "cancelled") return;
      const mac = addresses.macAt(contact.clientAddress);
      if (!mac) return;
      if (contact.outcome === "not-found" && isOptionalForLoaders(contact.file)) return;
      const step = /\.(ipxe|cfg)$/.test(contact.file) ? "contact" : "nbp";
      if (contact.sentBytes > 0)
        onProgress(
          mac,
          step === "contact" ? "started" : contact.outcome === "complete" ? "loaded" : "loading",
        );
      const machine = inventory.findByMac(mac);
      if (!machine) return;
      tracker.step(machine.id, step, contact.serverMs, {
        file: contact.file,
        outcome: contact.outcome,
        sentBytes: contact.sentBytes,
        durationMs: Math.round(contact.durationMs),
        retransmissions: contact.retransmissions,
        ...(contact.isHeard === undefined ? {} : { heard: contact.isHeard ? 1 : 0 }),
        ...(contact.blockBytes === undefined ? {} : { blockBytes: contact.blockBytes }),
      });
    },

    /** The address that the machine was last seen with, by DHCP or by its script's request. */
    addressOf: (machine: Machine): Ipv4 | undefined =>
      machine.macs.map((mac) => addresses.addressOf(mac)).find((address) => address !== undefined),

    /** The machine whose address this is, as far as is known. */
    machineAt,
    disk,

    /** The machine's own script; a fault becomes a script that tells it and retries. */
    async script(request: ScriptRequest): Promise<MadeScript & { error: RollcallError | undefined }> {
      try {
        const made = await makeScript(request);
        faults.forget(request.mac);
        onProgress(request.mac, "started");
        return { ...made, error: undefined };
      } catch (failure) {
        const { mac, address } = request;
        const { script, error } = faults.make(failure, mac, request.serverUrl, request.grub ? grub : ipxe);
        const machine = inventory.findByMac(mac);
        faults.tell(error, { mac, address, machine, bootId: machine && tracker.current(machine.id)?.id });
        // What a stranger asks is no step of the machine's boot.
        if (isStranger(error)) return { script, machine: undefined, error };
        onProgress(mac, "started");
        return { script, machine, error };
      }
    },

    /** A script that tells an error, for requests that name no machine. */
    errorScript: (error: unknown, serverUrl: string, isGrub = false) =>
      faults.make(error, undefined, serverUrl, isGrub ? grub : ipxe),

    fileServed: silent.fileServed,

    /** What the machine of an address loaded over HTTP: the first-stage program, or a first script. */
    firstStageServed(address: string, progress: FirstStageProgress): void {
      const mac = addresses.macAt(address as Ipv4);
      if (mac) onProgress(mac, progress);
    },

    /** A document behind a claim. @throws ClaimRefused, ConfigNotReady */
    config: configs.config,
    nodeInitrd: configs.nodeInitrd,

    /**
     * What a machine would get now, or with another target, secrets masked.
     * @throws as {@link planBoot}, TemplateFailed
     */
    preview(
      machine: Machine,
      kind: ServedKind,
      serverUrl: string,
      target: AssignedTarget = select(machine).target,
    ): string | undefined {
      const plan = planBoot(target, deps, machine);
      const rendering = {
        machine,
        plan,
        serverUrl,
        node: nodeOfPlan(deps.nodes, plan, {
          machine,
          address: service.addressOf(machine) ?? machine.address,
          serverUrl,
        }),
        bootId: "b_preview",
        claim: needsClaim(plan) ? maskedClaim : undefined,
        pollSeconds: pollSeconds(machine.macs[0] ?? ("" as Mac)),
        localBoot: disk.methodOf(machine, plan.kind === "role" ? plan.role : undefined).value,
      };
      return kind === "ipxe" ? ipxe.script(rendering) : renderPlannedDocument(rendering, kind, renderer);
    },

    /** Throws what a machine with this target would see on its screen; one machine's, where it is named. */
    check: (target: AssignedTarget, machine?: Machine): void => void planBoot(target, deps, machine),

    ...callbacks,
  };

  function machineAt(address: string): Machine | undefined {
    const mac = addresses.macAt(address as Ipv4);
    return mac && inventory.findByMac(mac);
  }

  /** Takes the assignment for one boot away: the boot that was made from it is done. */
  async function useUpOnce(machine: Machine, bootId: string | undefined): Promise<void> {
    const subject = { kind: "machine", machineId: machine.id } as const;
    const once = assignments.find(subject, "once");
    if (!once) return;
    if ((await assignments.removeExactly([once])).length === 0) return;
    record({
      type: "assignment.used",
      machineId: machine.id,
      bootId,
      message: `${machine.name}: ${describeTarget(once.target)} for one boot is used up`,
      data: { target: once.target },
    });
  }
  return service;
}
export type BootService = ReturnType<typeof createBootService>;

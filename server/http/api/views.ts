import type { BootProgress } from "../../boot/tracker.ts";
import {
  type AssignedTarget,
  describeTarget,
  type PastChange,
  type Selection,
} from "../../domain/assignment.ts";
import { type Boot, serverTimeMs } from "../../domain/boot.ts";
import type { ClusterNode } from "../../domain/cluster-node.ts";
import type { Event } from "../../domain/event.ts";
import type { ReportedHardware } from "../../domain/hardware.ts";
import { filesOf, type Image } from "../../domain/image.ts";
import type { Machine } from "../../domain/machine.ts";
import type { Role } from "../../domain/role.ts";
import type { Mac } from "../../net/mac.ts";
import type { PlanLine } from "../../inventory/assigning.ts";
import type { UndoPlan } from "../../inventory/undoing.ts";

/** Domain values as the API shows them: times in ISO 8601, absent facts null. */

export function isoTime(ms: number): string;
export function isoTime(ms: number | undefined): string | null;
export function isoTime(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** What the boot that is under way or done has made of a machine; its `role` is what the next one makes. */
export function runsOf(boot: Boot | undefined): string | null {
  return boot?.outcome === "running" || boot?.outcome === "ready" ? (boot.target ?? null) : null;
}

/** Where a machine stands in the cluster in its current boot; undefined: in none. */
export function nodeInBoot(node: ClusterNode | undefined, boot: Boot | undefined): ClusterNode | undefined {
  return node && (boot?.id ?? node.bootId) === node.bootId ? node : undefined;
}

export function machineView(
  machine: Machine,
  selection: Selection,
  boot: Boot | undefined,
  progress: BootProgress | undefined,
) {
  return {
    id: machine.id,
    name: machine.name,
    macs: machine.macs,
    uuid: machine.uuid ?? null,
    serial: machine.serial ?? null,
    manufacturer: machine.manufacturer ?? null,
    product: machine.product ?? null,
    arch: machine.arch ?? null,
    firmware: machine.firmware ?? null,
    secureBoot: machine.secureBoot ?? null,
    group: machine.group ?? null,
    seat: machine.seat ?? null,
    labels: machine.labels,
    address: machine.address ?? null,
    ramBytes: machine.ramBytes ?? null,
    localBoot: machine.localBoot ?? null,
    driver: machine.driver ?? null,
    ramCheck: machine.ramCheck ?? null,
    phase: machine.phase,
    role: describeTarget(selection.target),
    roleSource: selection.source,
    runs: runsOf(boot),
    lastSeenAt: isoTime(machine.lastSeenAt),
    boot: boot
      ? {
          id: boot.id,
          startedAt: isoTime(boot.startedAt),
          outcome: boot.outcome,
          verdict: boot.verdict ?? null,
          lastStep: boot.steps.at(-1)?.step ?? null,
        }
      : null,
    progress: progress ?? null,
  };
}

/** What its own system found in a machine. @param ownerOf the machine that is known by a MAC */
export function hardwareView(hardware: ReportedHardware, ownerOf: (mac: Mac) => string | undefined) {
  return {
    reportedAt: isoTime(hardware.reportedAt),
    cpu: { model: hardware.cpu.model ?? null, cores: hardware.cpu.cores ?? null },
    memoryBytes: hardware.memoryBytes ?? null,
    vendor: hardware.vendor ?? null,
    product: hardware.product ?? null,
    serial: hardware.serial ?? null,
    uuid: hardware.uuid ?? null,
    disks: hardware.disks.map(({ name, sizeBytes, model, serial, isRotating }) => ({
      name,
      sizeBytes,
      model: model ?? null,
      serial: serial ?? null,
      isRotating: isRotating ?? null,
    })),
    nics: hardware.nics.map(({ name, mac, driver, hasLink, speedMbit, neighbour }) => ({
      name,
      mac,
      /** The machine that has this MAC; null: nobody said that it is one of this machine's. */
      machine: ownerOf(mac) ?? null,
      driver: driver ?? null,
      hasLink: hasLink ?? null,
      speedMbit: speedMbit ?? null,
      neighbour: neighbour
        ? {
            chassisId: neighbour.chassisId,
            portId: neighbour.portId,
            portDescription: neighbour.portDescription ?? null,
            systemName: neighbour.systemName ?? null,
          }
        : null,
    })),
  };
}

export function targetView(target: AssignedTarget): object {
  if (target.kind === "url") return { url: target.url };
  const { role, params, ramCheck } = target;
  return { role, params, ...(ramCheck ? { ramCheck } : {}) };
}

export function explainView(machine: Machine, selection: Selection) {
  return {
    machine: machine.name,
    role: describeTarget(selection.target),
    target: targetView(selection.target),
    source: selection.source,
    why: selection.why,
    instead: selection.instead.map(({ target, source }) => ({ role: describeTarget(target), source })),
  };
}

export function bootView(boot: Boot, machineName: string) {
  return {
    id: boot.id,
    machine: machineName,
    mac: boot.mac,
    startedAt: isoTime(boot.startedAt),
    endedAt: isoTime(boot.endedAt),
    outcome: boot.outcome,
    target: boot.target ?? null,
    verdict: boot.verdict ?? null,
    durationMs: (boot.endedAt ?? boot.steps.at(-1)?.at ?? boot.startedAt) - boot.startedAt,
    serverMs: Math.round(serverTimeMs(boot) * 100) / 100,
    phases: boot.phases.map(({ phase, at }) => ({ phase, at: isoTime(at), afterMs: at - boot.startedAt })),
    steps: boot.steps.map(({ step, at, serverMs, detail }) => ({
      step,
      at: isoTime(at),
      afterMs: at - boot.startedAt,
      serverMs: serverMs === undefined ? null : Math.round(serverMs * 100) / 100,
      detail,
    })),
  };
}

const fileNames = (texts: Role["templates"]) =>
  Object.fromEntries(Object.entries(texts).map(([kind, { file }]) => [kind, file]));

export function roleView(role: Role) {
  return {
    name: role.name,
    description: role.description,
    boot: role.boot,
    image: role.image ?? null,
    arch: role.arch,
    minimumRamBytes: role.minimumRamBytes ?? null,
    joins: role.joins,
    node: role.node ?? null,
    family: role.family,
    reports: role.reports,
    rollcallArguments: role.rollcallArguments,
    localBoot: role.localBoot ?? null,
    sshUser: role.sshUser ?? null,
    sshCommands: role.sshCommands ?? "orders",
    arguments: role.arguments,
    parameters: role.parameters,
    templates: fileNames(role.templates),
    userDataParts: role.userDataParts.map(({ file }) => file),
    files: fileNames(role.files),
    extends: role.extends ?? null,
    inherited: role.inherited,
  };
}

export function planView(line: PlanLine) {
  return {
    machine: line.machine.name,
    before: describeTarget(line.before.target),
    beforeWhy: line.before.why,
    after: describeTarget(line.after.target),
    why: line.after.why,
    changes: line.changes,
    changedParameters: changedParameters(line.before.target, line.after.target),
  };
}

export function undoView({ change, lines, left }: UndoPlan) {
  return {
    change: { at: isoTime(change.at), actor: change.actor, message: change.message },
    plan: lines.map(planView),
    left,
  };
}

export function historyView({ at, actor, message, undoneAt, undoneBy }: PastChange) {
  return { at: isoTime(at), actor, message, undoneAt: isoTime(undoneAt), undoneBy: undoneBy ?? null };
}

/** Names of the parameters that differ between two targets of one role. */
function changedParameters(before: AssignedTarget, after: AssignedTarget): string[] {
  if (before.kind !== "role" || after.kind !== "role" || before.role !== after.role) return [];
  return [...new Set([...Object.keys(before.params), ...Object.keys(after.params)])].filter(
    (name) => JSON.stringify(before.params[name]) !== JSON.stringify(after.params[name]),
  );
}

export function eventView(event: Event, machineName: string | undefined) {
  return {
    seq: event.seq,
    at: isoTime(event.at),
    type: event.type,
    level: event.level,
    machine: machineName ?? null,
    boot: event.bootId ?? null,
    actor: event.actor ?? null,
    message: event.message,
    data: event.data,
  };
}

export function imageView(image: Image) {
  return {
    name: image.name,
    version: image.version,
    arch: image.arch,
    current: image.isCurrent,
    addedAt: isoTime(image.addedAt),
    sizeBytes: filesOf(image).reduce((sum, file) => sum + file.sizeBytes, 0),
    files: image.files,
    currentSince: isoTime(image.currentSince),
  };
}

import { spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AssignedTarget, Assignment } from "../../server/domain/assignment.ts";
import type { Claim } from "../../server/domain/claim.ts";
import type { Image } from "../../server/domain/image.ts";
import type { Lease } from "../../server/domain/lease.ts";
import type { Machine } from "../../server/domain/machine.ts";
import { newMachine } from "../../server/inventory/machine-input.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Mac } from "../../server/net/mac.ts";
import type { Group } from "../../server/store/groups.ts";
import type { Store } from "../../server/store/open-store.ts";

/** Plain values of the domain, for tests that need one and do not care about the rest of it. */

export const sampleTime = Date.UTC(2026, 0, 1);

/** `52:54:00:00:00:0a` for 10. */
export function macOf(number: number): Mac {
  const hex = number.toString(16).padStart(6, "0");
  return `52:54:00:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}` as Mac;
}

/** `10.1.0.10` for 10. */
export function addressOf(number: number): Ipv4 {
  return `10.1.${Math.floor(number / 256)}.${number % 256}` as Ipv4;
}

export function sampleMachine(number: number, facts: Partial<Machine> = {}): Machine {
  return {
    ...newMachine(`m_${number}`, macOf(number), sampleTime),
    phase: "accepted",
    lastSeenAt: undefined,
    ...facts,
  };
}

export function sampleGroup(name: string, description: string, createdAt: number): Group {
  return {
    name,
    description,
    localBoot: undefined,
    driver: undefined,
    ramCheck: undefined,
    plan: undefined,
    createdAt,
  };
}

export function sampleLease(number: number, facts: Partial<Lease> = {}): Lease {
  return {
    mac: macOf(number),
    address: addressOf(number),
    grantedAt: sampleTime,
    expiresAt: sampleTime + 3_600_000,
    state: "bound",
    ...facts,
  };
}

export function role(name: string, params: Record<string, unknown> = {}): AssignedTarget {
  return { kind: "role", role: name, params };
}

export function sampleAssignment(machineId: string, facts: Partial<Assignment> = {}): Assignment {
  return {
    id: `as_${machineId}`,
    subject: { kind: "machine", machineId },
    target: role("worker"),
    mode: "always",
    assignedAt: sampleTime,
    assignedBy: "anna",
    ...facts,
  };
}

export function sampleClaim(machineId: string, facts: Partial<Claim> = {}): Claim {
  return {
    hash: `hash of ${machineId}`,
    bootId: `b_${machineId}`,
    machineId,
    mac: macOf(1),
    address: addressOf(1),
    assignmentId: undefined,
    target: role("worker"),
    image: undefined,
    mintedAt: sampleTime,
    expiresAt: sampleTime + 3_600_000,
    spentAt: undefined,
    fetches: {},
    ...facts,
  };
}

export function sampleImage(version: string, facts: Partial<Image> = {}): Image {
  const file = (name: string) => ({ name, sha256: name.charCodeAt(0).toString(16).repeat(32), sizeBytes: 1 });
  return {
    name: "debian-node",
    version,
    arch: "x86_64",
    files: { kernel: file("vmlinuz"), initrd: file("initrd.img"), rootfs: file("root.squashfs") },
    addedAt: sampleTime,
    isCurrent: true,
    currentSince: sampleTime,
    ...facts,
  };
}

/** A directory that goes with the test. */
export function temporaryDirectory(t: { teardown(fn: () => void): unknown }): string {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-test-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Everything that a store holds in memory, in an order that does not depend on how it came there. */
export function contentOf(store: Store) {
  const sorted = <T>(items: Iterable<T>) =>
    [...items]
      .map((item) => JSON.stringify(item))
      .sort()
      .map((text) => JSON.parse(text) as T);
  return {
    machines: sorted(store.machines.all()),
    byMac: sorted(
      store.machines.all().flatMap(({ macs }) => macs.map((mac) => [mac, store.machines.findByMac(mac)?.id])),
    ),
    groups: sorted(store.groups.all()),
    assignments: sorted(store.assignments.all()),
    leases: sorted(store.leases.all()),
    tokens: sorted(store.tokens.all()),
    images: sorted(store.images.all()),
  };
}

/** A file system of its own, so that its end is near. */
export function smallDisk(t: { teardown(fn: () => void): unknown }, megabytes: number): string {
  const directory = temporaryDirectory(t);
  const { status, stderr } = spawnSync("mount", [
    "-t",
    "tmpfs",
    "-o",
    `size=${megabytes}m`,
    "rollcall",
    directory,
  ]);
  if (status !== 0) throw new Error(`this test mounts a small tmpfs, which takes root: ${stderr.toString()}`);
  t.teardown(() => void spawnSync("umount", ["--lazy", directory]));
  return directory;
}

/** Appends to a file until nothing more fits, or until it has so many octets. */
export function fillUp(file: string, limitBytes = Number.POSITIVE_INFINITY): void {
  let written = 0;
  for (const chunk of [1024 * 1024, 4096, 512]) {
    try {
      for (; written < limitBytes; written += chunk) appendFileSync(file, Buffer.alloc(chunk));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }
}

/** A neighbour table in which these addresses belong to these MACs, as `/proc/net/arp` prints it. */
export function neighbourTable(entries: readonly (readonly [address: string, mac: Mac])[]): string {
  const lines = entries.map(([address, mac]) => `${address}  0x1  0x2  ${mac}  *  eth0`);
  return ["IP address  HW type  Flags  HW address  Mask  Device", ...lines, ""].join("\n");
}

/** The first machines of a lab, each with its own address. */
export const sampleNumbers: readonly number[] = Array.from({ length: 100 }, (_, index) => index + 1);

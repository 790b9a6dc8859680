import { LRUCache } from "lru-cache";
import { closeSync, openSync, readSync } from "node:fs";

/** Kernels whose release is remembered. */
const capacity = 1000;
/** What the header can point into: 16 bits of offset and the 512 octets that it is counted from. */
const headBytes = 0x1_0000 + 0x200 + 128;

/**
 * `uname -r` of a Linux kernel for PCs, as its own header says it (Documentation/arch/x86/boot.rst: HdrS at 0x202, kernel_version at
 * 0x20E, counted from 0x200). Kernels of other architectures say it nowhere.
 * @param head of its file @returns undefined for anything else
 */
export function kernelReleaseIn(head: Buffer): string | undefined {
  if (head.length < 0x210 || head.toString("latin1", 0x202, 0x206) !== "HdrS") return undefined;
  const offset = head.readUInt16LE(0x20e);
  if (offset === 0) return undefined;
  const text = head.toString("latin1", 0x200 + offset, 0x200 + offset + 128);
  return /^([0-9]{1,3}\.[0-9]{1,3}(?:[.+~-][\w.+~-]*)?)[ \0]/.exec(text)?.[1];
}

/** The releases of kernels in the store, by digest. @param pathOf the content; undefined: no digest */
export function createKernelReleases(
  pathOf: (sha256: string) => string | undefined,
): (sha256: string) => string | undefined {
  // An empty text is a kernel that says nothing.
  const known = new LRUCache<string, string>({ max: capacity });
  return (sha256) => {
    const before = known.get(sha256);
    if (before !== undefined) return before || undefined;
    const path = pathOf(sha256);
    const head = path === undefined ? undefined : readHead(path);
    if (!head) return undefined;
    const release = kernelReleaseIn(head);
    known.set(sha256, release ?? "");
    return release;
  };
}

/** @returns undefined where it can't be read; who boots the kernel is told of that when it is served */
function readHead(path: string): Buffer | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    const head = Buffer.alloc(headBytes);
    return head.subarray(0, readSync(file, head, 0, headBytes, 0));
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

import type { Mac } from "../net/mac.ts";

/** Machines that are remembered; a flood of MACs does not grow it. */
const capacity = 5000;

/** A script that fails is asked for again every few seconds: tells whether this failure is another one than the machine's last. */
export function createFailureMemory() {
  const last = new Map<Mac, string>();
  return {
    isNew(mac: Mac, failure: string): boolean {
      if (last.get(mac) === failure) return false;
      if (last.size >= capacity) last.clear();
      last.set(mac, failure);
      return true;
    },
    forget: (mac: Mac): void => void last.delete(mac),
  };
}

/** 1000: kB, MB, GB as disks are sold by; 1024: KiB, MiB, GiB (IEC 80000-13). */
export type ByteUnits = 1000 | 1024;

const names: Readonly<Record<ByteUnits, readonly string[]>> = {
  1000: ["B", "kB", "MB", "GB", "TB", "PB"],
  1024: ["B", "KiB", "MiB", "GiB", "TiB", "PiB"],
};

function inUnits(bytes: number, units: ByteUnits): { readonly value: number; readonly name: string } {
  let value = bytes;
  let step = 0;
  while (value >= units && step < names[units].length - 1) {
    value /= units;
    step++;
  }
  return { value, name: names[units][step] ?? "B" };
}

const isShort = (value: number): boolean => Math.abs(value - Number(value.toFixed(2))) < 1e-9;

/** The units that somebody thought in who wrote this number: 5000000000 is 5 GB, 1073741824 is 1 GiB; binary ones where it is neither. */
export function unitsOf(bytes: number): ByteUnits {
  const isDecimal = isShort(inUnits(bytes, 1000).value) && !isShort(inUnits(bytes, 1024).value);
  return isDecimal ? 1000 : 1024;
}

/** `4.66 GiB`: octets with ten digits tell a tired person nothing. */
export function formatSize(bytes: number, units: ByteUnits = 1024): string {
  const { value, name } = inUnits(bytes, units);
  const digits = name === "B" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${name}`;
}

/** `4.98 GB of 5 GB`: a limit in the unit that it was configured in, and what is used of it in the same. */
export function formatUse(usedBytes: number, limitBytes: number): string {
  const units = unitsOf(limitBytes);
  const { value, name } = inUnits(limitBytes, units);
  const limit = isShort(value) ? `${Number(value.toFixed(2))} ${name}` : formatSize(limitBytes, units);
  return `${formatSize(usedBytes, units)} of ${limit}`;
}

/** The variants of Butane that boot machines without installing them; each version makes configs of one Ignition version, 3.`minor`.0. */
const minorByVersion: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  fcos: { "1.0.0": 0, "1.1.0": 1, "1.2.0": 2, "1.3.0": 2, "1.4.0": 3, "1.5.0": 4, "1.6.0": 5, "1.7.0": 6 },
  flatcar: { "1.0.0": 3, "1.1.0": 4 },
};

export type Variant = "fcos" | "flatcar";

/** Keys of Butane that this translator does not know, and what to do without them. */
export const refusedKeys: Readonly<Record<string, string>> = {
  boot_device:
    "describes the disk that a system was installed to, and this machine boots from the network: name disks, raid, luks and filesystems one by one under storage",
  grub: "sets the boot menu of an installed system, and this machine boots from the network: leave it out",
};

/** @returns the variant with its Ignition version, or what is wrong with the key that is named */
export function parseVariant(
  variant: unknown,
  version: unknown,
): { variant: Variant; minor: number } | { key: "variant" | "version"; message: string } {
  const variants = Object.keys(minorByVersion).join(", ");
  if (typeof variant !== "string" || !Object.hasOwn(minorByVersion, variant))
    return {
      key: "variant",
      message: variant === undefined ? `is missing; there are ${variants}` : `must be one of ${variants}`,
    };
  const versions = minorByVersion[variant] ?? {};
  const minor =
    typeof version === "string" && Object.hasOwn(versions, version) ? versions[version] : undefined;
  if (minor === undefined) {
    const known = Object.keys(versions).join(", ");
    return {
      key: "version",
      message:
        version === undefined
          ? `is missing; ${variant} has ${known}`
          : `must be a version of ${variant}: ${known}`,
    };
  }
  return { variant: variant as Variant, minor };
}

/** The first version of a variant whose configs have a key of Ignition 3.`minor`. */
export function firstVersionWith(variant: Variant, minor: number): string | undefined {
  return Object.entries(minorByVersion[variant] ?? {}).find(([, own]) => own >= minor)?.[0];
}

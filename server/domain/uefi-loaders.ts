import type { Arch } from "./firmware.ts";

/** What UEFI firmware of one architecture is given first, by the names that boot-assets/ has it under. */
export interface UefiLoaders {
  /** Builds of iPXE in the order of preference; nobody signed them, so firmware with Secure Boot refuses them. */
  readonly ipxe: readonly string[];
  /**
   * `shim` is signed by Microsoft. It loads `grub` by this very name from where it came from itself, and GRUB, whose signature shim
   * checks, reads its config and boots kernels that shim's vendor signed. Undefined: nobody signs a shim for this architecture.
   */
  readonly signed: { readonly shim: string; readonly grub: string } | undefined;
  /** GRUB's word for the architecture, `$grub_cpu`; its folder of the configs is `<cpu>-efi`. */
  readonly grubCpu: string;
}

export const uefiLoaders: Readonly<Record<Arch, UefiLoaders>> = {
  x86_64: {
    ipxe: ["snponly.efi", "ipxe.efi"],
    signed: { shim: "shimx64.efi", grub: "grubx64.efi" },
    grubCpu: "x86_64",
  },
  x86: {
    ipxe: ["snponly-i386.efi", "ipxe-i386.efi"],
    signed: undefined,
    grubCpu: "i386",
  },
  arm64: {
    ipxe: ["snponly-arm64.efi", "snp-arm64.efi", "ipxe-arm64.efi"],
    signed: { shim: "shimaa64.efi", grub: "grubaa64.efi" },
    grubCpu: "arm64",
  },
  arm: {
    ipxe: ["snponly-arm32.efi", "ipxe-arm32.efi"],
    signed: undefined,
    grubCpu: "arm",
  },
  riscv64: {
    ipxe: ["snponly-riscv64.efi", "ipxe-riscv64.efi"],
    signed: undefined,
    grubCpu: "riscv64",
  },
};

/** Files that shim and GRUB look for and do without: their lack is no fault of a boot. */
export function isOptionalForLoaders(file: string): boolean {
  return /(^|\/)(revocations_[a-z]+\.efi|shim_certificate_[0-9]+\.efi|[a-z]+\.lst)$/.test(file);
}

export function archByGrubCpu(cpu: string): Arch | undefined {
  return (Object.keys(uefiLoaders) as Arch[]).find((arch) => uefiLoaders[arch].grubCpu === cpu);
}

/**
 * First-stage binaries for UEFI of an architecture, in the order of preference. A DHCP server can't see whether Secure Boot is on, and
 * shim does no harm where it is off (firmware-quirk Q17), so a machine of which nothing is known gets shim; one that said that Secure
 * Boot is off gets iPXE at once, which is 3 MB less to load.
 *
 * @param secureBoot what the machine said last; undefined: nothing yet
 */
export function uefiFirstStage(
  arch: Arch,
  secureBoot: boolean | undefined,
  available: ReadonlySet<string>,
): readonly string[] {
  const { ipxe, signed } = uefiLoaders[arch];
  // Shim without the program that it loads next is a dead end.
  const shim = signed && available.has(signed.grub) ? [signed.shim] : [];
  return secureBoot === false ? [...ipxe, ...shim] : [...shim, ...ipxe];
}

/** The instruction set of a machine, in the kernel's words, and how its firmware boots. */
export type Arch = "x86" | "x86_64" | "arm" | "arm64" | "riscv64";

export interface Firmware {
  /** IANA "Processor Architecture Types" number (RFC 4578 s.2.1, DHCP option 93). */
  readonly code: number;
  readonly name: string;
  readonly arch: Arch;
  readonly kind: "bios" | "uefi" | "uefi-http" | "uboot" | "uboot-http" | "raspberry-pi";
}

/** IANA processor architecture types, as far as a PC or a board can have them. */
export const firmwares: readonly Firmware[] = [
  { code: 0, name: "bios", arch: "x86_64", kind: "bios" },
  { code: 6, name: "uefi-x86", arch: "x86", kind: "uefi" },
  { code: 7, name: "uefi-x86_64", arch: "x86_64", kind: "uefi" },
  // 9 was registered as "EBC" and most firmware of its time means x86-64 by it (RFC 4578 erratum 4625 swaps 7 and 9).
  { code: 9, name: "uefi-x86_64", arch: "x86_64", kind: "uefi" },
  { code: 10, name: "uefi-arm", arch: "arm", kind: "uefi" },
  { code: 11, name: "uefi-arm64", arch: "arm64", kind: "uefi" },
  { code: 15, name: "uefi-http-x86", arch: "x86", kind: "uefi-http" },
  { code: 16, name: "uefi-http-x86_64", arch: "x86_64", kind: "uefi-http" },
  { code: 18, name: "uefi-http-arm", arch: "arm", kind: "uefi-http" },
  { code: 19, name: "uefi-http-arm64", arch: "arm64", kind: "uefi-http" },
  { code: 21, name: "uboot-arm", arch: "arm", kind: "uboot" },
  { code: 22, name: "uboot-arm64", arch: "arm64", kind: "uboot" },
  { code: 23, name: "uboot-http-arm", arch: "arm", kind: "uboot-http" },
  { code: 24, name: "uboot-http-arm64", arch: "arm64", kind: "uboot-http" },
  { code: 27, name: "uefi-riscv64", arch: "riscv64", kind: "uefi" },
  { code: 28, name: "uefi-http-riscv64", arch: "riscv64", kind: "uefi-http" },
  { code: 41, name: "raspberry-pi", arch: "arm64", kind: "raspberry-pi" },
];

export function firmwareByCode(code: number): Firmware | undefined {
  return firmwares.find((firmware) => firmware.code === code);
}

import { ArchMismatch, MachineTooSmall } from "../domain/error-catalogue.ts";
import type { Arch } from "../domain/firmware.ts";
import type { Image } from "../domain/image.ts";
import type { Machine } from "../domain/machine.ts";
import type { Role } from "../domain/role.ts";

/** What one kernel can be tried on: a 32-bit UEFI stands on many 64-bit PCs, and starts a 64-bit kernel. */
const isPc = (arch: Arch) => arch === "x86" || arch === "x86_64";
const fits = (machine: Arch, madeFor: Arch) => machine === madeFor || (isPc(machine) && isPc(madeFor));

/**
 * Refuses what could not start on this machine: a kernel of another architecture ends in silence, and too little RAM half-way.
 * What is not known of the machine refuses nothing. @throws ArchMismatch, MachineTooSmall
 */
export function refuseMisfit(machine: Machine, role: Role, image: Image | undefined): void {
  const { name, arch, ramBytes } = machine;
  if (arch !== undefined) {
    if (role.arch.length > 0 && !role.arch.some((madeFor) => fits(arch, madeFor)))
      throw ArchMismatch({ machine: name, arch, what: `role ${role.name}`, madeFor: role.arch });
    if (image && !fits(arch, image.arch))
      throw ArchMismatch({ machine: name, arch, what: `image ${image.name}`, madeFor: [image.arch] });
  }
  if (ramBytes !== undefined && ramBytes < (role.minimumRamBytes ?? 0))
    throw MachineTooSmall({
      machine: name,
      role: role.name,
      ramBytes,
      minimumRamBytes: role.minimumRamBytes ?? 0,
    });
}

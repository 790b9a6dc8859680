import { ArchMismatch, MachineTooSmall } from "../domain/error-catalogue.ts";
import type { Arch } from "../domain/firmware.ts";
import type { BootedImage } from "../domain/image.ts";
import type { Machine } from "../domain/machine.ts";
import { ramNeed, type RoleOffer, smallerRole } from "../domain/ram-budget.ts";
import type { Role } from "../domain/role.ts";

/** What one kernel can be tried on: a 32-bit UEFI stands on many 64-bit PCs, and starts a 64-bit kernel. */
const isPc = (arch: Arch) => arch === "x86" || arch === "x86_64";
const fits = (machine: Arch, madeFor: Arch) => machine === madeFor || (isPc(machine) && isPc(madeFor));

/**
 * Refuses what could not start on this machine: a kernel of another architecture ends in silence, and too little RAM half-way.
 * What is not known of the machine refuses nothing. @throws ArchMismatch, MachineTooSmall
 */
export function refuseMisfit(
  machine: Machine,
  role: Role,
  image: BootedImage | undefined,
  { isRamIgnored, offers }: { isRamIgnored: boolean; offers: () => readonly RoleOffer[] },
): void {
  const { name, arch, ramBytes } = machine;
  if (arch !== undefined) {
    if (role.arch.length > 0 && !role.arch.some((madeFor) => fits(arch, madeFor)))
      throw ArchMismatch({ machine: name, arch, what: `role ${role.name}`, madeFor: role.arch });
    if (image && !fits(arch, image.arch))
      throw ArchMismatch({ machine: name, arch, what: `image ${image.name}`, madeFor: [image.arch] });
  }
  const need = ramNeed(role, image);
  if (isRamIgnored || ramBytes === undefined || ramBytes >= need.bytes) return;
  const fitting = offers().filter(
    (offer) =>
      arch === undefined ||
      ((offer.role.arch.length === 0 || offer.role.arch.some((madeFor) => fits(arch, madeFor))) &&
        offer.image !== undefined &&
        fits(arch, offer.image.arch)),
  );
  throw MachineTooSmall({
    machine: name,
    what: need.because === "role" ? `the role ${role.name}` : `the image ${image?.name} ${image?.version}`,
    ramBytes,
    neededBytes: need.bytes,
    ...offerIn(name, smallerRole(fitting, ramBytes)),
  });
}

/** The way out that is known for this machine; without one the error's own advice stands. */
function offerIn(machine: string, smaller: string | undefined): { smallerRole?: string; advice?: string } {
  if (smaller === undefined) return {};
  const advice = `The role ${smaller} needs less: \`boot ${machine} ${smaller}\`. To try all the same: \`boot machine edit ${machine} --ram-check ignore\`.`;
  return { smallerRole: smaller, advice };
}

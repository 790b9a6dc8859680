import { InvalidRequest } from "../../domain/error-catalogue.ts";
import type { Machine } from "../../domain/machine.ts";
import type { Assigning, Within } from "../../inventory/assigning.ts";

/** The machines of a host set, of which there must be one. @throws InvalidRequest */
export function askedMachines(
  assigning: Pick<Assigning, "machinesOf">,
  hostSet: string,
  within: Within,
): Machine[] {
  const found = assigning.machinesOf(hostSet, within);
  if (found.length === 0)
    throw InvalidRequest({
      problem: "no machine is in this host set",
      advice: "`boot machine list` shows all of them; -name leaves one out.",
    });
  return found;
}

import type { Within } from "./assigning.ts";
import type { Inventory } from "./inventory.ts";

/** The inventory as whoever is limited to some rooms sees it, as rooms and machines are at that moment. */
export function withinRooms(
  inventory: Pick<Inventory, "all" | "groupNames">,
  rooms: readonly string[],
): Within {
  const known = new Set(rooms);
  return {
    all: () => inventory.all().filter(({ group }) => group !== undefined && known.has(group)),
    groupNames: () => new Set([...inventory.groupNames()].filter((name) => known.has(name))),
  };
}

import { MachineNotFound, RoomsLimited } from "../domain/error-catalogue.ts";
import type { Event } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { withinRooms } from "../inventory/within-rooms.ts";

/** How far a route goes, for tokens that are limited to rooms. A route that says nothing takes a token without limits. */
export type RoomRule =
  /** It works on `request.reach.inventory` and nothing else of machines: what is outside is as if it were not there. */
  | "limited"
  /** It is a matter of the cluster, which is that of all rooms: refused, and the error says so. */
  | "cluster"
  /** It tells nothing of any machine, group or person. */
  | "free";

/** The inventory as one caller sees it. */
export type SeenInventory = Pick<Inventory, "all" | "get" | "groups" | "groupNames">;

/** What of the lab a request may see and change. */
export interface Reach {
  /** Undefined: everything. */
  readonly rooms: readonly string[] | undefined;
  readonly inventory: SeenInventory;
  hasMachine(machineId: string): boolean;
  hasRoom(room: string): boolean;
  seesEvent(event: Event): boolean;
  /** @throws RoomsLimited where what is asked for is a matter of the whole server, or of the cluster */
  refuseLimited(matter?: "cluster"): void;
}

/** The one place that decides what a token of some rooms reaches. */
export function createReach(rooms: readonly string[] | undefined, inventory: Inventory): Reach {
  if (rooms === undefined)
    return {
      rooms,
      inventory,
      hasMachine: () => true,
      hasRoom: () => true,
      seesEvent: () => true,
      refuseLimited: () => {},
    };
  const known = new Set(rooms);
  const isIn = ({ group }: Pick<Machine, "group">) => group !== undefined && known.has(group);
  const hasMachine = (machineId: string) => {
    const machine = inventory.find(machineId);
    return machine !== undefined && isIn(machine);
  };
  return {
    rooms,
    inventory: {
      ...withinRooms(inventory, rooms),
      get(nameOrMac) {
        const machine = inventory.get(nameOrMac);
        // Word for word what is said of one that does not exist.
        if (!isIn(machine)) throw MachineNotFound({ name: nameOrMac });
        return machine;
      },
      groups: () => inventory.groups().filter(({ name }) => known.has(name)),
    },
    hasMachine,
    hasRoom: (room) => known.has(room),
    seesEvent({ machineId, data }) {
      if (machineId !== undefined) return hasMachine(machineId);
      return typeof data["group"] === "string" && known.has(data["group"]);
    },
    refuseLimited(matter) {
      throw RoomsLimited({ rooms, ...(matter ? { matter } : {}) });
    },
  };
}

import { OciError } from "../registry/oci-error.ts";
import { type Abandoned, Audience, type Demand, thisServer } from "./audience.ts";

export interface SlotLimits {
  readonly atOnce: number;
  readonly waiting: number;
  /** What one address of a client may have of either; this server itself may have all. */
  readonly perAddress: { readonly atOnce: number; readonly waiting: number };
}

interface Waiting {
  readonly demand: Demand;
  /** Whose waiting place it is: who asked first. */
  readonly address: string | undefined;
  begin(leave: () => void): void;
}

/** What does not fit is refused, and may be tried again. */
export class NoSlot extends OciError {
  readonly problem = "is asked for too much at once";

  constructor() {
    super("TOOMANYREQUESTS", "too much is being fetched from upstream; try again later", {
      headers: { "retry-after": "5" },
    });
  }
}

/** So much at once; more waits in turn, as long as somebody waits for it, and what does not fit there is refused. */
export class Slots {
  readonly #limits: SlotLimits;
  /** In their order. */
  readonly #waiting = new Set<Waiting>();
  /** Taken slots by address. */
  readonly #held = new Map<string | undefined, number>();
  #taken = 0;

  constructor(limits: SlotLimits) {
    this.#limits = limits;
  }

  /** @returns what gives the slot back, once @throws NoSlot; Abandoned when nobody waits any more */
  async take(demand: Demand = Audience.of(thisServer)): Promise<() => void> {
    const { waiting, perAddress } = this.#limits;
    const { signal } = demand;
    if (signal.aborted) throw signal.reason as Abandoned;
    const leave = this.#hold(demand);
    if (leave) return leave;
    const [address] = demand.addresses;
    const own = [...this.#waiting].filter((one) => one.address === address).length;
    if (this.#waiting.size >= waiting || (address !== undefined && own >= perAddress.waiting))
      throw new NoSlot();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const place: Waiting = { demand, address, begin: resolve };
    this.#waiting.add(place);
    const abandon = (): void => {
      this.#waiting.delete(place);
      reject(signal.reason as Abandoned);
    };
    signal.addEventListener("abort", abandon, { once: true });
    const unwatch = demand.whenJoined(() => this.#admit());
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abandon);
      unwatch();
    }
  }

  /** @returns undefined when there is no slot for any of those who wait */
  #hold({ addresses }: Demand): (() => void) | undefined {
    if (this.#taken >= this.#limits.atOnce) return undefined;
    const { atOnce } = this.#limits.perAddress;
    const isFree = (one: string | undefined) => one === undefined || (this.#held.get(one) ?? 0) < atOnce;
    const fitting = [...addresses].find(isFree);
    if (fitting === undefined && !addresses.has(undefined)) return undefined;
    this.#taken += 1;
    this.#held.set(fitting, (this.#held.get(fitting) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#taken -= 1;
      const left = (this.#held.get(fitting) ?? 1) - 1;
      if (left > 0) this.#held.set(fitting, left);
      else this.#held.delete(fitting);
      this.#admit();
    };
  }

  /** Whoever fits, first come first served. */
  #admit(): void {
    for (const place of this.#waiting) {
      if (this.#taken >= this.#limits.atOnce) return;
      const leave = this.#hold(place.demand);
      if (!leave) continue;
      this.#waiting.delete(place);
      place.begin(leave);
    }
  }
}

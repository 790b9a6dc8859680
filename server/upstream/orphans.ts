export interface OrphanLimits {
  readonly inAll: number;
  /** Of the client that began them; what this server itself began has a listener till its end. */
  readonly perAddress: number;
}

/** Who was switched off in the middle comes again; who begins downloads and goes away shall not fill the cache. */
export const orphanLimits: OrphanLimits = { inAll: 8, perAddress: 2 };

/** Downloads that go on though nobody listens any more. */
export class Orphans {
  readonly #limits: OrphanLimits;
  /** Addresses of who began them. */
  readonly #addresses: (string | undefined)[] = [];

  constructor(limits: OrphanLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#addresses.length;
  }

  /** @returns what is called when it has ended or has a listener again; undefined: it is to end with its listeners */
  admit(address: string | undefined): (() => void) | undefined {
    const own = this.#addresses.filter((one) => one === address).length;
    if (this.count >= this.#limits.inAll || own >= this.#limits.perAddress) return undefined;
    this.#addresses.push(address);
    let isCounted = true;
    return () => {
      if (isCounted) this.#addresses.splice(this.#addresses.indexOf(address), 1);
      isCounted = false;
    };
  }
}

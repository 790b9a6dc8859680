import { OciError } from "../registry/oci-error.ts";

/** Somebody who waits for something of an upstream. */
export interface Asker {
  /** Of the client; undefined: this server itself. */
  readonly address: string | undefined;
  /** Calls `tell` when it waits no more, at once if that is so already. @returns what ends that */
  whenGone(tell: () => void): () => void;
}

/** This server asks of its own accord, and does not go away. */
export const thisServer: Asker = { address: undefined, whenGone: () => () => undefined };

/** Nobody waits for this any more, so that nobody is told. */
export class Abandoned extends OciError {
  constructor() {
    super("TOOMANYREQUESTS", "whoever asked for this has gone");
  }
}

/** For whom a piece of work is done. */
export interface Demand {
  /** Of those who wait now; where nobody does, of who was the first. */
  readonly addresses: ReadonlySet<string | undefined>;
  /** Aborted when nobody waits; its reason is an Abandoned. */
  readonly signal: AbortSignal;
  /** Calls `tell` when somebody else waits too. @returns what ends that */
  whenJoined(tell: () => void): () => void;
}

/** Those who wait for one piece of work. */
export class Audience implements Demand {
  readonly #seats = new Set<Asker>();
  readonly #watchers = new Set<() => void>();
  readonly #controller = new AbortController();
  readonly #whenEmpty: (audience: Audience) => void;
  #first: Asker | undefined;

  /** @param whenEmpty the last one has gone; unless told otherwise the work is given up */
  constructor(whenEmpty: (audience: Audience) => void = (audience) => audience.giveUp()) {
    this.#whenEmpty = whenEmpty;
  }

  /** One who waits for nobody else's work. */
  static of(asker: Asker): Audience {
    const audience = new Audience();
    audience.join(asker);
    return audience;
  }

  get addresses(): ReadonlySet<string | undefined> {
    const seats = this.#seats.size > 0 || !this.#first ? [...this.#seats] : [this.#first];
    return new Set(seats.map(({ address }) => address));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  whenJoined(tell: () => void): () => void {
    this.#watchers.add(tell);
    return () => void this.#watchers.delete(tell);
  }

  /** @param whenGone the asker has gone by itself @returns what it calls that has no need to wait any more */
  join(asker: Asker, whenGone?: () => void): () => void {
    // The same asker may wait twice.
    const seat = { ...asker };
    this.#first ??= seat;
    this.#seats.add(seat);
    let unwatch = () => {};
    const leave = (): void => {
      unwatch();
      if (this.#seats.delete(seat) && this.#seats.size === 0) this.#whenEmpty(this);
    };
    unwatch = asker.whenGone(() => {
      leave();
      whenGone?.();
    });
    if (this.#seats.has(seat)) for (const tell of this.#watchers) tell();
    return leave;
  }

  giveUp(): void {
    this.#controller.abort(new Abandoned());
  }
}

/** One piece of work for all who ask for the same while it goes on; it is given up when all of them have gone. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, { readonly audience: Audience; readonly done: Promise<T> }>();

  /** @throws Abandoned when the asker has gone */
  run(key: string, asker: Asker, work: (demand: Demand) => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const known = this.#flights.get(key);
    const audience = known?.audience ?? this.#open(key);
    const leave = audience.join(asker, () => reject(new Abandoned()));
    (known ?? this.#begin(key, audience, work)).done.then(resolve, reject).finally(leave);
    return promise;
  }

  #open(key: string): Audience {
    return new Audience((audience) => {
      this.#forget(key, audience);
      audience.giveUp();
    });
  }

  #begin(key: string, audience: Audience, work: (demand: Demand) => Promise<T>) {
    const done = work(audience).finally(() => this.#forget(key, audience));
    const flight = { audience, done };
    if (!audience.signal.aborted) this.#flights.set(key, flight);
    return flight;
  }

  #forget(key: string, audience: Audience): void {
    if (this.#flights.get(key)?.audience === audience) this.#flights.delete(key);
  }
}

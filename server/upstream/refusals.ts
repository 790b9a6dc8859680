import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { OciError } from "../registry/oci-error.ts";

/** What the upstream has not, or can't give, is not asked for again before this. */
const lifeMs: DurationMs = 10_000;
const rememberedRefusals = 10_000;

/** Negative answers, for a moment. */
export class Refusals {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #known = new LRUCache<string, { readonly error: OciError; readonly until: DurationMs }>({
    max: rememberedRefusals,
  });

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
  }

  note(key: string, error: unknown): void {
    if (error instanceof OciError && error.code !== "TOOMANYREQUESTS")
      this.#known.set(key, { error, until: this.#clock.monotonicMs() + lifeMs });
  }

  /** @throws OciError that is remembered, or what `work` throws */
  async watch<T>(key: string, work: () => Promise<T>): Promise<T> {
    const known = this.#known.get(key);
    if (known && known.until > this.#clock.monotonicMs()) throw known.error;
    try {
      return await work();
    } catch (error) {
      this.note(key, error);
      throw error;
    }
  }
}

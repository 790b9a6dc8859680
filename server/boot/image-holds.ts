import type { Clock } from "../domain/capabilities.ts";
import { type Claim, isLoading } from "../domain/claim.ts";
import { type BootedImage, filesOf } from "../domain/image.ts";

/** A machine that may be loading a version of an image. */
export interface ImageHold {
  readonly machineId: string;
  /** Undefined while its script is being made. */
  readonly bootId: string | undefined;
  readonly image: BootedImage;
}

/**
 * What machines are loading: from the moment an image is chosen for a script, through the claim that goes with the script, to the
 * callback that spends it or to its end. Claims are stored, so that a server that starts anew knows it too.
 */
export function createImageHolds(clock: Clock, claims: { all(): Iterable<Claim> }) {
  const planned = new Set<ImageHold>();

  function all(): ImageHold[] {
    const now = clock.now();
    const holds = [...planned];
    for (const claim of claims.all()) {
      const { machineId, bootId, image } = claim;
      if (image && isLoading(claim, now)) holds.push({ machineId, bootId, image });
    }
    return holds;
  }

  return {
    all,
    /** SHA-256 of all that is being loaded. */
    digests: (): Set<string> =>
      new Set(all().flatMap(({ image }) => filesOf(image).map(({ sha256 }) => sha256))),

    /** Holds the image until the script is made. To be called in the same turn in which it was chosen. @returns ends it */
    hold(machineId: string, image: BootedImage | undefined): () => void {
      if (!image) return () => undefined;
      const entry: ImageHold = { machineId, bootId: undefined, image };
      planned.add(entry);
      return () => void planned.delete(entry);
    },
  };
}
export type ImageHolds = ReturnType<typeof createImageHolds>;

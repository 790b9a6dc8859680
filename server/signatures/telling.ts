import type { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { ImageSignature } from "../domain/signature.ts";

/** Events of signatures that come, whichever way. */
export function tellOfSignatures(record: RecordEvent) {
  return {
    added({ repository, digest, reference, fingerprint, position, addedBy }: ImageSignature): void {
      record({
        type: "signature.added",
        actor: addedBy,
        message: `${repository}@${digest} was signed as ${reference}`,
        data: { repository, digest, reference, key: fingerprint, position },
      });
    },
    refused(image: Pick<ImageSignature, "repository" | "digest">, error: RollcallError, actor: string): void {
      const { repository, digest } = image;
      record({
        type: "signature.refused",
        level: "warning",
        actor,
        message: `a signature of ${repository}@${digest} was refused: ${error.message}`,
        data: { repository, digest, code: error.code },
      });
    },
  };
}

import { createHash } from "node:crypto";
import type { Digest } from "../registry/digest.ts";
import type { DownloadPart } from "./download.ts";
import type { ReadableFile } from "./growing-file.ts";

/**
 * Content on its way to one client without being kept, read from its first octet on. Its last octet is given away when the digest is
 * right.
 */
export function passThrough({ body, release }: DownloadPart, digest: Digest): ReadableFile {
  const chunks = body[Symbol.asyncIterator]();
  const hash = createHash(digest.algorithm);
  let pending: Uint8Array = new Uint8Array();
  let hasEnded = false;
  let at = 0;
  return {
    async read(buffer, offset, length, position) {
      const nothing = { bytesRead: 0, buffer };
      if (position !== at) return nothing;
      while (!hasEnded && pending.length < 2) {
        const { done, value } = await chunks.next();
        if (done) {
          if (hash.digest("hex") !== digest.hex) return nothing;
          hasEnded = true;
        } else {
          hash.update(value);
          pending = pending.length === 0 ? value : Buffer.concat([pending, value]);
        }
      }
      const readable = Math.min(length, hasEnded ? pending.length : pending.length - 1);
      buffer.set(pending.subarray(0, readable), offset);
      pending = pending.subarray(readable);
      at += readable;
      return { bytesRead: readable, buffer };
    },
    close: async () => release(),
  };
}

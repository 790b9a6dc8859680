import { writeSync } from "node:fs";

export interface LineWriter {
  /** Writes one line that ends with a line feed, or drops it: never throws. */
  write(line: string): void;
  readonly dropped: number;
}

/**
 * Lines to a file descriptor that may fail: a full disk, a reader that is gone or, where the descriptor is a non-blocking pipe, one
 * that does not read. What can't be written is dropped and counted, and `notice` says so in the first line that can be: a server
 * goes on booting machines without its log.
 * @param write as fs.writeSync: @returns how many octets it took
 */
export function createLineWriter(
  fd: number,
  notice: (dropped: number) => string,
  write: (fd: number, octets: Uint8Array) => number = writeSync,
): LineWriter {
  let dropped = 0;
  /** A line was cut off in its middle: the next one begins with a line feed. */
  let isCut = false;

  function writeAll(text: string): boolean {
    let rest: Uint8Array = Buffer.from(isCut ? `\n${text}` : text);
    try {
      while (rest.length > 0) {
        rest = rest.subarray(write(fd, rest));
        isCut = rest.length > 0;
      }
      return true;
    } catch {
      return false;
    }
  }

  return {
    write(line) {
      if (dropped > 0 && writeAll(notice(dropped))) dropped = 0;
      // Where not even the notice can be written, this line can't be either.
      if (dropped > 0 || !writeAll(line)) dropped++;
    },
    get dropped() {
      return dropped;
    },
  };
}

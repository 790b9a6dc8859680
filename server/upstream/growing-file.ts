import type { FileHandle } from "node:fs/promises";

/** As much of a file as those who send it need. */
export interface ReadableFile {
  /** Waits where nothing is there yet. @returns 0 octets when there will be nothing */
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number; readonly buffer: Buffer }>;
  close(): Promise<void>;
}

/**
 * A file that is read while it is written. Its last octet is given to nobody before all of it was checked: who was sent something wrong
 * sees that it is not whole.
 */
export class GrowingFile {
  readonly #file: FileHandle;
  #written = 0;
  #state: "growing" | "whole" | "failed" = "growing";
  #waiting: (() => void)[] = [];
  /** Readers, and the writer. */
  #users = 1;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Octets that are there. */
  get writtenBytes(): number {
    return this.#written;
  }

  async append(chunks: readonly Uint8Array[], length: number): Promise<void> {
    const { bytesWritten } = await this.#file.writev(chunks, this.#written);
    // The kernel may take less than it was given.
    for (let done = bytesWritten, rest = Buffer.alloc(0); done < length;) {
      rest = rest.length === 0 ? Buffer.concat(chunks) : rest;
      done += (await this.#file.write(rest, done, length - done, this.#written + done)).bytesWritten;
    }
    this.#written += length;
    this.#wake();
  }

  sync = (): Promise<void> => this.#file.datasync();

  /** All of it is there and was checked, or nothing more will come. */
  end(state: "whole" | "failed"): Promise<void> {
    this.#state = state;
    this.#wake();
    return this.#leave();
  }

  /** @returns undefined when nobody has it open any more, or nothing more comes: then it is looked for where it was to go */
  open(): ReadableFile | undefined {
    if (this.#users === 0 || this.#state === "failed") return undefined;
    this.#users += 1;
    let isOpen = true;
    return {
      read: (buffer, offset, length, position) => this.#read(buffer, offset, length, position),
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        await this.#leave();
      },
    };
  }

  async #read(buffer: Buffer, offset: number, length: number, position: number) {
    for (;;) {
      if (this.#state === "failed") return { bytesRead: 0, buffer };
      const isWhole = this.#state === "whole";
      const readable = isWhole ? this.#written : this.#written - 1;
      if (isWhole || position < readable)
        return this.#file.read(buffer, offset, Math.min(length, Math.max(0, readable - position)), position);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async #leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) await this.#file.close();
  }
}

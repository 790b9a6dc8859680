import { readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createContentStore } from "../../server/content/content-store.ts";
import { RollcallError } from "../../server/domain/errors.ts";

/**
 * Runs uploads against a disk of 96 MiB, mounted by the caller at the directory given as argument, and prints what became of
 * them as JSON. A program of its own, since a mount namespace belongs to a process.
 */
const mebibyte = 1024 * 1024;
const directory = process.argv[2] ?? "";
const store = createContentStore(directory);
const chunk = new Uint8Array(mebibyte);

interface Outcome {
  readonly result: string;
  readonly chunksRead: number;
  readonly freeMebibytes: number;
  readonly leftovers: readonly string[];
}

async function upload(source: AsyncGenerator<Uint8Array>, sizeBytes: number | undefined): Promise<Outcome> {
  let chunksRead = 0;
  async function* counted() {
    for await (const part of source) {
      chunksRead++;
      yield part;
    }
  }
  let result: string;
  try {
    result = `stored ${(await store.put(counted(), sizeBytes === undefined ? {} : { sizeBytes })).sizeBytes}`;
  } catch (error) {
    result = error instanceof RollcallError ? `${error.code}: ${error.message}` : String(error);
  }
  const { bavail, bsize } = statfsSync(directory);
  const leftovers = readdirSync(join(directory, "uploads"));
  return { result, chunksRead, freeMebibytes: Math.floor((bavail * bsize) / mebibyte), leftovers };
}

async function* chunks(count: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield chunk;
}

/** Another program takes the rest of the disk while the upload goes on. */
async function* whileDiskFills(): AsyncGenerator<Uint8Array> {
  yield chunk;
  const { bavail, bsize } = statfsSync(directory);
  writeFileSync(join(directory, "filler"), new Uint8Array(bavail * bsize));
  yield* chunks(2);
}

const outcomes: Record<string, Outcome> = {
  announced: await upload(chunks(40), 40 * mebibyte),
  unannounced: await upload(chunks(1000), undefined),
  understated: await upload(chunks(1000), 1),
  filled: await upload(whileDiskFills(), 3 * mebibyte),
};
rmSync(join(directory, "filler"), { force: true });
outcomes["afterwards"] = await upload(chunks(5), 5 * mebibyte);
process.stdout.write(JSON.stringify(outcomes));

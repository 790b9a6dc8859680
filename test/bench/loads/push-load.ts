/**
 * Clients that push blobs as containers/image does: POST, PATCH with the content, PUT. One argument, JSON `PushLoad`; prints JSON
 * `PushLoadResult`. The time counts from the first request to the last answer.
 */
import { createHash, randomBytes } from "node:crypto";
import { Agent, request } from "undici";

export interface PushLoad {
  readonly origin: string;
  readonly repository: string;
  /** Value of the header; undefined: nobody in particular. */
  readonly authorization?: string | undefined;
  readonly clients: number;
  readonly sizeBytes: number;
  /** Each client pushes one blob; undefined: as many as it can in `seconds`. */
  readonly seconds?: number | undefined;
}

export interface PushLoadResult {
  readonly blobs: number;
  readonly seconds: number;
  /** Of each client's first blob. */
  readonly digests: readonly string[];
}

const load = JSON.parse(process.argv[2] ?? "{}") as PushLoad;
const dispatcher = new Agent({ connections: load.clients, headersTimeout: 0, bodyTimeout: 0 });
const headers = load.authorization === undefined ? {} : { authorization: load.authorization };
const sliceBytes = 256 * 1024;
/** No two blobs are the same: each begins with octets of its own. */
const headBytes = 32;
const tail = randomBytes(load.sizeBytes - headBytes);

async function send(
  method: "POST" | "PATCH" | "PUT",
  url: string,
  status: number,
  more: Partial<Parameters<typeof request>[1]> = {},
): Promise<string> {
  const answer = await request(url, {
    method,
    dispatcher,
    ...more,
    headers: { ...headers, ...(more.headers as object) },
  });
  const text = await answer.body.text();
  if (answer.statusCode !== status) throw new Error(`${method} ${url}: ${answer.statusCode} ${text}`);
  return new URL(String(answer.headers["location"] ?? ""), load.origin).href;
}

interface Sample {
  readonly head: Buffer;
  readonly digest: string;
}

function makeSample(): Sample {
  const head = randomBytes(headBytes);
  return { head, digest: `sha256:${createHash("sha256").update(head).update(tail).digest("hex")}` };
}

function* contentOf({ head }: Sample): Iterable<Buffer> {
  if (tail.length < sliceBytes) return yield Buffer.concat([head, tail]);
  yield head;
  for (let at = 0; at < tail.length; at += sliceBytes) yield tail.subarray(at, at + sliceBytes);
}

async function push(sample: Sample): Promise<void> {
  const begun = await send("POST", `${load.origin}/v2/${load.repository}/blobs/uploads/`, 202);
  const sent = await send("PATCH", begun, 202, {
    body: contentOf(sample) as unknown as Buffer,
    headers: { "content-type": "application/octet-stream", "content-length": String(load.sizeBytes) },
  });
  const end = new URL(sent);
  end.searchParams.set("digest", sample.digest);
  await send("PUT", end.href, 201, { headers: { "content-length": "0" } });
}

const first = Array.from({ length: load.clients }, makeSample);
const beganMs = performance.now();
const untilMs = beganMs + (load.seconds ?? 0) * 1000;
let blobs = 0;
await Promise.all(
  first.map(async (sample) => {
    let next = sample;
    do {
      await push(next);
      blobs++;
      next = load.seconds === undefined ? next : makeSample();
    } while (performance.now() < untilMs);
  }),
);
const result: PushLoadResult = {
  blobs,
  seconds: (performance.now() - beganMs) / 1000,
  digests: first.map(({ digest }) => digest),
};
process.stdout.write(JSON.stringify(result));
await dispatcher.close();

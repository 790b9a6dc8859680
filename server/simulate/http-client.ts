import { connect, type Socket } from "node:net";
import type { DurationMs } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: string;
  /** Octets from and to, both included. */
  readonly range?: readonly [number, number];
  /** A form (application/x-www-form-urlencoded). */
  readonly form?: string;
  /** False: the body is counted and thrown away. */
  readonly isKept: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly bodyBytes: number;
  readonly body: string;
}

/** An answer that firmware chokes on, or none. */
export class HttpFailed extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "HttpFailed";
  }
}

/** Nothing comes for this long, real time. */
const silenceMs: DurationMs = 30_000;
const maximumHeaderOctets = 16 * 1024;
const endOfHeader = Buffer.from("\r\n\r\n");

interface Waiting {
  readonly request: HttpRequest;
  resolve(answer: HttpAnswer): void;
  reject(error: HttpFailed): void;
}

/**
 * HTTP/1.1 as firmware speaks it: one connection, one request at a time, Content-Length or nothing. What firmware does not
 * understand is a failure here: chunks, a redirect, a header without a value (firmware-quirk Q11).
 *
 * @param address the machine's own, which its connections come from
 */
export function createHttpClient(address: Ipv4) {
  let socket: Socket | undefined;
  let place = "";
  let waiting: Waiting | undefined;
  let header: Buffer = Buffer.alloc(0);
  let answer: { status: number; headers: Map<string, string>; expected: number } | undefined;
  let kept: Buffer[] = [];
  let bodyBytes = 0;

  function fail(reason: string): void {
    const failed = waiting;
    waiting = undefined;
    drop();
    failed?.reject(new HttpFailed(reason));
  }

  function drop(): void {
    socket?.destroy();
    socket = undefined;
    header = Buffer.alloc(0);
    answer = undefined;
  }

  function open(host: string, port: number): Socket {
    if (socket && place === `${host}:${port}`) return socket;
    drop();
    place = `${host}:${port}`;
    const opened = connect({ host, port, localAddress: address, noDelay: true });
    socket = opened;
    opened.setTimeout(silenceMs, () => opened === socket && fail(`no answer for ${silenceMs / 1000} s`));
    opened.on("data", (chunk) => opened === socket && take(chunk));
    opened.on(
      "error",
      (error: NodeJS.ErrnoException) => opened === socket && fail(error.code ?? error.message),
    );
    opened.on("close", () => {
      if (opened !== socket) return;
      if (waiting) fail("the connection was closed in the middle of an answer");
      else drop();
    });
    return opened;
  }

  function take(chunk: Buffer): void {
    if (!waiting) return drop();
    if (!answer) {
      header = header.length === 0 ? chunk : Buffer.concat([header, chunk]);
      const end = header.indexOf(endOfHeader);
      if (end < 0) {
        if (header.length > maximumHeaderOctets) fail("a header without end");
        return;
      }
      const rest = header.subarray(end + endOfHeader.length);
      const problem = readHeader(header.toString("latin1", 0, end), waiting.request);
      if (problem !== undefined) return fail(problem);
      chunk = rest;
    }
    bodyBytes += chunk.length;
    if (waiting.request.isKept && chunk.length > 0) kept.push(chunk);
    finishWhenWhole();
  }

  function readHeader(text: string, { method }: HttpRequest): string | undefined {
    const [first = "", ...lines] = text.split("\r\n");
    const status = Number(/^HTTP\/1\.[01] ([0-9]{3})/.exec(first)?.[1]);
    if (!status) return "no HTTP answer";
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      if (value === "") return `the header ${name} has no value, which locks up UEFI`;
      headers.set(name, value);
    }
    if (headers.has("transfer-encoding")) return "the answer comes in chunks, which UEFI does not read";
    const length = headers.get("content-length");
    const hasBody = method !== "HEAD" && status !== 204 && status !== 304;
    if (length === undefined && hasBody) return "the answer has no Content-Length";
    answer = { status, headers, expected: hasBody ? Number(length) : 0 };
    return undefined;
  }

  function finishWhenWhole(): void {
    if (!answer || !waiting || bodyBytes < answer.expected) return;
    const { resolve } = waiting;
    const { status, headers } = answer;
    const whole = { status, headers, bodyBytes, body: Buffer.concat(kept).toString() };
    waiting = undefined;
    answer = undefined;
    header = Buffer.alloc(0);
    if (headers.get("connection")?.toLowerCase() === "close") drop();
    resolve(whole);
  }

  return {
    /** @throws HttpFailed */
    send(request: HttpRequest): Promise<HttpAnswer> {
      const url = /^http:\/\/([0-9.]+)(?::([0-9]+))?(\/[^ ]*)?$/.exec(request.url);
      if (!url) return Promise.reject(new HttpFailed(`${request.url} is no URL with an address as its host`));
      const [, host = "", port = "80", path = "/"] = url;
      return new Promise((resolve, reject) => {
        waiting = { request, resolve, reject };
        kept = [];
        bodyBytes = 0;
        const { method, form, range } = request;
        const words = [
          `${method} ${path} HTTP/1.1`,
          `Host: ${host}:${port}`,
          "User-Agent: iPXE/1.21.1",
          ...(range ? [`Range: bytes=${range[0]}-${range[1]}`] : []),
          ...(form === undefined
            ? []
            : [
                "Content-Type: application/x-www-form-urlencoded",
                `Content-Length: ${Buffer.byteLength(form)}`,
              ]),
        ];
        open(host, Number(port)).write(`${words.join("\r\n")}\r\n\r\n${form ?? ""}`);
      });
    },
    close: drop,
  };
}
export type HttpClient = ReturnType<typeof createHttpClient>;

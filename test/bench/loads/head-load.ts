/**
 * HEAD requests for one path over connections of their own, as a process of its own: wrk waits for the body that a HEAD's Content-Length
 * announces and that never comes. One argument, JSON `HeadLoad`; prints JSON `HeadLoadResult`.
 */
import { connect } from "node:net";
import { percentilesOf } from "../../../server/simulate/report.ts";

export interface HeadLoad {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly accept: string;
  readonly connections: number;
  readonly seconds: number;
}

export interface HeadLoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const load = JSON.parse(process.argv[2] ?? "{}") as HeadLoad;
const question = Buffer.from(
  `HEAD ${load.path} HTTP/1.1\r\nHost: ${load.host}:${load.port}\r\nAccept: ${load.accept}\r\n\r\n`,
);
const took: number[] = [];
const beganMs = performance.now();
const endMs = beganMs + load.seconds * 1000;

function ask(): Promise<void> {
  return new Promise((resolve, reject) => {
    let askedMs = performance.now();
    let text = "";
    const socket = connect({ host: load.host, port: load.port, noDelay: true }, () => socket.write(question));
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      if (!text.endsWith("\r\n\r\n")) return;
      if (!text.startsWith("HTTP/1.1 200")) return void socket.destroy(new Error(text));
      text = "";
      const now = performance.now();
      took.push(now - askedMs);
      askedMs = now;
      if (now < endMs) socket.write(question);
      else socket.destroy();
    });
    socket.on("error", reject).on("close", () => resolve());
  });
}

await Promise.all(Array.from({ length: load.connections }, ask));
const { p50Ms, p99Ms } = percentilesOf(took);
const result: HeadLoadResult = {
  perSecond: took.length / ((performance.now() - beganMs) / 1000),
  p50Ms,
  p99Ms,
};
process.stdout.write(JSON.stringify(result));

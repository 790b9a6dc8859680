/**
 * The thread that plays TFTP transfers (docs/adr/0016), for `Worker`; and the function that starts it.
 */
import { isMainThread, parentPort, receiveMessageOnPort, Worker, workerData } from "node:worker_threads";
import type { Clock, Log, Udp } from "./domain/capabilities.ts";
import { loadCLibrary } from "./platform/c-library.ts";
import { openSocketLoop } from "./platform/socket-loop.ts";
import { createPlayer, ownPorts, type TransferEngine } from "./tftp/player.ts";
import { createThreadEngine } from "./tftp/thread-engine.ts";
import { createThreadLoop } from "./tftp/thread-loop.ts";
import type { FromThread, ToThread } from "./tftp/thread-messages.ts";

/** Milliseconds on the clock of the machine at which `performance.now()` of this thread was 0. */
function clockOriginMs(): number {
  return Number(process.hrtime.bigint()) / 1e6 - performance.now();
}

export interface TftpThread {
  readonly engine: TransferEngine;
  stop(): Promise<void>;
}

/** @returns undefined where koffi is not installed: transfers are then played by the main thread */
export async function startTftpThread(deps: {
  udp: Udp;
  clock: Clock;
  log: Log;
}): Promise<TftpThread | undefined> {
  const c = await loadCLibrary();
  if (c === undefined) return undefined;
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { tftpThread: true, originMs: clockOriginMs() },
  });
  const wakeDescriptor = await new Promise<number>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  // It must not keep the process from ending, nor hold up what ends it.
  worker.unref();
  const one = new Uint8Array(BigUint64Array.of(1n).buffer);
  let isStopping = false;
  const engine = createThreadEngine(
    {
      send(message, transfer) {
        worker.postMessage(message, transfer ?? []);
        c.write(wakeDescriptor, one, one.length);
      },
      onMessage: (handler) => worker.on("message", handler),
      onEnd(handler) {
        worker.on("error", (error) =>
          deps.log.error({ err: error }, "the thread of the tftp transfers failed"),
        );
        worker.on("exit", () => isStopping || handler());
      },
    },
    deps.log,
    createPlayer(deps.clock, deps.log, ownPorts(deps.udp)),
  );
  return {
    engine,
    async stop() {
      isStopping = true;
      await worker.terminate();
    },
  };
}

async function runThread(originMs: number): Promise<void> {
  const port = parentPort;
  const sockets = await openSocketLoop();
  if (port === null || sockets === undefined) throw new Error("koffi is not there");
  const offsetMs = clockOriginMs() - originMs;
  const loop = createThreadLoop({
    sockets,
    monotonicMs: () => performance.now() + offsetMs,
    tell: (message: FromThread) => port.postMessage(message),
    take: () => receiveMessageOnPort(port)?.message as ToThread | undefined,
  });
  port.on("message", (message: ToThread) => loop.run(message));
  port.postMessage(sockets.wakeDescriptor);
}

const data = workerData as { tftpThread?: boolean; originMs: number } | null;
if (!isMainThread && data?.tftpThread === true) await runThread(data.originMs);

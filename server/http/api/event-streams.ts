import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../domain/capabilities.ts";
import { ServerBusy } from "../../domain/error-catalogue.ts";

/** A watcher that does not read is cut off rather than kept in memory. */
const maximumBacklogBytes = 1024 * 1024;
/** Keeps proxies from closing a quiet stream; as often the watcher's token is looked at again. */
const heartbeatMs = 20_000;
/** Live streams in all: some dozen dashboards and commands. Each message is written once to each of them. */
const maximumStreams = 64;
/** Of one token, in all its browsers: a script that opens one after the other shuts nobody else out. */
const streamsPerToken = 32;

/** One answer that goes on (HTML, "Server-sent events", s.9.2). */
export interface EventStream {
  /** Writes as it is; for what its reader was promised from the beginning, whatever it amounts to. */
  write(text: string | Uint8Array): void;
  /** Whether its token is still good; a stream of which that is not true ends here, and is told not even that. */
  isAllowed(): boolean;
  /**
   * Whether its reader reads; a stream that nobody reads ends here.
   * @param promisedBytes what it was written at its beginning, beside which so much may lie unread
   */
  keepsUp(promisedBytes?: number): boolean;
  /** Resolves when its reader has taken what was written, or is gone. @returns whether that was worth waiting for */
  caughtUp(): Promise<boolean>;
  isOver(): boolean;
  onEnd(listener: () => void): void;
}

/** Whether an event stream is asked for; a HEAD would hold one that nothing is ever written to. */
export function isEventStream(request: FastifyRequest): boolean {
  return request.method === "GET" && (request.headers.accept?.includes("text/event-stream") ?? false);
}

/** The live answers of the API: how many there may be, their sign of life, and when they end. */
export function createEventStreams(app: FastifyInstance, clock: Pick<Clock, "after">) {
  /** With whose they are. */
  const streams = new Map<FastifyReply["raw"], string>();
  app.addHook("preClose", (done) => {
    for (const stream of streams.keys()) stream.end();
    done();
  });

  /** What waits for a reader who does not read would hold the end up. */
  const end = (stream: FastifyReply["raw"]) =>
    void (stream.writableNeedDrain ? stream.destroy() : stream.end());

  /** Writes a sign of life from time to time; ends the stream when its token is gone, or when nothing was read since the last one. */
  function beat(stream: FastifyReply["raw"], isStillAuthorized: () => boolean): void {
    let wasStuck = false;
    const forgetStuck = () => void (wasStuck = false);
    const onBeat = () => {
      if (wasStuck || stream.writableEnded) return void stream.destroy();
      if (!isStillAuthorized()) return end(stream);
      wasStuck = stream.writableNeedDrain;
      if (!wasStuck) stream.write(": still here\n\n");
      cancel = clock.after(heartbeatMs, onBeat);
    };
    let cancel = clock.after(heartbeatMs, onBeat);
    stream.on("drain", forgetStuck).on("close", () => cancel());
  }

  return {
    /** Takes the answer over. @throws ServerBusy */
    open(request: FastifyRequest, reply: FastifyReply): EventStream {
      if (streams.size >= maximumStreams)
        throw ServerBusy({ what: "live event streams", limit: maximumStreams });
      const { actor } = request;
      if ([...streams.values()].filter((one) => one === actor).length >= streamsPerToken)
        throw ServerBusy({ what: "live event streams of one token", limit: streamsPerToken });
      const isStillAuthorized = () => request.isStillAuthorized();
      reply.hijack();
      const stream = reply.raw;
      streams.set(stream, actor);
      stream.on("close", () => streams.delete(stream));
      stream.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        connection: "close",
      });
      stream.flushHeaders();
      beat(stream, isStillAuthorized);
      const isOver = () => stream.destroyed || stream.writableEnded;
      return {
        write: (text) => void stream.write(text),
        isAllowed() {
          if (isOver()) return false;
          const isAllowed = isStillAuthorized();
          if (!isAllowed) end(stream);
          return isAllowed;
        },
        keepsUp(promisedBytes = 0) {
          if (stream.writableLength > maximumBacklogBytes + promisedBytes) stream.destroy();
          return !isOver();
        },
        async caughtUp() {
          if (isOver() || !stream.writableNeedDrain) return false;
          await new Promise<void>((resolve) => stream.once("drain", resolve).once("close", resolve));
          return true;
        },
        isOver,
        onEnd: (listener) => void stream.on("close", listener),
      };
    },
  };
}
export type EventStreams = ReturnType<typeof createEventStreams>;

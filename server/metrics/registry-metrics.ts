import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Counter, Gauge, Registry } from "prom-client";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { NewEvent, RecordEvent } from "../domain/event.ts";

/** What the registry has, as it is now. */
export interface RegistryStock {
  readonly blobs: number;
  readonly bytes: number;
  readonly manifests: number;
  readonly tags: number;
  /** Blobs whose content is lost or damaged, or is being removed. */
  readonly absentBlobs: number;
}

export interface RegistryMetricsDeps {
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly stock: () => RegistryStock;
  /** Under way. */
  readonly uploads: () => { readonly count: number; readonly bytes: number };
  /** Octets that went over a socket past Node, which does not count them. */
  readonly sentOver?: ((socket: Socket) => number) | undefined;
}

/** Rows are counted once in this time, however often somebody asks. */
const stockLifeMs: DurationMs = 10_000;

/** Counters since the server's start. Names and units are those of Prometheus' conventions; docs/registry.md lists them. */
export function createRegistryMetrics({ clock, stock, uploads, sentOver = () => 0 }: RegistryMetricsDeps) {
  const register = new Registry();
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter<Label>({ name: `rollcall_registry_${name}_total`, help, labelNames, registers: [register] });
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `rollcall_registry_${name}`,
      help,
      registers: [register],
      collect() {
        this.set(value());
      },
    });

  const requests = counter("requests", "Requests to the registry that were answered.", ["route", "status"]);
  const received = counter("received_bytes", "Octets that came to the registry's ports.");
  const sent = counter("sent_bytes", "Octets that the registry's ports sent.");
  const cache = counter(
    "cache_requests",
    "Requests for images of upstreams: hit, if nothing had to be fetched.",
    ["upstream", "result"],
  );
  const signatures = counter(
    "signatures",
    "Signatures that came, by what became of them; code says why not.",
    ["result", "code"],
  );
  const unsigned = counter("unsigned_pulls", "Requests for images that should be signed and are not.", [
    "mode",
  ]);
  const runs = counter("collections", "Runs of the garbage collector.");
  const collectedBlobs = counter("collected_blobs", "Blobs that the garbage collector removed.");
  const collectedBytes = counter("collected_bytes", "Octets that the garbage collector freed.");
  const damaged = counter("damaged_blobs", "Blobs that were found lost or damaged.");
  gauge("uploads", "Uploads under way.", () => uploads().count);
  gauge("upload_bytes", "Octets of uploads under way.", () => uploads().bytes);
  let known: { readonly stock: RegistryStock; readonly until: number } | undefined;
  const now = (): RegistryStock => {
    if (!known || clock.monotonicMs() >= known.until)
      known = { stock: stock(), until: clock.monotonicMs() + stockLifeMs };
    return known.stock;
  };
  gauge("blobs", "Blobs and manifests in the store.", () => now().blobs);
  gauge("stored_bytes", "Octets of all blobs and manifests.", () => now().bytes);
  gauge("manifests", "Manifests of all repositories.", () => now().manifests);
  gauge("tags", "Tags of all repositories.", () => now().tags);
  gauge("absent_blobs", "Blobs that are lost or damaged, or on their way out.", () => now().absentBlobs);

  /** Routes times statuses: a few dozen. */
  const byRoute = new Map<string, Counter.Internal>();
  /** Octets of a connection that are counted already. */
  const counted = new WeakMap<Socket, { readonly read: number; readonly written: number }>();

  function countOctets(socket: Socket): void {
    const { read, written } = counted.get(socket) ?? { read: 0, written: 0 };
    const after = { read: socket.bytesRead, written: socket.bytesWritten + sentOver(socket) };
    received.inc(Math.max(0, after.read - read));
    sent.inc(Math.max(0, after.written - written));
    counted.set(socket, after);
  }

  function count({ type, data = {} }: NewEvent): void {
    const text = (key: string) => String((data[key] as string | number | undefined) ?? "");
    if (type === "signature.added") signatures.inc({ result: "added", code: "" });
    if (type === "signature.refused") signatures.inc({ result: "refused", code: text("code") });
    if (type === "signature.removed") signatures.inc({ result: "removed", code: "" });
    if (type === "image.unsigned-pull") unsigned.inc({ mode: text("mode") });
    if (type === "registry.damaged") damaged.inc();
  }

  return {
    /** Counts a request when it is answered. @param route kind of its path */
    observe(request: IncomingMessage, response: ServerResponse, route: string): void {
      const { socket } = request;
      response.once("close", () => {
        const status = String(response.statusCode);
        const key = `${route} ${status}`;
        let one = byRoute.get(key);
        if (!one) byRoute.set(key, (one = requests.labels({ route, status })));
        one.inc();
        countOctets(socket);
      });
    },

    /** @param upstream its prefix here */
    cacheAsked: (upstream: string, isHit: boolean): void =>
      cache.inc({ upstream, result: isHit ? "hit" : "miss" }),

    collected({ blobCount, freedBytes }: { readonly blobCount: number; readonly freedBytes: number }): void {
      runs.inc();
      collectedBlobs.inc(blobCount);
      collectedBytes.inc(freedBytes);
    },

    /** Counts events on their way to where they are kept, where equal ones are told once a minute. */
    counting:
      (record: RecordEvent): RecordEvent =>
      (event) => {
        count(event);
        record(event);
      },

    contentType: register.contentType,
    /** In Prometheus' text format. */
    text: (): Promise<string> => register.metrics(),
  };
}
export type RegistryMetrics = ReturnType<typeof createRegistryMetrics>;

/**
 * DHCP clients as a process of its own, each exchange a new machine's: a closed loop, in which so many are under way at any time and
 * nobody asks again, or an open one, in which so many begin in a second and ask again each second. One argument, JSON `DhcpLoad`; prints JSON `DhcpLoadResult`.
 */
import { createSocket } from "node:dgram";
import { clientMessage, replyType } from "../../../server/simulate/dhcp-messages.ts";
import { operatingSystem, profileOf } from "../../../server/simulate/profiles.ts";
import { percentilesOf } from "../../../server/simulate/report.ts";
import { decodeReply } from "../../../server/simulate/segment.ts";
import { encodeMessage } from "../../../server/dhcp/wire/message.ts";
import { OptionCode } from "../../../server/dhcp/wire/option-codes.ts";
import { ipv4Option } from "../../../server/dhcp/wire/options.ts";
import type { Ipv4 } from "../../../server/net/ipv4.ts";
import type { Mac } from "../../../server/net/mac.ts";

export interface DhcpLoad {
  readonly server: string;
  /** Address of the relay agent. */
  readonly relay: string;
  /** `lease`: all four messages; `offer`: DISCOVER and OFFER of a PXE client. */
  readonly kind: "lease" | "offer";
  readonly inFlight: number;
  /** Open loop: exchanges that begin in a second; undefined for the closed loop. */
  readonly rate?: number;
  readonly seconds: number;
  /** Tells this run's machines from another's. */
  readonly salt: number;
}

export interface DhcpLoadResult {
  readonly perSecond: number;
  readonly started: number;
  /** Exchanges without an answer within a second, as a share of all; in the open loop those that were never answered. */
  readonly lost: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface Exchange {
  readonly mac: Mac;
  readonly beganMs: number;
  isRequested: boolean;
  askedMs: number;
  ask: () => void;
}

const lostAfterMs = 1000;
const load = JSON.parse(process.argv[2] ?? "{}") as DhcpLoad;
const habits = load.kind === "offer" ? profileOf("bios").dhcp : operatingSystem;
const exchanges = new Map<number, Exchange>();
const took: number[] = [];
let started = 0;
let lost = 0;
let isOver = false;
const socket = createSocket({
  type: "udp4",
  recvBufferSize: 4 * 1024 * 1024,
  lookup: (host, _options, done) => done(null, host, 4),
});
const giaddr = load.relay as Ipv4;
const machine = (mac: Mac) =>
  ({ index: 0, mac, uuid: new Uint8Array(16), serial: "", profile: "os", powerOnMs: 0, seed: 0 }) as const;

function send(mac: Mac, fields: Parameters<typeof clientMessage>[2]): void {
  socket.send(
    encodeMessage(clientMessage(machine(mac), habits, { ...fields, giaddr, hops: 1 })),
    67,
    load.server,
  );
}

function begin(): void {
  if (isOver) return;
  const number = started++;
  const hex = number.toString(16).padStart(6, "0");
  const mac = `06:${load.salt
    .toString(16)
    .padStart(4, "0")
    .replace(/(..)(..)/, "$1:$2")}:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}` as Mac;
  const xid = (load.salt * 0x1000000 + number) >>> 0;
  const nowMs = performance.now();
  const ask = () => send(mac, { type: "Discover", xid, secs: 0 });
  exchanges.set(xid, { mac, beganMs: nowMs, isRequested: false, askedMs: nowMs, ask });
  ask();
}

function finish(xid: number, exchange: Exchange): void {
  exchanges.delete(xid);
  if (!isOver || load.rate !== undefined) took.push(performance.now() - exchange.beganMs);
  if (load.rate === undefined) begin();
  else if (isOver && exchanges.size === 0) end();
}

socket.on("message", (datagram) => {
  const reply = decodeReply(datagram);
  const exchange = reply && exchanges.get(reply.xid);
  if (!exchange) return;
  const type = replyType(reply);
  if (type === "OFFER" && load.kind === "offer") finish(reply.xid, exchange);
  else if (type === "OFFER" && !exchange.isRequested) {
    const server = ipv4Option(reply.options, OptionCode.ServerId);
    exchange.isRequested = true;
    const fields = { requested: reply.yiaddr, ...(server ? { server } : {}) };
    exchange.ask = () => send(exchange.mac, { type: "Request", xid: reply.xid, secs: 0, ...fields });
    exchange.askedMs = performance.now();
    exchange.ask();
  } else if (type === "ACK") finish(reply.xid, exchange);
});

await new Promise<void>((resolve) => socket.bind(67, load.relay, resolve));
const beganMs = performance.now();
/** In the open loop nobody is waited for longer than this. */
const limitMs = 30_000;

if (load.rate === undefined) for (let index = 0; index < load.inFlight; index++) begin();
else {
  const { rate } = load;
  const pace = setInterval(() => {
    const elapsedMs = Math.min(performance.now() - beganMs, load.seconds * 1000);
    while (started < (rate * elapsedMs) / 1000) begin();
    if (elapsedMs < load.seconds * 1000) return;
    clearInterval(pace);
    isOver = true;
    setTimeout(end, limitMs);
    if (exchanges.size === 0) end();
  }, 1);
}

const sweep = setInterval(() => {
  const nowMs = performance.now();
  for (const [xid, exchange] of exchanges) {
    if (nowMs - exchange.askedMs < lostAfterMs) {
      if (load.rate === undefined) break;
      continue;
    }
    if (load.rate === undefined) {
      exchanges.delete(xid);
      lost++;
      begin();
    } else {
      exchange.askedMs = nowMs;
      exchange.ask();
    }
  }
}, 50);

function end(): void {
  isOver = true;
  clearInterval(sweep);
  socket.close();
  const seconds = (performance.now() - beganMs) / 1000;
  const { p50Ms, p99Ms } = percentilesOf(took);
  const result: DhcpLoadResult = {
    perSecond: took.length / seconds,
    started,
    lost: (load.rate === undefined ? lost : exchanges.size) / Math.max(1, started),
    p50Ms,
    p99Ms,
  };
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
}
if (load.rate === undefined) setTimeout(end, load.seconds * 1000);

/**
 * A bad cable between two bridges, as a process inside their namespace: it carries Ethernet frames from one to the other
 * and loses, doubles and delays some of them, each way. Frames that are delayed differently arrive in another order.
 * Its one argument is a JSON `LossyBridgeOptions`; it prints "ready", and at the end of its standard input its counts.
 *
 * The kernel's netem does this too, where it is built in; two tap devices do it everywhere.
 */
import { execFileSync } from "node:child_process";
import { openSync, read, writeSync } from "node:fs";
import koffi from "koffi";
import { seededRandom } from "./lossy-udp.ts";

export interface LossyBridgeOptions {
  readonly bridges: readonly [string, string];
  readonly seed: number;
  /** Parts of the frames, 0 to 1. */
  readonly drop: number;
  readonly duplicate: number;
  readonly delay: number;
  /** Longest delay of a delayed frame, and of the second copy of a doubled one, ms. */
  readonly delayMs: number;
}

export interface LossyBridgeCounts {
  passed: number;
  dropped: number;
  duplicated: number;
  delayed: number;
}

// Linux, include/uapi/linux/if_tun.h: a device of Ethernet frames without a header of the kernel's own.
const TunSetIff = 0x400454ca;
const IffTap = 0x0002;
const IffNoPi = 0x1000;
const ifreqOctets = 40;
const ifnameOctets = 16;
const frameOctets = 2048;

const { bridges, seed, drop, duplicate, delay, delayMs } = JSON.parse(
  process.argv[2] ?? "{}",
) as LossyBridgeOptions;
const ioctl = koffi.load(null).func("int ioctl(int fd, unsigned long request, void *argument)") as (
  descriptor: number,
  request: number,
  argument: Uint8Array,
) => number;
const counts: LossyBridgeCounts = { passed: 0, dropped: 0, duplicated: 0, delayed: 0 };
const random = seededRandom(seed);

/** A tap device on a bridge. @returns its descriptor */
function plugInto(bridge: string, name: string): number {
  const descriptor = openSync("/dev/net/tun", "r+");
  const request = Buffer.alloc(ifreqOctets);
  request.write(name);
  request.writeUInt16LE(IffTap | IffNoPi, ifnameOctets);
  if (ioctl(descriptor, TunSetIff, request) < 0) throw new Error(`ioctl(TUNSETIFF) for ${name} failed`);
  execFileSync("ip", ["link", "set", name, "master", bridge, "up"]);
  return descriptor;
}

function carry(frame: Buffer, to: number): void {
  const deliver = () => void writeSync(to, frame);
  const later = () => void setTimeout(deliver, random() * delayMs);
  const chance = random();
  if (chance < drop) counts.dropped++;
  else if (chance < drop + duplicate) {
    counts.duplicated++;
    deliver();
    later();
  } else if (chance < drop + duplicate + delay) {
    counts.delayed++;
    later();
  } else {
    counts.passed++;
    deliver();
  }
}

function listen(from: number, to: number): void {
  const frame = Buffer.alloc(frameOctets);
  read(from, frame, 0, frameOctets, null, (error, octets) => {
    if (error) throw error;
    carry(Buffer.from(frame.subarray(0, octets)), to);
    listen(from, to);
  });
}

const left = plugInto(bridges[0], "bad0");
const right = plugInto(bridges[1], "bad1");
listen(left, right);
listen(right, left);
process.stdout.write("ready\n");
process.stdin.on("end", () => {
  // A read of a tap waits for the next frame, however long, so the process does not end by itself.
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
});
process.stdin.resume();

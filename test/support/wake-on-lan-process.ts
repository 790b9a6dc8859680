/** Wakes a machine by each device that is named: `wake-on-lan-process.ts MAC DEVICE...`; to be run in a network namespace. */
import type { Mac } from "../../server/net/mac.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { createWakeOnLan } from "../../server/power/wake-on-lan.ts";

const [mac = "", ...devices] = process.argv.slice(2);
const wake = createWakeOnLan({
  clock: systemClock,
  udp: createUdp({ log: silentLog, clock: systemClock }),
  interfaces: devices.map((device) => ({ device })),
  relayed: [],
});
await wake({ macs: [mac as Mac] }, undefined, new AbortController().signal);

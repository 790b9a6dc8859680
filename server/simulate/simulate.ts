import type { Clock, DurationMs, Udp } from "../domain/capabilities.ts";
import { createLine, type LineCounts } from "./line.ts";
import { type Arrival, bootMachine } from "./machine.ts";
import { makeLocal } from "./own-addresses.ts";
import type { Plan, PlannedMachine } from "./plan.ts";
import { profileOf } from "./profiles.ts";
import { seededRandom } from "./random.ts";
import { createRecords, type SimulationReport } from "./report.ts";
import { openSegment } from "./segment.ts";
import { type Phase, type Recorder, type Station, Stopped } from "./station.ts";
import { createTimeline } from "./timeline.ts";

export interface Progress {
  readonly elapsedMs: DurationMs;
  readonly poweredOn: number;
  readonly arrived: number;
  readonly failed: number;
  readonly machines: number;
}

export interface SimulateDeps {
  readonly udp: Udp;
  readonly clock: Clock;
  /** Told once a second of real time. */
  readonly onProgress?: (progress: Progress) => void;
  /** Ends it early; machines that are under way then have failed. */
  readonly signal?: AbortSignal;
}

const progressEveryMs = 1000;
/** Between a machine's failed power-on and its next, in firmware's time: somebody presses the button, or the ROM reboots. */
const powerCycleMs = 2000;

/** Plays all machines of the plan to their ends. @throws what binding the shared socket throws */
export async function simulate(
  plan: Plan,
  { udp, clock, onProgress, signal }: SimulateDeps,
): Promise<SimulationReport> {
  const { network } = plan.way;
  const release = network === undefined ? async () => {} : await makeLocal(network);
  try {
    const segment = await openSegment(udp, plan);
    try {
      const timeline = createTimeline(clock, plan.speed);
      const records = createRecords();
      const datagrams: LineCounts = { passed: 0, lost: 0, blocked: 0, duplicated: 0, delayed: 0 };
      const beganMs = timeline.nowMs();
      let poweredOn = 0;
      let mostMemoryBytes = 0;
      const tell = () => {
        mostMemoryBytes = Math.max(mostMemoryBytes, process.memoryUsage.rss());
        const elapsedMs = timeline.nowMs() - beganMs;
        onProgress?.({ elapsedMs, poweredOn, machines: plan.machines.length, ...records.counts() });
      };
      let stopTelling = timeline.afterReal(progressEveryMs, function again() {
        tell();
        stopTelling = timeline.afterReal(progressEveryMs, again);
      });

      async function play(machine: PlannedMachine): Promise<void> {
        await new Promise<void>((resolve) => {
          timeline.afterReal(machine.powerOnMs, resolve);
          signal?.addEventListener("abort", () => resolve(), { once: true });
        });
        poweredOn++;
        const startedMs = timeline.nowMs();
        const random = seededRandom(machine.seed);
        const watched = watchPhase(records.recorder);
        const line = createLine(plan.impairments, random, timeline, datagrams);
        // Once: the port's link stays up when the machine behind it is switched off and on.
        const { linkBlockedMs } = profileOf(machine.profile);
        if (linkBlockedMs > 0) line.block(linkBlockedMs);
        const station = { machine, plan, timeline, line, random, segment, udp, record: watched.recorder };
        try {
          const arrival = await withLimit(
            station,
            signal,
            () => powerOn(station, records.restarted),
            watched.current,
          );
          records.arrivedAt(arrival, timeline.nowMs() - startedMs);
        } catch (error) {
          if (!(error instanceof Stopped)) throw error;
          records.failed(machine, error);
        }
      }

      await Promise.all(plan.machines.map(play));
      stopTelling();
      tell();
      return records.report(plan.machines.length, timeline.nowMs() - beganMs, datagrams, mostMemoryBytes);
    } finally {
      await segment.close();
    }
  } finally {
    await release();
  }
}

async function powerOn(station: Station, restarted: () => void): Promise<Arrival> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await bootMachine(station);
    } catch (error) {
      if (!(error instanceof Stopped) || attempt >= station.plan.attempts) throw error;
      restarted();
      await station.timeline.sleep(powerCycleMs);
    }
  }
}

/** Remembers the last phase that got anywhere, for machines whose time is over. */
function watchPhase(inner: Recorder): { recorder: Recorder; current: () => Phase } {
  let current: Phase = "offer";
  return {
    current: () => current,
    recorder: {
      ...inner,
      took(phase, ms) {
        current = phase;
        inner.took(phase, ms);
      },
      repeated(phase) {
        current = phase;
        inner.repeated(phase);
      },
    },
  };
}

function withLimit(
  { plan, timeline }: Station,
  signal: AbortSignal | undefined,
  work: () => Promise<Arrival>,
  phase: () => Phase,
): Promise<Arrival> {
  return new Promise((resolve, reject) => {
    const stop = (reason: string) => () => reject(new Stopped(phase(), reason));
    const cancel = timeline.afterReal(
      plan.limitMs,
      stop(`not there after ${plan.limitMs / 1000} s; this is where it was seen last`),
    );
    const interrupted = stop("the simulation was interrupted");
    signal?.addEventListener("abort", interrupted, { once: true });
    if (signal?.aborted) interrupted();
    work()
      .then(resolve, reject)
      .finally(() => {
        cancel();
        signal?.removeEventListener("abort", interrupted);
      });
  });
}
